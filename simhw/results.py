"""Results: what an operation costs on a machine and on its baseline, as objects and as one tidy table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import hypot
from os import PathLike
from typing import TYPE_CHECKING, Any

from simhw.costs import Range
from simhw.energy import COMPONENTS, by_group
from simhw.memory.model import SHARES, MemoryCost, bound_by
from simhw.output import write_frame
from simhw.sampling import Estimate
from simhw.trace.layer import OPERATIONS

if TYPE_CHECKING:
    import pandas as pd

    from simhw.machine import Machine


@dataclass(frozen=True)
class Cost:
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
        With memories, by `simhw.energy.COMPONENTS` [J]; empty where it was not worked out.
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
        return self.memory.shares if self.memory else {name: self.cycles.value if name == "compute" else 0.0 for name in SHARES}

    @property
    def bound_by(self) -> str:
        """What takes most of the time."""
        return bound_by(self.shares)

    @property
    def energy_j(self) -> float:
        """Compute energy, power times time [J]."""
        return self.power_w * self.time_s


@dataclass(frozen=True)
class OperationResult:
    """An operation of a layer on a machine.

    Attributes
    ----------
    layer, kind, operation : str
    operand : str
        The tensor that was serial or scheduled; "mixed" where images differ.
    macs : int
        Multiply-accumulates, padding to sets and partial tiles excluded.
    passes : int
        Tile passes of the operation.
    simulated : float
        Share of them that was simulated.
    cost : Cost
    baseline : Cost or None
        On the machine's baseline.
    counters : dict of str to Estimate
        Lane-cycles by class, which add up to the lanes of a tile times its cycles, and the other counters.
    classes : tuple of str
        Which of the counters are lane-cycle classes.
    dense_sets : int
        Sets of all tile passes: the tile cycles of a machine that takes one cycle a set.
    """

    layer: str
    kind: str
    operation: str
    operand: str
    macs: int
    passes: int
    simulated: float
    cost: Cost
    baseline: Cost | None
    counters: dict[str, Estimate]
    classes: tuple[str, ...]
    dense_sets: int

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
        return self.baseline.cycles.value if self.baseline else float("nan")

    @property
    def half_width(self) -> float:
        """Half-width of the 95% confidence interval of `cycles`; 0 where all passes were simulated."""
        return self.cost.cycles.half_width

    @property
    def speedup(self) -> float:
        """Time on the baseline over time on the machine; NaN without a baseline."""
        return self.baseline.time_s / self.cost.time_s if self.baseline and self.cost.time_s else float("nan")

    @property
    def speedup_half_width(self) -> float:
        """Half-width of its 95% confidence interval, from those of the cycles on both machines."""
        if self.baseline is None:
            return float("nan")
        return self.speedup * hypot(self.cost.cycles.relative_half_width, self.baseline.cycles.relative_half_width)

    @property
    def energy_efficiency(self) -> float:
        """Compute energy on the baseline over that on the machine; NaN without a baseline."""
        return self.baseline.energy_j / self.cost.energy_j if self.baseline and self.cost.energy_j else float("nan")

    @property
    def overall_speedup(self) -> float:
        """`speedup` with both machines' memories."""
        return self.baseline.overall_time_s / self.cost.overall_time_s if self.baseline and self.cost.overall_time_s else float("nan")

    @property
    def overall_energy_efficiency(self) -> float:
        """`energy_efficiency` with both machines' memories."""
        energy = self.cost.overall_energy_j.mid
        return self.baseline.overall_energy_j.mid / energy if self.baseline and energy else float("nan")

    @property
    def cycles_per_set(self) -> float:
        """Tile cycles per set of a tile pass: 1 for the dense machine."""
        return self.tile_cycles / self.dense_sets if self.dense_sets else float("nan")


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
        baseline_busy=sum(item.busy * item.time_s for item in baselines) / baseline_time if baseline_time else float("nan"),
        occupancy=sum(item.cost.occupancy * item.dense_sets for item in operations) / sets if sets else float("nan"),
        cycles_per_set=tile_cycles.value / sets if sets else float("nan"),
        counters={name: Estimate.total([item.counters[name] for item in operations]) for name in names},
        classes=operations[0].classes if operations else (),
        overall=Overall.of([item.cost for item in operations]),
        baseline_overall=Overall.of(baselines) if complete else None,
    )


