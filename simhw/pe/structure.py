"""What a tile consists of: quantities of its hardware by which area and power follow the values of a machine.

A quantity is a count of something that is built so many times: bits of registers, places of shifters, multiplexers'
inputs.  None of them shrinks as a window, a width or a number of lanes grows, and so neither does an area that is a sum
of them.  What one of each takes stands in the machine's file (``tile_area_model``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

Quantities = Mapping[str, float]
"""How much of each there is, by name."""


@dataclass(frozen=True)
class Structure:
    """The hardware of a tile.

    Attributes
    ----------
    parts : mapping of part to quantities
        By the parts that ``tile_area_um2`` names; a machine may state fewer of them.
    follows : frozenset of str
        Dotted names of the values that the quantities are made of, and of those that need no hardware.  A value that
        has no hardware here, ``pe.oob: off``, is not among them.
    """

    parts: Mapping[str, Quantities]
    follows: frozenset[str]


def times(number: float, quantities: Quantities) -> dict[str, float]:
    """The quantities of so many of the same."""
    return {name: number * value for name, value in quantities.items()}


def both(*several: Quantities) -> dict[str, float]:
    """The quantities of all of them together."""
    total: dict[str, float] = {}
    for quantities in several:
        for name, value in quantities.items():
            total[name] = total.get(name, 0.0) + value
    return total
