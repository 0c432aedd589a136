"""Every constant of a machine or device as a reader sees it: value, unit, source, and the confidence in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simhw.machine.described import Described
from simhw.machine.dotted import leaf, leaf_names
from simhw.machine.provenance import Provenance

UNITS = {
    "_hz": "Hz",
    "_um2": "um^2",
    "_mm2": "mm^2",
    "_mw": "mW",
    "_pj": "pJ",
    "_pj_per_byte": "pJ/B",
    "_pj_per_bit": "pJ/bit",
    "_bytes": "B",
    "_bits": "bit",
    "_per_s": "1/s",
    "_ns": "ns",
    "_latency": "ns",
}
"""Units by the end of a constant's or its section's name."""
NO_CONSTANTS = ("name", "description", "baseline", "kind")


@dataclass(frozen=True)
class Constant:
    """A constant of a machine or device.

    Attributes
    ----------
    name : str
        Dotted.
    text : str
        The value as a machine file writes it; numbers with separators.
    unit : str
        Empty where it is a number or a word.
    source : Provenance or None
    overridden : bool
        Whether the user set it.
    """

    name: str
    text: str
    unit: str
    source: Provenance | None
    overridden: bool


def constants(described: Described[Any]) -> Iterator[Constant]:
    """Every constant, in the order of the file's sections; what neither file nor user states and nothing stands for is
    none.
    """
    values = described.values.model_dump()
    for name in leaf_names(values):
        source = described.provenance.get(name)
        if name not in NO_CONSTANTS and not (source is None and leaf(values, name) is None):
            yield Constant(name, value_text(leaf(values, name)), unit_of(name), source, name in described.overrides)


def unit_of(name: str) -> str:
    """The unit that a constant's dotted name tells; empty where it is a number or a word."""
    if name.startswith("memory.dram.t_"):
        return "ns"  # JEDEC's names, which say nothing of units
    return next((unit for part in name.split(".") for end, unit in UNITS.items() if part.endswith(end)), "")


def value_text(value: object) -> str:
    """A value as a machine file writes it; numbers with separators."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}" if isinstance(value, float) else str(value)
