"""The points of a sweep: every combination that its file asks for, equal ones once, each known by a hash of all that
its result depends on.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

from simhw.errors import MachineError, SimhwError
from simhw.machine.machine import Machine
from simhw.machine.overrides import label
from simhw.progress import track
from simhw.sources import made_by
from simhw.sweeps.description import Scalar, SweepDescription
from simhw.sweeps.draws import varied_points
from simhw.sweeps.variants import Variant, Variants
from simhw.sweeps.work import Settings, Task
from simhw.trace.find import find_trace
from simhw.trace.reader import load_trace, trace_hash

MANY_POINTS = 1000
"""Planning so many takes seconds."""
OWN_COLUMNS = ("trace", "machine", "baseline")
"""Columns of a point before the swept values of machines, and those after them."""
LATER_COLUMNS = ("memory", "baseline_compression", "batch", "sample", "seed", "compute_area_mm2")


@dataclass(frozen=True)
class FoundTrace:
    """A trace of the sweep: as the file names it, where it lies, and its hash."""

    name: str
    path: str
    hash: str


@dataclass(frozen=True)
class Point:
    """A point of a sweep.

    Attributes
    ----------
    hash : str
        16 hexadecimal digits, of the trace's and machines' hashes, the settings, and simhw's version and sources.
    trace : FoundTrace
    variant : Variant
    settings : Settings
    row : mapping of column to value
        What it is, as the store and its table tell it.
    error : str or None
        Why it cannot be run.
    """

    hash: str
    trace: FoundTrace
    variant: Variant
    settings: Settings
    row: Mapping[str, Scalar]
    error: str | None = None


@dataclass(frozen=True)
class _Side:
    """What points of one variant have in common."""

    identity: tuple[str, str]
    row: Mapping[str, Scalar]
    error: str | None


class Points:
    """All points of a sweep, in the order of its file, equal ones once.

    Parameters
    ----------
    description : SweepDescription
    where : str
        The sweep file, for errors.

    Attributes
    ----------
    found : list of Point
        Those that `plan` has given.

    Raises
    ------
    SimhwError
        A trace or a machine cannot be read, or an axis is known to none.
    """

    def __init__(self, description: SweepDescription, where: str) -> None:
        self._description = description
        self._traces = [_found(name, where) for name in dict.fromkeys(description.traces)]
        self._variants = Variants(description, where)
        self._sides: dict[Variant, _Side] = {}
        self.parameters = self._variants.parameters
        self.found: list[Point] = []

    def plan(self, progress: bool = False) -> Iterator[Point]:
        """Find the points, each as soon as it is known; once.

        Parameters
        ----------
        progress : bool
            Show a bar where standard error is a terminal, if there are many.
        """
        every, number = self._all(), self._description.number
        if progress and number >= MANY_POINTS:
            every = track(every, "planning", number)
        known: set[str] = set()
        for point in every:
            if point.hash not in known:  # of equal ones the first
                known.add(point.hash)
                self.found.append(point)
                yield point

    @property
    def columns(self) -> list[str]:
        """Of a point's row."""
        return [*OWN_COLUMNS, *self.parameters, *LATER_COLUMNS]

    @property
    def equal(self) -> int:
        """How many points were another one anew."""
        return self._description.number - len(self.found)

    def task(self, point: Point) -> Task:
        """What a process needs to run a point that has no error."""
        machine, baseline = self._variants.built(point.variant)
        return Task(point.hash, point.trace.path, point.trace.hash, machine, baseline, point.settings)

    def _all(self) -> Iterator[Point]:
        description = self._description
        grid = [dict(zip(description.grid, values, strict=True)) for values in product(*description.grid.values())]
        varied = list(varied_points(description))
        for trace, machine, fixed, others in product(self._traces, description.machines, grid, varied):
            axes = fixed | others
            yield self._point(trace, self._variants.variant(machine, axes), _settings(axes))

    def _point(self, trace: FoundTrace, variant: Variant, settings: Settings) -> Point:
        if variant not in self._sides:
            self._sides[variant] = self._side(variant)
        side = self._sides[variant]
        identity = [trace.hash, *side.identity, asdict(settings), made_by()]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        row = {
            "trace": trace.name,
            **side.row,
            "batch": settings.batch,
            "sample": settings.sample,
            "seed": settings.seed,
        }
        return Point(digest, trace, variant, settings, row, side.error)

    def _side(self, variant: Variant) -> _Side:
        own: dict[str, Scalar] = dict.fromkeys(self.parameters) | variant.values
        try:
            machine, baseline = self._variants.built(variant)
        except MachineError as error:
            name = label(variant.machine, variant.values)
            row: dict[str, Scalar] = {"machine": name, **own, "memory": variant.memory}
            # Nothing of it is known but what was asked for.
            return _Side((json.dumps(asdict(variant)), str(error)), row, str(error))
        # As the machine has them, so that a default that is stated is the default.
        own = {name: _cell(machine, name) for name in self.parameters}
        memory = baseline.modelled_memory if baseline is not None else None
        row = {
            "machine": machine.label,
            "baseline": baseline.label if baseline is not None else None,
            **own,
            "memory": "ideal" if machine.modelled_memory is None else "modelled",
            "baseline_compression": memory.compression if memory is not None else None,
            "compute_area_mm2": machine.compute_area_mm2,
        }
        return _Side((machine.content_hash, baseline.content_hash if baseline is not None else ""), row, None)


def _found(name: str, where: str) -> FoundTrace:
    """A trace that can be read.

    Raises
    ------
    SimhwError
        It cannot; or it holds nothing to simulate.
    """
    try:
        path = Path(find_trace(name)).resolve()
        trace = load_trace(path)
        if not any(layer.operations for layer in trace.layers):
            raise SimhwError(f"{path}: training ran no operation that could be simulated")
        return FoundTrace(name, str(path), trace_hash(path))
    except SimhwError as error:
        raise SimhwError(f"{where}: traces: {error}") from None


def _settings(axes: Mapping[str, Scalar]) -> Settings:
    """The switches of a point, whose values the description has checked; null is the default."""
    given = {name: axes[name] for name in ("batch", "sample", "seed", "nonfinite") if axes.get(name) is not None}
    if "sample" in given:
        given["sample"] = float(cast(float, given["sample"]))  # 1 and 1.0 are the same share
    return Settings(**cast(dict[str, Any], given))


def _cell(machine: Machine, name: str) -> Scalar:
    """A value of a machine as a table holds it; null where it has none of that name."""
    try:
        value = machine.value(name)
    except (AttributeError, KeyError, TypeError):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, default=str)


def missing(point: Point, known: set[str]) -> bool:
    """Whether a point is to be run: no result is known of it, and nothing speaks against it."""
    return point.error is None and point.hash not in known
