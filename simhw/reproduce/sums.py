"""What a simulated step comes to: sums by operation, which add up over steps, and the ratios of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import reduce
from math import hypot, nan, sqrt
from typing import Any

from simhw.results.operation import OperationResult, quotient
from simhw.results.step import Results
from simhw.results.totals import Totals
from simhw.trace.layer import OPERATIONS


@dataclass(frozen=True)
class Sums:
    """Sums over operations, all of which add up; those of a baseline that there is not are NaN.

    Attributes
    ----------
    macs, sets, tile_cycles : float
    time_s, baseline_time_s : float
        The tiles alone [s].
    time_variance, baseline_time_variance : float
        Squares of the half-widths of their 95% intervals [s^2].
    energy_j, baseline_energy_j : float
        Compute [J].
    overall_time_s, baseline_overall_time_s, overall_energy_j, baseline_overall_energy_j : float
        With memories [s, J].
    lane_cycles, counters : dict of str to float
        By class, and the other counters.
    """

    macs: float = 0.0
    sets: float = 0.0
    tile_cycles: float = 0.0
    time_s: float = 0.0
    baseline_time_s: float = 0.0
    time_variance: float = 0.0
    baseline_time_variance: float = 0.0
    energy_j: float = 0.0
    baseline_energy_j: float = 0.0
    overall_time_s: float = 0.0
    baseline_overall_time_s: float = 0.0
    overall_energy_j: float = 0.0
    baseline_overall_energy_j: float = 0.0
    lane_cycles: dict[str, float] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def of(items: Sequence[OperationResult]) -> "Sums":
        """The sums of simulated operations."""
        totals = Totals.of(items)
        overall = totals.baseline_overall
        return Sums(
            macs=totals.macs,
            sets=sum(item.dense_sets for item in items),
            tile_cycles=sum(item.tile_cycles for item in items),
            time_s=totals.time_s,
            baseline_time_s=totals.baseline_time_s,
            time_variance=(totals.time_s * totals.cycles.relative_half_width) ** 2,
            baseline_time_variance=(totals.baseline_time_s * totals.baseline_cycles.relative_half_width) ** 2,
            energy_j=totals.energy_j,
            baseline_energy_j=totals.baseline_energy_j,
            overall_time_s=totals.overall.time_s,
            baseline_overall_time_s=overall.time_s if overall else nan,
            overall_energy_j=totals.overall.energy_j.mid,
            baseline_overall_energy_j=overall.energy_j.mid if overall else nan,
            lane_cycles={name: totals.counters[name].value for name in totals.classes},
            counters={name: each.value for name, each in totals.counters.items() if name not in totals.classes},
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(**{each.name: _added(getattr(self, each.name), getattr(other, each.name)) for each in fields(Sums)})

    @staticmethod
    def total(parts: Iterable["Sums"]) -> "Sums":
        """All of them together."""
        return reduce(Sums.__add__, parts, Sums())

    @property
    def speedup(self) -> float:
        """Time on the baseline over time on the machine, the tiles alone."""
        return quotient(self.baseline_time_s, self.time_s)

    @property
    def speedup_half_width(self) -> float:
        """Half-width of its 95% interval."""
        own, base = quotient(sqrt(self.time_variance), self.time_s), sqrt(self.baseline_time_variance)
        return self.speedup * hypot(own, quotient(base, self.baseline_time_s))

    @property
    def energy_efficiency(self) -> float:
        """Compute energy on the baseline over that on the machine."""
        return quotient(self.baseline_energy_j, self.energy_j)

    @property
    def overall_speedup(self) -> float:
        """`speedup` with both machines' memories."""
        return quotient(self.baseline_overall_time_s, self.overall_time_s)

    @property
    def overall_energy_efficiency(self) -> float:
        """`energy_efficiency` with both machines' memories."""
        return quotient(self.baseline_overall_energy_j, self.overall_energy_j)

    @property
    def cycles_per_set(self) -> float:
        """Tile cycles per set of a tile pass."""
        return quotient(self.tile_cycles, self.sets)

    @property
    def class_shares(self) -> dict[str, float]:
        """Share of each lane-cycle class; they add up to 1."""
        whole = sum(self.lane_cycles.values())
        return {name: quotient(value, whole) for name, value in self.lane_cycles.items()}


def _added(own: Any, other: Any) -> Any:
    if isinstance(own, dict):
        return {name: own.get(name, 0.0) + other.get(name, 0.0) for name in {**own, **other}}
    return own + other


@dataclass(frozen=True)
class Measured:
    """A step on a machine.

    Attributes
    ----------
    operations : dict of operation to Sums
        Of those that ran.
    layers : dict of layer to dict of operation to (float, float)
        Times on the machine and on the baseline, the tiles alone [s].
    """

    operations: dict[str, Sums]
    layers: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    @staticmethod
    def of(results: Results) -> "Measured":
        """What a simulation gave."""
        groups = {name: [item for item in results.operations if item.operation == name] for name in OPERATIONS}
        layers: dict[str, dict[str, tuple[float, float]]] = {}
        for item in results.operations:
            times = item.cost.time_s, item.baseline.time_s if item.baseline else nan
            layers.setdefault(item.layer, {})[item.operation] = times
        return Measured({name: Sums.of(items) for name, items in groups.items() if items}, layers)

    @staticmethod
    def together(steps: Sequence["Measured"]) -> "Measured":
        """Several steps of a network as one; layers are those of the last."""
        names: list[str] = [name for name in OPERATIONS if any(name in step.operations for step in steps)]
        found = {name: Sums.total(step.operations[name] for step in steps if name in step.operations) for name in names}
        return Measured(found, steps[-1].layers if steps else {})

    @property
    def total(self) -> Sums:
        """All operations together."""
        return Sums.total(self.operations.values())

    def written(self) -> dict[str, Any]:
        """As JSON holds it; None for NaN."""
        operations = {name: _finite(asdict(each)) for name, each in self.operations.items()}
        return {"operations": operations, "layers": _finite(self.layers)}

    @staticmethod
    def read(told: Mapping[str, Any]) -> "Measured":
        """What `written` gave."""
        operations = {name: Sums(**_restored(each)) for name, each in told["operations"].items()}
        layers = {
            layer: {name: (times[0], times[1]) for name, times in found.items()}
            for layer, found in _restored(told["layers"]).items()
        }
        return Measured(operations, layers)


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case tuple() | list():
            return [_finite(each) for each in value]
        case float() if value != value:
            return None
    return value


def _restored(value: Any) -> Any:
    match value:
        case dict():
            return {name: _restored(each) for name, each in value.items()}
        case list():
            return [_restored(each) for each in value]
        case None:
            return nan
    return value
