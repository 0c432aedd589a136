"""What a sweep is to run, as a YAML file states it: traces, machines, and the axes along which they vary.

::

    traces: [small_cnn]
    machines: [fpraker, tensordash]
    grid:                            # every combination of these
      pe.oob_threshold: [6, 9, 12]
      batch: [8, 32]
    list:                            # each of these
      - {tile.rows: 4, tiles: 72}
    latin_hypercube:                 # and so many drawn ones
      points: 20
      ranges:
        memory.dram.channel_bits: [16, 32, 64]
        clock_hz: {from: 400_000_000, to: 1_000_000_000, scale: log}

Points are traces x machines x grid x (list, random and latin_hypercube together).
"""

import os
from collections.abc import Mapping
from math import isfinite, prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from simhw.errors import SimhwError, quoted
from simhw.files.plain_yaml import parse_yaml
from simhw.files.reading import read_text

MAX_FILE_BYTES = 1_000_000
MOST_POINTS = 100_000
"""Of a sweep: more are hours of planning, and months of simulations."""
MOST_AXES = 64
NONE = "null is the default"
SWITCHES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "batch": (int, "the images that the step is grown to, an integer of at least 1"),
    "sample": ((int, float), "the share of the tile passes, above 0 and at most 1 (1 is exact)"),
    "seed": (int, "the number of a random sample, an integer of at least 0"),
    "memory": (str, "modelled or ideal"),
    "baseline": (str, "a machine, as --baseline takes it"),
    "baseline_compression": (str, "same, none, bdc or zero"),
    "nonfinite": (str, "error or zero"),
}
"""Axes that are no values of a machine: the type of their values, and what these are."""
_CHOICES = {
    "memory": ("modelled", "ideal"),
    "baseline_compression": ("same", "none", "bdc", "zero"),
    "nonfinite": ("error", "zero"),
}

Scalar = bool | int | float | str | None


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value)):
        return value
    raise ValueError("give a finite number, a text, true, false or null")


def _as_list(value: Any) -> Any:
    """One value as a list of it."""
    return value if isinstance(value, list) else [value]


Value = Annotated[Scalar, PlainValidator(_scalar)]
Values = Annotated[list[Value], BeforeValidator(_as_list), Field(min_length=1)]
Names = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=4096)]], BeforeValidator(_as_list), Field(min_length=1)
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Range(_Section):
    """What values are drawn from: choices, or all numbers between two ends, integers where both ends are.

    Attributes
    ----------
    choices : list or None
    start, end : int, float or None
        Both are included; ``from`` and ``to`` in the file.
    scale : {"linear", "log"}
        Whether values or their logarithms are spread evenly.
    """

    choices: Annotated[list[Value], Field(min_length=1)] | None = None
    start: Annotated[Value, Field(alias="from")] = None
    end: Annotated[Value, Field(alias="to")] = None
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _check(self) -> Self:
        ends = (self.start, self.end)
        if self.choices is not None:
            if ends != (None, None):
                raise ValueError("give choices, or from and to")
            return self
        if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in ends):
            raise ValueError("give a list of choices, or numbers for both from and to")
        low, high = self.bounds
        if low >= high:
            raise ValueError(f"from {low:g} is not below to {high:g}")
        if self.scale == "log" and low <= 0:
            raise ValueError(f"from {low:g} has no logarithm; give a number above 0, or scale: linear")
        return self

    @property
    def stated(self) -> list[Scalar]:
        """The choices, or both ends."""
        return self.choices if self.choices is not None else [*self.bounds]

    @property
    def bounds(self) -> tuple[int | float, int | float]:
        """Both ends."""
        assert isinstance(self.start, int | float)
        assert isinstance(self.end, int | float)
        return self.start, self.end


def _as_range(value: Any) -> Any:
    """A list of values as the choices that it is short for."""
    return {"choices": value} if isinstance(value, list) else value


