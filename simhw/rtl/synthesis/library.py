"""A cell library in the Liberty format: areas, functions of flip-flops, and delays.

Read is what areas and critical paths need: cells with their area, and pins with their direction, capacitance, function
and timing tables.  Yosys and ABC read the same file for themselves.
"""

import hashlib
import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from simhw.errors import MachineError, quoted, reason

OWN = "simhw's own cells"
FO4_PS = 25
"""Of an inverter of simhw's cells that drives four more."""

_TOKEN = re.compile(
    r"/\*.*?\*/|//[^\n]*|\\\s*\n|\s+"  # comments, lines that go on, space
    r"|(?P<string>\"(?:[^\"\\]|\\.)*\")|(?P<mark>[(){}:;,])|(?P<word>[^\s(){}:;,\"]+)",
    re.S,
)
Item = TypeVar("Item")
_TIME_UNITS_PS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6}


@dataclass
class Group:
    """A group of a Liberty file: ``kind (name) { key : value; kind (name) {...} }``."""

    kind: str
    name: str
    values: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    def of(self, *kinds: str) -> Iterator["Group"]:
        """The groups in it of some kinds."""
        return (group for group in self.groups if group.kind in kinds)


@dataclass(frozen=True)
class Table:
    """A delay by the load [the library's unit], at the middle one of the input slopes that the library knows."""

    loads: tuple[float, ...]
    delays_ps: tuple[float, ...]

    def at(self, load: float) -> float:
        """The delay [ps]; straight between and beyond the points."""
        loads, delays = self.loads, self.delays_ps
        if len(loads) == 1:
            return delays[0]
        right = min(max(bisect_left(loads, load), 1), len(loads) - 1)
        share = (load - loads[right - 1]) / (loads[right] - loads[right - 1])
        return delays[right - 1] + share * (delays[right] - delays[right - 1])


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes
    ----------
    area : float
        In the library's unit.
    capacitances : dict
        Of the inputs.
    functions : dict
        Of the outputs, as the file writes them.
    arcs : dict
        By (input, output), the tables whose largest value is the delay; of a flip-flop from its clock.
    setups_ps : dict
        Of a flip-flop's inputs, at slopes in the middle of those that the library knows.
    clock, next_state, state : str or None
        Of a flip-flop: its clock's pin, what it takes, and the name of what it holds.
    """

    name: str
    area: float
    capacitances: Mapping[str, float]
    functions: Mapping[str, str]
    arcs: Mapping[tuple[str, str], tuple[Table, ...]]
    setups_ps: Mapping[str, float]
    clock: str | None = None
    next_state: str | None = None
    state: str | None = None

    @property
    def is_flip_flop(self) -> bool:
        """Whether it holds a bit."""
        return self.state is not None


@dataclass(frozen=True)
class Library:
    """A Liberty file.

    Raises
    ------
    MachineError
        It cannot be read, is no Liberty file, or lacks what synthesis needs.
    """

    label: str
    text: str
    cells: Mapping[str, Cell]

    @cached_property
    def hash(self) -> str:
        """Of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def own_library() -> Library:
    """The cells that come with simhw."""
    return _library(OWN, (files("simhw.rtl.synthesis") / "cells.lib").read_text(encoding="utf-8"))