@dataclass(frozen=True, eq=False)
class Results:
    """A trace on a machine.

    Attributes
    ----------
    operations : list of OperationResult
        In the order of the trace's layers; forward, input_grad, weight_grad.
    provenance : dict of str to value
        Trace, machine, their hashes, sampling, seed and versions; every row of `frame` carries them.
    machine : Machine
    baseline : Machine or None
    """

    operations: list[OperationResult]
    provenance: dict[str, Any]
    machine: "Machine"
    baseline: "Machine | None"

    @cached_property
    def total(self) -> Summary:
        """All operations together."""
        return summarise(self.operations)

    def by_operation(self) -> dict[str, Summary]:
        """The totals of each operation that ran."""
        return self._by_operation

    @cached_property
    def _by_operation(self) -> dict[str, Summary]:
        groups = {name: [item for item in self.operations if item.operation == name] for name in OPERATIONS}
        return {name: summarise(items) for name, items in groups.items() if items}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the lane-cycle classes."""
        return self.operations[0].classes if self.operations else ()

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """A row per layer and operation; columns carry units, ``_ci95`` is a half-width of a 95% confidence interval."""
        import pandas as pd

        return pd.DataFrame([self._row(item) for item in self.operations])

    def _row(self, item: OperationResult) -> dict[str, Any]:
        base = item.baseline
        nan = float("nan")
        row: dict[str, Any] = {
            "machine": self.provenance["machine"],
            "layer": item.layer,
            "kind": item.kind,
            "operation": item.operation,
            "operand": item.operand,
            "macs": item.macs,
            "passes": item.passes,
            "simulated": item.simulated,
            "cycles": item.cycles,
            "cycles_ci95": item.half_width,
            "tile_cycles": item.tile_cycles,
            "tile_cycles_ci95": item.cost.tile_cycles.half_width,
            "cycles_per_set": item.cycles_per_set,
            "baseline_cycles": item.baseline_cycles,
            "speedup": item.speedup,
            "speedup_ci95": item.speedup_half_width,
            "time_s": item.cost.time_s,
            "baseline_time_s": base.time_s if base else nan,
            "energy_j": item.cost.energy_j,
            "baseline_energy_j": base.energy_j if base else nan,
            "energy_efficiency": item.energy_efficiency,
            "busy": item.cost.busy,
            "baseline_busy": base.busy if base else nan,
            "occupancy": item.cost.occupancy,
        }
        row |= self._overall_row(item)
        for name, estimate in item.counters.items():
            row[name] = estimate.value
            row[f"{name}_ci95"] = estimate.half_width
        return row | {name: value for name, value in self.provenance.items() if name != "machine"}

    @staticmethod
    def _overall_row(item: OperationResult) -> dict[str, Any]:
        """What memories make of an operation: time by cause, bytes, accesses and energies."""
        cost, base, nan = item.cost, item.baseline, float("nan")
        energy = cost.overall_energy_j
        row: dict[str, Any] = {
            "overall_cycles": cost.overall_cycles,
            "baseline_overall_cycles": base.overall_cycles if base else nan,
            "overall_speedup": item.overall_speedup,
            "overall_energy_efficiency": item.overall_energy_efficiency,
            "bound_by": cost.bound_by,
            **{f"{name}_cycles": cycles for name, cycles in cost.shares.items()},
            "overall_energy_j": energy.mid,
            "overall_energy_low_j": energy.low,
            "overall_energy_high_j": energy.high,
            "baseline_overall_energy_j": base.overall_energy_j.mid if base else nan,
            **{f"{name}_j": cost.energy[name].mid if cost.energy else nan for name in COMPONENTS},
        }
        memory = cost.memory
        if memory is not None:
            row |= {"blocking": str(memory.blocking), "off_chip_bytes": memory.off_chip_bytes}
            row |= {f"{name}_bytes": number for name, number in memory.traffic_bytes.items()}
            row |= {f"buffer_{tensor}_reads": number for tensor, number in memory.buffer_reads.items()}
            row |= {f"buffer_{tensor}_writes": number for tensor, number in memory.buffer_writes.items()}
            row |= {"scratchpad_reads": memory.on_chip.scratchpad_reads, "scratchpad_writes": memory.on_chip.scratchpad_writes}
            row |= {f"dram_{name}": getattr(memory.dram, name) for name in ("activates", "row_hits", "row_misses", "turnarounds")}
        return row

    def write(self, path: str | PathLike[str]) -> None:
        """Write `frame` as .csv, .json or .parquet; see `simhw.output.write_frame`."""
        write_frame(self.frame, path)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A trace on several machines."""

    results: list[Results]

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """The rows of all results, told apart by the column ``machine``."""
        import pandas as pd

        return pd.concat([result.frame for result in self.results], ignore_index=True)

    @property
    def summary(self) -> "pd.DataFrame":
        """A row per machine and operation, and one for the total."""
        import pandas as pd

        rows = []
        for result in self.results:
            for name, total in {**result.by_operation(), "total": result.total}.items():
                rows.append(
                    {
                        "machine": result.provenance["machine"],
                        "operation": name,
                        "macs": total.macs,
                        "cycles": total.cycles.value,
                        "cycles_ci95": total.cycles.half_width,
                        "cycles_per_set": total.cycles_per_set,
                        "speedup": total.speedup,
                        "speedup_ci95": total.speedup_half_width,
                        "energy_efficiency": total.energy_efficiency,
                        "time_s": total.time_s,
                        "energy_j": total.energy_j,
                        "busy": total.busy,
                        "occupancy": total.occupancy,
                        "overall_cycles": total.overall.cycles,
                        "overall_speedup": total.overall_speedup,
                        "overall_energy_efficiency": total.overall_energy_efficiency,
                        "overall_energy_j": total.overall.energy_j.mid,
                        "bound_by": total.overall.bound_by,
                        "off_chip_bytes": total.overall.off_chip_bytes,
                    }
                )
        return pd.DataFrame(rows)

    def write(self, path: str | PathLike[str]) -> None:
        """Write `frame` as .csv, .json or .parquet; see `simhw.output.write_frame`."""
        write_frame(self.frame, path)