class Draws(_Section):
    """Points to draw from ranges.

    Attributes
    ----------
    points : int
    seed : int
    ranges : dict of axis to Range
    """

    points: Annotated[int, Field(ge=1, le=MOST_POINTS)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    ranges: Annotated[
        dict[str, Annotated[Range, BeforeValidator(_as_range)]], Field(min_length=1, max_length=MOST_AXES)
    ]

    @field_validator("ranges")
    @classmethod
    def _check(cls, ranges: dict[str, Range]) -> dict[str, Range]:
        for name, each in ranges.items():
            for value in each.stated:
                check_switch(name, value)
        return ranges


class SweepDescription(_Section):
    """A sweep file; see this module for the form.

    Attributes
    ----------
    traces, machines : list of str
        As `--trace` and `--pe` take them.
    grid : dict of axis to values
    listed : list of dict
        ``list`` in the file.
    random, latin_hypercube : Draws or None
    """

    traces: Names
    machines: Names
    grid: Annotated[dict[str, Values], Field(max_length=MOST_AXES)] = {}
    listed: Annotated[list[Annotated[dict[str, Value], Field(max_length=MOST_AXES)]], Field(alias="list")] = []
    random: Draws | None = None
    latin_hypercube: Draws | None = None

    @field_validator("grid", "listed")
    @classmethod
    def _check_switches(cls, axes: Any, info: ValidationInfo) -> Any:
        for each in [axes] if info.field_name == "grid" else axes:
            for name, values in each.items():
                for value in values if isinstance(values, list) else [values]:
                    check_switch(name, value)
        return axes

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = sorted(set(self.grid) & self.varied)
        if twice:
            raise ValueError(
                f"{quoted(twice[0])} stands in grid and in what it is combined with (list, random, latin_hypercube); "
                "leave one out"
            )
        if self.number > MOST_POINTS:
            raise ValueError(
                f"{self.number:,} points, more than {MOST_POINTS:,}; give fewer values, or draw points (random, "
                "latin_hypercube) in place of the grid"
            )
        return self

    @property
    def varied(self) -> set[str]:
        """Axes of the list and of drawn points."""
        return set[str]().union(*self._others)

    @property
    def axes(self) -> list[str]:
        """All axes, those of the grid first."""
        return list(dict.fromkeys([*self.grid, *(name for each in self._others for name in each)]))

    @property
    def _others(self) -> list[Mapping[str, object]]:
        """What the grid is combined with, by axis."""
        drawn = [each.ranges for each in (self.random, self.latin_hypercube) if each is not None]
        return [*self.listed, *drawn]

    def values(self, axis: str) -> list[Scalar]:
        """All values that the file states for an axis; of a range without choices its ends."""
        found = [*self.grid.get(axis, []), *(each[axis] for each in self.listed if axis in each)]
        for drawn in (self.random, self.latin_hypercube):
            if drawn is not None and axis in drawn.ranges:
                found += drawn.ranges[axis].stated
        return found

    @property
    def number(self) -> int:
        """How many points there are, equal ones counted apart."""
        drawn = sum(each.points for each in (self.random, self.latin_hypercube) if each is not None)
        others = max(1, len(self.listed) + drawn)
        return len(self.traces) * len(self.machines) * prod(len(each) for each in self.grid.values()) * others


def check_switch(name: str, value: Scalar) -> None:
    """Refuse a value that a switch cannot have; any other axis is for machines to check.

    Raises
    ------
    ValueError
        Names the switch, and says what it takes.
    """
    if name not in SWITCHES or value is None:
        return
    types, what = SWITCHES[name]
    fits = isinstance(value, types) and not isinstance(value, bool)
    if name in _CHOICES:
        fits = value in _CHOICES[name]
    elif fits and isinstance(value, int | float):
        fits = {"batch": value >= 1, "seed": value >= 0, "sample": 0 < value <= 1}[name]
    if not fits:
        raise ValueError(f"{name} {quoted(value)}: give {what}; {NONE}")


def read_description(source: str | os.PathLike[str] | Mapping[str, Any]) -> SweepDescription:
    """Read a sweep file, or a mapping of the same form.

    Raises
    ------
    SimhwError
        It cannot be read, is no YAML, or a key is unknown, missing or has a value that it cannot have.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "sweep")
    where = str(Path(source))
    text = read_text(source, MAX_FILE_BYTES, SimhwError, "a sweep file, such as sweep.yaml")
    try:
        loaded = parse_yaml(text)
    except yaml.YAMLError as error:
        raise SimhwError(f"{where}: not valid YAML: {error}") from None
    return _checked(loaded, where)


def as_file(stored: str) -> str:
    """A description that `simhw.sweeps.store.canonical` made a text of, as a sweep file; others stay as they are."""
    try:
        description = SweepDescription.model_validate_json(stored)
    except ValidationError:
        return stored
    told = description.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True)


def _checked(loaded: Any, where: str) -> SweepDescription:
    if not isinstance(loaded, dict):
        raise SimhwError(f"{where}: a sweep is a mapping with traces, machines and what varies")
    try:
        return SweepDescription.model_validate(loaded)
    except ValidationError as error:
        raise SimhwError(f"{where}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """The complaint that helps most: a misspelt key comes before the one that it leaves missing."""
    found = error.errors(include_url=False)
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    place = ".".join(str(part) for part in first["loc"])
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in SweepDescription.model_fields.items()]
        there = f"; a sweep has {', '.join(known)}" if len(first["loc"]) == 1 else ""
        return f"{quoted(place)[1:-1]}: there is no such key{there}"
    if first["type"] == "missing":
        example = {"traces": ", such as traces: [small_cnn]", "machines": ", such as machines: [fpraker]"}
        return f"{place}: missing; add it{example.get(place, '')}"
    if not place:
        return problem
    given = "" if first["type"] == "value_error" else f", given {quoted(first['input'])}"
    return f"{quoted(place)[1:-1]}: {problem}{given}"
