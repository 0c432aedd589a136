"""Totals over operations: times, energies and counters add up, ratios are of the totals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, nan

from simhw.machine.costs import Range
from simhw.machine.energy import COMPONENTS, STEADY, by_group
from simhw.memory.model import SHARES, bound_by
from simhw.results.estimate import Estimate
from simhw.results.operation import OperationCost, OperationResult, quotient


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
    def of(costs: Sequence[OperationCost]) -> "Overall":
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


@dataclass(frozen=True)
class MachineTotals:
    """Totals over operations of what one machine takes.

    Attributes
    ----------
    cycles : Estimate
        On all tiles, memories aside; so are `time_s` [s], `energy_j` [J] and `busy`, the share of that time in which
        tiles run a pass.
    energy_half_width_j : float
        Of the 95% confidence interval of `energy_j`, from that of the cycles [J].
    overall : Overall
        The same with memories.
    """

    cycles: Estimate
    time_s: float
    energy_j: float
    energy_half_width_j: float
    busy: float
    overall: Overall

    @property
    def overall_half_width(self) -> float:
        """Bounds that of the 95% confidence interval of the time with memories, as a share of it."""
        return quotient(self.cycles.half_width, self.overall.cycles) if self.overall.cycles else 0.0

    @property
    def overall_energy_half_width_j(self) -> float:
        """Bounds that of the 95% confidence interval of the energy with memories [J]."""
        steady = sum(self.overall.energy[name].mid for name in STEADY)
        return self.energy_half_width_j + steady * self.overall_half_width

    @staticmethod
    def of(costs: Sequence[OperationCost]) -> "MachineTotals":
        """Add up what one machine takes."""
        time_s = sum(cost.time_s for cost in costs)
        return MachineTotals(
            cycles=Estimate.total([cost.cycles for cost in costs]),
            time_s=time_s,
            energy_j=sum(cost.energy_j for cost in costs),
            energy_half_width_j=Estimate.total(
                [cost.cycles.times(cost.power_w / cost.clock_hz) for cost in costs]
            ).half_width,
            busy=quotient(sum(cost.busy * cost.time_s for cost in costs), time_s),
            overall=Overall.of(costs),
        )


@dataclass(frozen=True)
class Totals:
    """Totals over operations on a machine and on its baseline; figures of a baseline that there is not are NaN.

    `speedup_half_width` and `cycles_per_set` follow the total; see `OperationResult` for the others.

    Attributes
    ----------
    machine : MachineTotals
    baseline : MachineTotals or None
        None where any of the operations has none.
    macs : int
    occupancy, cycles_per_set : float
        Means over the sets of all operations.
    counters : dict of str to Estimate
    classes : tuple of str
    """

    machine: MachineTotals
    baseline: MachineTotals | None
    macs: int
    occupancy: float
    cycles_per_set: float
    counters: dict[str, Estimate]
    classes: tuple[str, ...]

    @staticmethod
    def of(operations: Sequence[OperationResult]) -> "Totals":
        """Add operations up."""
        baselines = [item.baseline for item in operations if item.baseline is not None]
        sets = sum(item.dense_sets for item in operations)
        first = operations[0] if operations else None
        return Totals(
            machine=MachineTotals.of([item.cost for item in operations]),
            baseline=MachineTotals.of(baselines) if len(baselines) == len(operations) else None,
            macs=sum(item.macs for item in operations),
            occupancy=quotient(sum(item.cost.occupancy * item.dense_sets for item in operations), sets),
            cycles_per_set=quotient(Estimate.total([item.cost.tile_cycles for item in operations]).value, sets),
            counters={
                name: Estimate.total([item.counters[name] for item in operations])
                for name in (first.counters if first else ())
            },
            classes=first.classes if first else (),
        )

    @property
    def cycles(self) -> Estimate:
        """Cycles on all tiles of the machine."""
        return self.machine.cycles

    @property
    def baseline_cycles(self) -> Estimate:
        """Cycles on all tiles of the baseline."""
        return self.baseline.cycles if self.baseline else Estimate(nan)

    @property
    def time_s(self) -> float:
        """Time on the machine, memories aside [s]."""
        return self.machine.time_s

    @property
    def baseline_time_s(self) -> float:
        """Time on the baseline, memories aside [s]."""
        return self.baseline.time_s if self.baseline else nan

    @property
    def energy_j(self) -> float:
        """Compute energy on the machine [J]."""
        return self.machine.energy_j

    @property
    def baseline_energy_j(self) -> float:
        """Compute energy on the baseline [J]."""
        return self.baseline.energy_j if self.baseline else nan

    @property
    def busy(self) -> float:
        """Share of the tiles' time in which they run a pass."""
        return self.machine.busy

    @property
    def baseline_busy(self) -> float:
        """The same share on the baseline."""
        return self.baseline.busy if self.baseline else nan

    @property
    def overall(self) -> Overall:
        """What the machine takes with memories."""
        return self.machine.overall

    @property
    def baseline_overall(self) -> Overall | None:
        """What the baseline takes with memories."""
        return self.baseline.overall if self.baseline else None

    @property
    def speedup(self) -> float:
        """Time on the baseline over time on the machine."""
        return quotient(self.baseline_time_s, self.time_s)

    @property
    def speedup_half_width(self) -> float:
        """Half-width of the 95% confidence interval, from those of the cycles on both machines."""
        return self.speedup * hypot(self.cycles.relative_half_width, self.baseline_cycles.relative_half_width)

    @property
    def energy_efficiency(self) -> float:
        """Compute energy on the baseline over that on the machine."""
        return quotient(self.baseline_energy_j, self.energy_j)

    @property
    def energy_efficiency_half_width(self) -> float:
        """Half-width of the 95% confidence interval, from those of the compute energy on both machines."""
        if self.baseline is None:
            return nan
        own, other = (quotient(each.energy_half_width_j, each.energy_j) for each in (self.machine, self.baseline))
        return self.energy_efficiency * hypot(own, other)

    @property
    def overall_speedup(self) -> float:
        """`speedup` with both machines' memories."""
        return quotient(self.baseline.overall.time_s, self.overall.time_s) if self.baseline else nan

    @property
    def overall_speedup_half_width(self) -> float:
        """Bounds that of the 95% confidence interval: memories never add to what an error of the tiles' time does."""
        if self.baseline is None or not self.overall.time_s:
            return nan
        return self.overall_speedup * hypot(self.machine.overall_half_width, self.baseline.overall_half_width)

    @property
    def overall_energy_efficiency(self) -> float:
        """`energy_efficiency` with both machines' memories."""
        return quotient(self.baseline.overall.energy_j.mid, self.overall.energy_j.mid) if self.baseline else nan

    @property
    def overall_energy_efficiency_half_width(self) -> float:
        """Bounds that of the 95% confidence interval: bytes and accesses are exact, and an error of the tiles' time
        adds no more than the tiles' power and what memories draw at all times.
        """
        if self.baseline is None or not self.overall.energy_j.mid:
            return nan
        own, other = (
            quotient(each.overall_energy_half_width_j, each.overall.energy_j.mid)
            for each in (self.machine, self.baseline)
        )
        return self.overall_energy_efficiency * hypot(own, other)

    @property
    def class_shares(self) -> dict[str, float]:
        """Share of each lane-cycle class in the lane-cycles of all tile passes; they add up to 1."""
        total = sum(self.counters[name].value for name in self.classes)
        return {name: quotient(self.counters[name].value, total) for name in self.classes}