def read_library(path: Path | str) -> Library:
    """A user's Liberty file."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        raise MachineError(f"{path}: cannot be read as a Liberty file: {reason(error)}") from None
    return _library(str(path), text)


def _library(label: str, text: str) -> Library:
    try:
        top = _parsed(text)
        if top.kind != "library":
            raise ValueError(f"it begins with {quoted(top.kind)}, not with library (NAME) {{")
        cells = {group.name: _cell(group, top) for group in top.of("cell")}
    except (ValueError, RecursionError) as error:
        raise MachineError(f"{label}: not a Liberty file that can be used: {error}") from None
    _check(label, cells)
    return Library(label, text, cells)


def _check(label: str, cells: Mapping[str, Cell]) -> None:
    """MachineError where a circuit cannot be mapped to these cells."""
    functions = {re.sub(r"[\s()]", "", text) for cell in cells.values() for text in cell.functions.values()}
    inverts = any(re.fullmatch(r"!\w+|\w+'", text) for text in functions)
    if not inverts:
        raise MachineError(f"{label}: it has no inverter: a cell with an output whose function is !A")
    if not any(cell.is_flip_flop for cell in cells.values()):
        raise MachineError(f"{label}: it has no flip-flop: a cell with an ff group")
    for cell in cells.values():
        if cell.area < 0 or not math.isfinite(cell.area):
            raise MachineError(f"{label}: cell {cell.name} has the area {cell.area:g}")


def _cell(group: Group, library: Group) -> Cell:
    pins = [pin for each in group.of("bus", "bundle") for pin in each.of("pin")] + list(group.of("pin"))
    capacitances, functions, setups = {}, {}, {}
    arcs: dict[tuple[str, str], tuple[Table, ...]] = {}
    for pin in pins:
        if pin.values.get("direction") == "input":
            capacitances[pin.name] = _number(pin, "capacitance", 0.0)
            checks = [
                _middle(_middle(_rows(table)))
                for timing in pin.of("timing")
                if timing.values.get("timing_type", "").startswith("setup")
                for table in timing.of("rise_constraint", "fall_constraint")
            ]
            setups[pin.name] = max(checks, default=0.0) * _unit_ps(library)
        elif pin.values.get("direction") == "output":
            functions[pin.name] = pin.values.get("function", "")
            for timing in pin.of("timing"):
                if timing.values.get("timing_type", "combinational").startswith(("combinational", "rising", "falling")):
                    tables = tuple(_table(each, library) for each in timing.of("cell_rise", "cell_fall"))
                    for source in timing.values.get("related_pin", "").split():
                        arcs[source, pin.name] = arcs.get((source, pin.name), ()) + tables
    ff = next(group.of("ff"), None)
    if "area" not in group.values:
        raise ValueError(f"cell {group.name} has no area")
    clocked_on = ff.values.get("clocked_on", "") if ff else ""
    return Cell(
        name=group.name,
        area=_number(group, "area", 0.0),
        capacitances=capacitances,
        functions=functions,
        arcs=arcs,
        setups_ps=setups if ff else {},
        clock=re.sub(r"[^\w]", "", clocked_on) or None,
        next_state=ff.values.get("next_state") if ff else None,
        state=ff.name.split(",")[0].strip() if ff else None,
    )


def _number(group: Group, key: str, default: float) -> float:
    text = group.values.get(key)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{group.kind} {group.name}: {key} is {quoted(text)}, not a number") from None


def _unit_ps(library: Group) -> float:
    found = re.fullmatch(r"([\d.]+)\s*([munpf]?s)", library.values.get("time_unit", "1ns"))
    if found is None or found[2] not in _TIME_UNITS_PS:
        raise ValueError(f"time_unit is {quoted(library.values['time_unit'])}")
    return float(found[1]) * _TIME_UNITS_PS[found[2]]


def _floats(text: str) -> list[float]:
    return [float(word) for word in text.replace(",", " ").split()]


def _rows(table: Group) -> list[list[float]]:
    rows = [_floats(row) for row in table.lists.get("values", [])]
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        raise ValueError(f"{table.kind} ({table.name}) has no table of values")
    return rows


def _middle(row: list[Item]) -> Item:
    return row[(len(row) - 1) // 2]


def _table(table: Group, library: Group) -> Table:
    """Of a table of one or two dimensions, what it says by load."""
    template = next((each for each in library.of("lu_table_template") if each.name == table.name), Group("", ""))
    unit, rows = _unit_ps(library), _rows(table)
    axes = [template.values.get(f"variable_{axis}", "") for axis in (1, 2)]
    by_load = next((axis for axis, name in enumerate(axes, 1) if name == "total_output_net_capacitance"), None)
    if by_load is None or rows == [rows[0][:1]]:
        return Table((0.0,), (rows[0][0] * unit,))
    if by_load == 1 and axes[1]:
        rows = [list(column) for column in zip(*rows, strict=True)]
    index = f"index_{by_load}"
    loads = _floats(" ".join(table.lists.get(index) or template.lists.get(index, [])))
    delays = _middle(rows)
    if len(loads) != len(delays) or loads != sorted(set(loads)):
        raise ValueError(f"{table.kind} ({table.name}) does not fit its loads")
    return Table(tuple(loads), tuple(delay * unit for delay in delays))


def _parsed(text: str) -> Group:
    """The group that is the whole file."""
    tokens = list(_tokens(text))
    if not tokens:
        raise ValueError("it is empty")
    place = 0

    def take(wanted: str | None = None) -> str:
        nonlocal place
        if place >= len(tokens):
            raise ValueError("it ends within a group")
        token = tokens[place]
        if wanted is not None and token != wanted:
            raise ValueError(f"{quoted(token)} stands where {quoted(wanted)} should")
        place += 1
        return token

    def arguments() -> list[str]:
        found = []
        take("(")
        while (token := take()) != ")":
            if token != ",":
                found.append(token.strip('"'))
        return found

    def statement(into: Group) -> None:
        key = take()
        if tokens[place : place + 1] == [":"]:
            take()
            words = []
            while tokens[place : place + 1] not in ([";"], ["}"], []):
                words.append(take().strip('"'))
            into.values[key] = " ".join(words)
        else:
            given = arguments()
            if tokens[place : place + 1] == ["{"]:
                into.groups.append(group(key, ", ".join(given)))
            else:
                into.lists[key] = given
        if tokens[place : place + 1] == [";"]:
            take()

    def group(kind: str, name: str) -> Group:
        made = Group(kind, name)
        take("{")
        while tokens[place : place + 1] != ["}"]:
            statement(made)
        take("}")
        return made

    kind = take()
    return group(kind, ", ".join(arguments()))


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"line {text.count(chr(10), 0, place) + 1}: a quotation mark is not closed")
        if found.lastgroup is not None:
            yield found[0]
        place = found.end()
