"""Totals over operations: times, energies and counters add up, ratios are of the totals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot

from simhw.costs import Range
from simhw.energy import COMPONENTS, by_group
from simhw.memory.model import SHARES, bound_by
from simhw.results.operation import Cost, OperationResult
from simhw.simulation.sampling import Estimate


@dataclass(frozen=True)
class Summary:
    """Totals over operations: times, energies and counters add up, ratios are of the totals.

    `speedup_half_width` and `cycles_per_set` follow the total; see `OperationResult` for the others.
    """

    macs: int
    cycles: Estimate
    baseline_cycles: Estimate
    time_s: float
    baseline_time_s: float
    energy_j: float
    baseline_energy_j: float
    busy: float
    baseline_busy: float
    occupancy: float
    cycles_per_set: float
    counters: dict[str, Estimate]
    classes: tuple[str, ...]
    overall: "Overall"
    baseline_overall: "Overall | None"

    @property
    def speedup(self) -> float:
        return self.baseline_time_s / self.time_s if self.time_s else float("nan")

    @property
    def overall_speedup(self) -> float:
        if self.baseline_overall is None or not self.overall.time_s:
            return float("nan")
        return self.baseline_overall.time_s / self.overall.time_s

    @property
    def overall_speedup_half_width(self) -> float:
        """Bounds that of the 95% confidence interval: memories never add to what an error of the tiles' time does."""
        if self.baseline_overall is None or not self.overall.time_s:
            return float("nan")
        own = self.cycles.half_width / self.overall.cycles if self.overall.cycles else 0.0
        other = self.baseline_cycles.half_width / self.baseline_overall.cycles if self.baseline_overall.cycles else 0.0
        return self.overall_speedup * hypot(own, other)

    @property
    def overall_energy_efficiency(self) -> float:
        if self.baseline_overall is None or not self.overall.energy_j.mid:
            return float("nan")
        return self.baseline_overall.energy_j.mid / self.overall.energy_j.mid

    @property
    def speedup_half_width(self) -> float:
        """Half-width of the 95% confidence interval, from those of the cycles on both machines."""
        return self.speedup * hypot(self.cycles.relative_half_width, self.baseline_cycles.relative_half_width)

    @property
    def energy_efficiency(self) -> float:
        return self.baseline_energy_j / self.energy_j if self.energy_j else float("nan")

    @property
    def class_shares(self) -> dict[str, float]:
        """Share of each lane-cycle class in the lane-cycles of all tile passes; they add up to 1."""
        return class_shares(self.counters, self.classes)


@dataclass(frozen=True)
class Overall:
    """Totals over operations of what a machine takes, memories included.

    Attributes
    ----------
    cycles, time_s : float
    shares : dict of str to float
        Cycles by cause.
    energy : dict of component to Range
        [J].
    off_chip_bytes, raw_off_chip_bytes : int
        Bytes between memory and chip, and what they were before compression.
    bound : dict of str to float
        Share of the time in operations that are bound by each cause.
    """

    cycles: float
    time_s: float
    shares: dict[str, float]
    energy: dict[str, Range]
    off_chip_bytes: int
    raw_off_chip_bytes: int
    bound: dict[str, float]

    @property
    def energy_j(self) -> Range:
        """Of all components [J]."""
        return Range.total(self.energy.values())

    @property
    def groups(self) -> dict[str, Range]:
        """Energy of core, on-chip and off-chip components [J]."""
        return by_group(self.energy)

    @property
    def bound_by(self) -> str:
        """What takes most of the time of all operations together."""
        return bound_by(self.shares)

    @staticmethod
    def of(costs: Sequence[Cost]) -> "Overall":
        """Add up what one machine takes."""
        cycles = sum(cost.overall_cycles for cost in costs)
        bound: dict[str, float] = {}
        for cost in costs:
            bound[cost.bound_by] = bound.get(cost.bound_by, 0.0) + (cost.overall_cycles / cycles if cycles else 0.0)
        memories = [cost.memory for cost in costs if cost.memory]
        return Overall(
            cycles=cycles,
            time_s=sum(cost.overall_time_s for cost in costs),
            shares={name: sum(cost.shares[name] for cost in costs) for name in SHARES},
            energy={name: Range.total(cost.energy[name] for cost in costs if cost.energy) for name in COMPONENTS},
            off_chip_bytes=sum(memory.off_chip_bytes for memory in memories),
            raw_off_chip_bytes=sum(sum(memory.raw_bytes.values()) for memory in memories),
            bound=bound,
        )


def class_shares(counters: Mapping[str, Estimate], classes: Sequence[str]) -> dict[str, float]:
    """Share of each class in the sum of all of them."""
    total = sum(counters[name].value for name in classes)
    return {name: counters[name].value / total if total else float("nan") for name in classes}


def summarise(operations: Sequence[OperationResult]) -> Summary:
    """Add operations up.  Those without a baseline leave its figures NaN."""
    tile_cycles = Estimate.total([item.cost.tile_cycles for item in operations])
    baselines = [item.baseline for item in operations if item.baseline is not None]
    complete = len(baselines) == len(operations)
    sets = sum(item.dense_sets for item in operations)
    time_s, names = sum(item.cost.time_s for item in operations), operations[0].counters if operations else {}
    baseline_time = sum(item.time_s for item in baselines) if complete else float("nan")
    return Summary(
        macs=sum(item.macs for item in operations),
        cycles=Estimate.total([item.cost.cycles for item in operations]),
        baseline_cycles=Estimate.total([item.cycles for item in baselines]) if complete else Estimate(float("nan")),
        time_s=time_s,
        baseline_time_s=baseline_time,
        energy_j=sum(item.cost.energy_j for item in operations),
        baseline_energy_j=sum(item.energy_j for item in baselines) if complete else float("nan"),
        busy=sum(item.cost.busy * item.cost.time_s for item in operations) / time_s if time_s else float("nan"),
        baseline_busy=sum(item.busy * item.time_s for item in baselines) / baseline_time
        if baseline_time
        else float("nan"),
        occupancy=sum(item.cost.occupancy * item.dense_sets for item in operations) / sets if sets else float("nan"),
        cycles_per_set=tile_cycles.value / sets if sets else float("nan"),
        counters={name: Estimate.total([item.counters[name] for item in operations]) for name in names},
        classes=operations[0].classes if operations else (),
        overall=Overall.of([item.cost for item in operations]),
        baseline_overall=Overall.of(baselines) if complete else None,
    )
