"""What an operation of a layer comes to on a machine and on its baseline: cycles, energy, counters, memories."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, nan

from simhw.machine.costs import Range
from simhw.memory.model import SHARES, MemoryCost, bound_by
from simhw.results.estimate import Estimate


@dataclass(frozen=True)
class OperationCost:
    """What an operation takes on one machine.

    Attributes
    ----------
    cycles : Estimate
        From the first pass's start to the last one's end, on all tiles [cycles].
    tile_cycles : Estimate
        Sum over the tile passes [tile cycles].
    busy : float
        Share of the tiles' time in which they run a pass.
    occupancy : float
        Share of the lane slots of dense passes that hold a multiply-accumulate; the rest is partial tiles and sets.
    clock_hz : float
    power_w : float
        Of all tiles, without gated parts and what idle lanes save.
    memory : MemoryCost or None
        What the memory hierarchy makes of it; None where memories are ideal.
    energy : dict of component to Range
        With memories, by `simhw.machine.energy.COMPONENTS` [J]; empty where it was not worked out.
    """

    cycles: Estimate
    tile_cycles: Estimate
    busy: float
    occupancy: float
    clock_hz: float
    power_w: float
    memory: MemoryCost | None = None
    energy: Mapping[str, Range] = field(default_factory=dict)

    @property
    def time_s(self) -> float:
        """Time with ideal memories [s]."""
        return self.cycles.value / self.clock_hz

    @property
    def overall_cycles(self) -> float:
        """Cycles with memories; those of the tiles alone where memories are ideal."""
        return self.memory.cycles if self.memory else self.cycles.value

    @property
    def overall_time_s(self) -> float:
        """Time with memories [s]."""
        return self.overall_cycles / self.clock_hz

    @property
    def overall_energy_j(self) -> Range:
        """Energy of all components [J]."""
        return Range.total(self.energy.values()) if self.energy else Range(*[self.energy_j] * 3)

    @property
    def shares(self) -> dict[str, float]:
        """Cycles by cause, `simhw.memory.model.SHARES`; they add up to `overall_cycles`."""
        return (
            self.memory.shares
            if self.memory
            else {name: self.cycles.value if name == "compute" else 0.0 for name in SHARES}
        )

    @property
    def bound_by(self) -> str:
        """What takes most of the time."""
        return bound_by(self.shares)

    @property
    def energy_j(self) -> float:
        """Compute energy, power times time [J]."""
        return self.power_w * self.time_s


def quotient(numerator: float, denominator: float) -> float:
    """The quotient; NaN where there is nothing to divide by."""
    return numerator / denominator if denominator else nan


def useful_share(counters: Mapping[str, Estimate], classes: Sequence[str]) -> float:
    """Share of the lane-cycles that are in the class ``useful``; 1 where there are none."""
    return class_share(counters, classes, ["useful"]) if any(counters[name].value for name in classes) else 1.0


def class_share(counters: Mapping[str, Estimate], classes: Sequence[str], chosen: Iterable[str]) -> float:
    """Share of the lane-cycles that are in some classes; 0 where there are none."""
    lane_cycles = sum(counters[name].value for name in classes)
    return sum(counters[name].value for name in chosen) / lane_cycles if lane_cycles else 0.0


@dataclass(frozen=True)
class OperationResult:
    """An operation of a layer on a machine.

    Attributes
    ----------
    layer, kind, operation : str
    operand : str
        The tensor that was serial or scheduled; "mixed" where images differ.
    macs : int
        Multiply-accumulates of the operation, as networks are counted: outputs times kernel times channels, in all
        three operations.
    passes : int
        Tile passes of the operation.
    simulated : float
        Share of them that was simulated.
    cost : OperationCost
    baseline : OperationCost or None
        On the machine's baseline.
    counters : dict of str to Estimate
        Lane-cycles by class, which add up to the lanes of a tile times its cycles, and the other counters.
    classes : tuple of str
        Which of the counters are lane-cycle classes.
    dense_sets : int
        Sets of all tile passes: the tile cycles of a machine that takes one cycle a set.
    fed_macs, padding_macs : int
        Products that the machine is fed, and those of them that multiply a zero around a convolution's input or
        gradient (none where its ``lowering.padding`` is skip).
    filled_sets : int
        Sets that the PEs execute which have both rows.
    """

    layer: str
    kind: str
    operation: str
    operand: str
    macs: int
    passes: int
    simulated: float
    cost: OperationCost
    baseline: OperationCost | None
    counters: dict[str, Estimate]
    classes: tuple[str, ...]
    dense_sets: int
    fed_macs: int = 0
    padding_macs: int = 0
    filled_sets: int = 0

    @property
    def cycles(self) -> float:
        """Cycles on all tiles of the machine."""
        return self.cost.cycles.value

    @property
    def tile_cycles(self) -> float:
        """Sum over the tile passes [tile cycles]."""
        return self.cost.tile_cycles.value

    @property
    def baseline_cycles(self) -> float:
        """Cycles on all tiles of the baseline; NaN without one."""
        return self.baseline.cycles.value if self.baseline else nan

    @property
    def half_width(self) -> float:
        """Half-width of the 95% confidence interval of `cycles`; 0 where all passes were simulated."""
        return self.cost.cycles.half_width

    @property
    def speedup(self) -> float:
        """Time on the baseline over time on the machine; NaN without a baseline."""
        return quotient(self.baseline.time_s, self.cost.time_s) if self.baseline else nan

    @property
    def speedup_half_width(self) -> float:
        """Half-width of its 95% confidence interval, from those of the cycles on both machines."""
        if self.baseline is None:
            return nan
        return self.speedup * hypot(self.cost.cycles.relative_half_width, self.baseline.cycles.relative_half_width)

    @property
    def energy_efficiency(self) -> float:
        """Compute energy on the baseline over that on the machine; NaN without a baseline."""
        return quotient(self.baseline.energy_j, self.cost.energy_j) if self.baseline else nan

    @property
    def overall_speedup(self) -> float:
        """`speedup` with both machines' memories."""
        return quotient(self.baseline.overall_time_s, self.cost.overall_time_s) if self.baseline else nan

    @property
    def overall_energy_efficiency(self) -> float:
        """`energy_efficiency` with both machines' memories."""
        return quotient(self.baseline.overall_energy_j.mid, self.cost.overall_energy_j.mid) if self.baseline else nan

    @property
    def cycles_per_set(self) -> float:
        """Tile cycles per set of a tile pass: 1 for the dense machine."""
        return quotient(self.tile_cycles, self.dense_sets)
