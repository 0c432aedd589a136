"""Readings of FPRaker's rules: a name, overrides of a machine, and which rules each departs from, from
``readings.yaml``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from math import log
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from simhw.files.plain_yaml import parse_yaml
from simhw.machine.machine import Machine, baseline_of, load_machine, parse_machine
from simhw.machine.overrides import label


@dataclass(frozen=True)
class Departure:
    """A rule that a reading departs from.

    Attributes
    ----------
    name : str
        Of the value in the machine file.
    value : value
        In place of the rule's.
    confidence : float
        In the rule.
    """

    name: str
    value: Any
    confidence: float

    @property
    def charge(self) -> float:
        """The logarithm of the odds for the rule; a rule as likely wrong as right costs nothing."""
        return max(0.0, log(self.confidence / (1 - self.confidence)))


class Reading(BaseModel):
    """A reading: a name, what it says, and what it overrides of the base machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    says: str
    overrides: dict[str, Any]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Any
    source: str
    confidence: float = Field(gt=0, lt=1)


class _Number(_Rule):
    value: float = Field(gt=0)


class _Variant(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    overrides: dict[str, Any]


class _Pragmatic(_Variant):
    density: _Number


class _Widths(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    chunk: _Number
    narrowest: _Number


class Readings(BaseModel):
    """The base machine, its readings, the machine that is one of them, and what stands beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    chosen: str
    recalled: dict[str, _Rule]
    readings: list[Reading]
    pragmatic: _Pragmatic
    lone_pe: _Variant
    widths: _Widths

    @cached_property
    def machine(self) -> Machine:
        """The base machine."""
        return load_machine(self.base)

    @cached_property
    def of_chosen(self) -> Self:
        """The same table with the chosen machine in the base's place."""
        return self.model_validate({**self.model_dump(), "base": self.chosen, "readings": []})

    @cached_property
    def chosen_reading(self) -> str | None:
        """The reading that the chosen machine is; None where it is none of them."""
        made = what_counts(load_machine(self.chosen))
        same = (each.name for each in self.readings if what_counts(parse_machine(self.named(each.overrides))) == made)
        return next(same, None)

    @cached_property
    def lane_ratio(self) -> float:
        """Lanes of all tiles over the baseline's multipliers: the speed-up of one cycle a set."""
        baseline = baseline_of(self.machine)
        assert baseline is not None
        own, base = (_lanes(each) * each.values.clock_hz for each in (self.machine, baseline))
        return own / base

    def departures(self, reading: Reading) -> list[Departure]:
        """The rules that a reading departs from: the recalled ones, and for other values those of the base machine."""
        found = []
        for name in dict.fromkeys([*self.recalled, *reading.overrides]):
            if name in self.recalled:
                rule, confidence = self.recalled[name].value, self.recalled[name].confidence
            else:
                rule, confidence = self.machine.value(name), self.machine.provenance[name].confidence
            value = reading.overrides.get(name, self.machine.value(name))
            if value != rule:
                found.append(Departure(name, value, confidence))
        return found

    def named(self, overrides: Mapping[str, Any]) -> str:
        """The base machine with overrides, as the command line names it; in order, so that a machine has one name."""
        return label(self.base, {name: _text(overrides[name]) for name in sorted(overrides)})

    def with_rows(self, overrides: Mapping[str, Any], rows: int) -> str:
        """The same PEs in tiles of so many rows."""
        pes = self.machine.values.tiles * self.machine.values.tile.rows
        return self.named({**overrides, "tile.rows": rows, "tiles": pes // rows})

    def as_pragmatic(self, overrides: Mapping[str, Any]) -> str:
        """Bit-Pragmatic-FP in the baseline's area, by the other rules of a reading."""
        baseline = baseline_of(self.machine)
        assert baseline is not None
        tiles = round(self.pragmatic.density.value * baseline.values.tiles)
        return self.named({**overrides, **self.pragmatic.overrides, "tiles": tiles})

    def with_width(self, overrides: Mapping[str, Any], bits: int) -> str:
        """A reading with another accumulator; nothing beyond its last bit is added."""
        threshold = overrides.get("pe.oob_threshold", self.machine.value("pe.oob_threshold"))
        bound = bits if threshold is None else min(threshold, bits)
        return self.named({**overrides, "pe.accumulator_fraction_bits": bits, "pe.oob_threshold": bound})

    def as_lone_pe(self) -> str:
        """As many PEs, each alone, without window and bounds: the fewest cycles that terms allow."""
        values = self.machine.values
        tiles = values.tiles * values.tile.rows * values.tile.cols
        return self.named({**self.lone_pe.overrides, "tiles": tiles})


@lru_cache(maxsize=1)
def load_readings() -> Readings:
    """The table of readings."""
    text = files("simhw.reproduce").joinpath("readings.yaml").read_text(encoding="utf-8")
    return Readings.model_validate(parse_yaml(text))


def what_counts(machine: Machine) -> dict[str, Any]:
    """The values of a machine that its results can depend on: not what it is called, and what its costs are of.

    How its baseline compresses is a value of the baseline, and readings are scored by their tiles alone.
    """
    unread = {"name", "description", "tile_costs_of", "baseline_compression"}
    return machine.values.model_dump(mode="json", exclude=unread)


def _lanes(machine: Machine) -> int:
    values = machine.values
    return values.tiles * values.tile.rows * values.tile.cols * values.pe.lanes


def _text(value: Any) -> Any:
    return "null" if value is None else value
