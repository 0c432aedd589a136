"""A trace on one machine: which passes are simulated, exactly or by random cells, and every operation's figures."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import from_float32
from simhw.machine.energy import energy_of
from simhw.machine.machine import Machine
from simhw.machine.tiles import repeated_loads
from simhw.memory.model import memory_cost
from simhw.memory.onchip import PassShape
from simhw.pe.passes import whole_tiles
from simhw.pe.tensordash.kernel import TensorDashPE
from simhw.progress import announce, track
from simhw.results.estimate import Estimate
from simhw.results.operation import OperationCost, OperationResult, useful_share
from simhw.simulation.cells import Plan
from simhw.simulation.engine import (
    Candidate,
    Check,
    OperationRun,
    Stratum,
    Task,
    cell_tasks,
    cores,
    cost,
    exact_tasks,
    lower_for,
    passes_by_sets,
    plan_operation,
    run_tasks,
)
from simhw.simulation.growth import Growth, grow_layer
from simhw.simulation.makespan import estimate_makespan
from simhw.simulation.sampling import (
    StratumTally,
    cells_for_fraction,
    cells_for_precision,
    estimate_counter,
    estimate_cycles,
)
from simhw.trace.layer import OPERANDS, Layer, Operation
from simhw.trace.statistics import statistics_of
from simhw.trace.trace import Trace

EXACT_SECONDS = 60.0
"""By default a trace is simulated exactly where that is expected to take no longer."""
PRECISION = 0.01
"""Else a sample is drawn that reaches this relative half-width of the total."""
PILOT_FRACTION = 0.002
"""Share of the cells in the pilot sample, from which the next sample's size follows."""
ROUNDS = 4
"""Samples to draw at the most: the second often misses the precision by a little, since a pilot's variances are rough.
"""

Place = tuple[int, Operation]


@dataclass
class Simulation:
    """One trace on one machine; see `simhw.simulation.api.simulate` for the parameters.

    Attributes
    ----------
    baseline_costs : mapping or None
        What each operation takes on a baseline whose time depends on values; None where shapes alone tell.
    baseline_useful : mapping or None
        Of a baseline whose shapes alone tell its time but whose power goes with what its lanes do: their useful share.
    growth : Growth or None
        How the step is grown to more images; None for those of the trace.
    description : str
        How the passes were chosen, once `run` has decided it.
    """

    trace: Trace
    machine: Machine
    sample: float | None
    seed: int
    progress: bool
    workers: int | None
    check: Check | None = None
    baseline: Machine | None = None
    baseline_costs: Mapping[Place, OperationCost] | None = None
    baseline_useful: Mapping[Place, float] | None = None
    growth: Growth | None = None
    description: str = ""
    _announced: bool = False

    def run(self) -> dict[Place, OperationResult]:
        """Every operation's result, by layer index and operation."""
        if self.sample is None and not self.trace.sampled and self._exact_seconds() > EXACT_SECONDS:
            self.description = f"random, to {PRECISION:.0%} of the total"
            return self._to_precision()
        fraction = 1.0 if self.sample is None else self.sample
        self.description = (
            "of the trace"
            if self.trace.sampled
            else "exact"
            if fraction == 1
            else f"random, {fraction:g} of all passes"
        )
        # A replay takes as long as its first passes show.
        if self.sample is not None and self.progress and self.check is None and not self.trace.sampled:
            seconds = fraction * self._exact_seconds()
            announce(f"{self.machine.name}, {self.description},", seconds)
            self._announced = True
        return _finished({run.place: self._result(run) for run in self._runs(fraction, {})})

    def _to_precision(self) -> dict[Place, OperationResult]:
        """Larger and larger samples, each sized by the one before, until the total is precise enough."""
        wanted: dict[tuple[int, ...], int] = {}
        results: dict[Place, _Pending] = {}
        for round_ in range(ROUNDS):
            # An oracle's results are those of the faster candidates: their total, not that of both, is to be precise.
            ranked: dict[int, dict[tuple[int, ...], StratumTally]] = {}
            for run in self._runs(None if round_ else PILOT_FRACTION, wanted, round_):
                results[run.place] = self._result(run)
                for rank, candidate in enumerate(sorted(run.candidates, key=lambda each: _tile_cycles(each).value)):
                    ranked.setdefault(rank, {}).update({stratum.key: stratum.tally for stratum in candidate.strata})
            if (
                Estimate.total([pending.result.cost.cycles for pending in results.values()]).relative_half_width
                <= PRECISION
            ):
                break
            for tallies in ranked.values():
                wanted |= zip(tallies, cells_for_precision(list(tallies.values()), PRECISION), strict=True)
        return _finished(results)

    def _exact_seconds(self) -> float:
        """How long simulating everything is expected to take, from the time that a small product takes now."""
        work = sum(cost(stratum.plan) for run in self._plans(exact=True) for stratum in _strata(run))
        tile = self.machine.tile
        rng = np.random.default_rng(0)
        x = from_float32(np.maximum(rng.standard_normal((4 * tile.tile_x, 1024), np.float32), 0))
        rows = whole_tiles(
            [from_float32(rng.standard_normal((tile.y_group or tile.tile_y, 1024), np.float32))], tile.tile_y
        )
        prepared = tile.prepare(rows)
        tile.run(x, prepared)
        started = time.perf_counter()
        tile.run(x, prepared)
        trial = x.size if tile.fixed_time or not tile.needs_y else x.size * len(rows.rows)
        # Gathering and laying out rows come on top of the kernel: at most as much again.
        return 2 * work * (time.perf_counter() - started) / trial / (self.workers or cores())

    def _plans(self, exact: bool) -> Iterator[OperationRun]:
        for index, layer in enumerate(self.trace.layers):
            for operation in layer.operations:
                yield plan_operation(layer, operation, self.machine, exact, index)

    def _runs(
        self, fraction: float | None, wanted: Mapping[tuple[int, ...], int], round_: int = 0
    ) -> Iterator[OperationRun]:
        """Simulate every operation and give it once it is complete; `wanted` cells per stratum, else a fraction."""
        open_runs: dict[tuple[int, ...], OperationRun] = {}

        def tasks() -> Iterator[Task]:
            for run in self._plans(exact=fraction == 1):
                open_runs[run.key] = run
                for stratum in _strata(run):
                    if stratum.cells is None:
                        yield from exact_tasks(stratum)
                    else:
                        cells = stratum.cells.cells
                        number = wanted[stratum.key] if fraction is None else cells_for_fraction(cells, fraction)
                        drawn = np.random.default_rng([self.seed, round_, *stratum.key]).choice(
                            cells, number, replace=False
                        )
                        yield from cell_tasks(stratum, np.sort(drawn))

        total = sum(len(layer.operations) for layer in self.trace.layers)

        def completed() -> Iterator[OperationRun]:
            # Tasks end in order, so an operation is complete when one of a later operation ends.
            for stratum in run_tasks(tasks(), self.check, self.workers):
                for key in list(open_runs):
                    if key == stratum.key[: len(key)]:
                        break
                    yield open_runs.pop(key)
            yield from open_runs.values()

        return track(completed(), self.machine.name, total, self._announced) if self.progress else completed()

    def _result(self, run: OperationRun) -> "_Pending":
        """The operation's figures, memories aside; of an oracle's candidates, those of the faster."""
        tiles = self.machine.values.tiles
        timings = [
            estimate_makespan(each.tallies, tiles, (*run.key, number)) for number, each in enumerate(run.candidates)
        ]
        candidate, (cycles, loads) = min(zip(run.candidates, timings, strict=True), key=lambda pair: pair[1][0].value)
        tallies, tile_cycles = candidate.tallies, _tile_cycles(candidate)
        names = sorted({name for tally in tallies for counters in tally.counters for name in counters})
        classes = self.machine.tile.lane_cycle_classes
        counters = {
            name: Estimate.total(estimate_counter(tallies, name))
            for name in (*classes, *(n for n in names if n not in classes))
        }
        plans = [stratum.plan for stratum in {stratum.plan: stratum for stratum in candidate.strata}.values()]
        sets = _sets(plans)
        # Padding makes zeros of its own: a schedule that skips them is not bypassed.
        gated = tile_cycles.value >= sum(sets) and _gated(run, candidate, self.machine)
        useful = useful_share(counters, classes)
        simulated = sum(tally.simulated_passes for tally in tallies) / max(1, sum(tally.passes for tally in tallies))
        if self.growth is not None:
            run, plans = self._grown(self.growth, run, candidate)
            captured_sets, sets = sets, _sets(plans)
            more = sum(sets) / max(1, sum(captured_sets))
            cycles, tile_cycles, loads = cycles.times(more), tile_cycles.times(more), loads * more
            counters = {name: estimate.times(more) for name, estimate in counters.items()}
        base, base_work = None, None
        if self.baseline_costs is not None:
            base = self.baseline_costs[run.place]
        elif self.baseline is not None:
            share = 1.0 if self.baseline_useful is None else self.baseline_useful[run.place]
            base, base_work = _fixed_cost(run, self.baseline, self.machine, share)
        cost, work = _cost(run, self.machine, plans, sets, cycles, tile_cycles, loads, gated, useful)
        result = OperationResult(
            layer=run.layer.name,
            kind=run.layer.kind,
            operation=run.operation,
            operand=candidate.choice.label,
            macs=run.macs,
            passes=sum(plan.passes for plan in plans),
            simulated=simulated,
            cost=cost,
            baseline=base,
            counters=counters,
            classes=classes,
            dense_sets=sum(sets),
            fed_macs=run.fed_macs,
            padding_macs=run.padding_macs,
        )
        return _Pending(result, work, base_work)

    def _grown(self, growth: Growth, run: OperationRun, candidate: Candidate) -> tuple[OperationRun, list[Plan]]:
        """The operation and its passes as they would be on more images."""
        layer = grow_layer(run.layer, growth.axes[run.layer_index], growth.factor)
        families = lower_for(layer, run.operation, self.machine)
        split = [
            (larger, candidate.choice.grown(family, larger))
            for family, larger in zip(run.families, families, strict=True)
        ]
        # Which products these are does not matter to the shapes of their passes.
        plans = [
            Plan(family, swapped, range(number), self.machine.tile)
            for family, parts in split
            for swapped, number in parts
        ]
        return OperationRun(run.layer_index, layer, run.operation, families), plans


def _sets(plans: Sequence[Plan]) -> list[int]:
    """Sets of each plan's tile passes."""
    return [_total(passes_by_sets(plan)) for plan in plans]


def _total(passes: Mapping[int, int]) -> int:
    """Sets of all passes, of which so many execute so many."""
    return sum(sets * number for sets, number in passes.items())


@dataclass(frozen=True)
class _Work:
    """What an operation is to a machine's memories: see `memory_cost`; `power_share` as in `energy_of`."""

    layer: Layer
    operation: Operation
    machine: Machine
    shapes: Sequence[PassShape]
    loads: npt.NDArray[np.float64]
    power_share: float

    def add_to(self, cost: OperationCost) -> OperationCost:
        """The cost with what memories make of it."""
        memory = None
        if self.machine.modelled_memory is not None:
            memory = memory_cost(self.layer, self.operation, self.machine, self.shapes, self.loads)
        return replace(cost, memory=memory, energy=energy_of(self.machine, cost.time_s, self.power_share, memory))


@dataclass(frozen=True)
class _Pending:
    """An operation's result before memories, and what machine and baseline ask of theirs."""

    result: OperationResult
    work: _Work
    baseline_work: _Work | None

    def finished(self) -> OperationResult:
        """The result with memories."""
        result = self.result
        base = self.baseline_work.add_to(result.baseline) if self.baseline_work and result.baseline else result.baseline
        return replace(result, cost=self.work.add_to(result.cost), baseline=base)


def _finished(pending: Mapping[Place, _Pending]) -> dict[Place, OperationResult]:
    """Put memories around all operations: after their passes, since both run faster in caches of their own."""
    return {place: each.finished() for place, each in pending.items()}


def _tile_cycles(candidate: Candidate) -> Estimate:
    """Sum over the operation's passes."""
    return Estimate.total(estimate_cycles(candidate.tallies))


def _strata(run: OperationRun) -> Iterator[Stratum]:
    for candidate in run.candidates:
        yield from candidate.strata


def _gated(run: OperationRun, candidate: Candidate, machine: Machine) -> bool:
    """True where a TensorDash operation has no zeros to skip, so that its schedulers are bypassed and power-gated."""
    pe = machine.values.pe
    if not isinstance(pe, TensorDashPE) or pe.gate == "off":
        return False
    tensors = (
        OPERANDS[run.operation]
        if pe.sides == "two" or candidate.choice.per_image is not None
        else (candidate.choice.tensor,)
    )
    return all(statistics_of(run.layer, tensor).zeros == 0 for tensor in tensors)


def _cost(
    run: OperationRun,
    machine: Machine,
    plans: Sequence[Plan],
    sets: Sequence[int],
    cycles: Estimate,
    tile_cycles: Estimate,
    loads: npt.NDArray[np.float64],
    gated: bool = False,
    useful: float = 1.0,
) -> tuple[OperationCost, _Work]:
    """The cost without memories, and what those have to know; `sets` as `_sets` has them."""
    values, tile = machine.values, machine.tile
    slots = sum(sets) * tile.lanes * tile.tile_x * tile.tile_y
    power = sum(values.tile_power_mw.values())
    drawn = sum(power for part, power in values.tile_power_mw.items() if not (gated and part in values.gated_power))
    if charges_lanes(machine):
        assert values.energy is not None
        drawn *= useful + (1 - useful) * values.energy.idle_lane
    cost = OperationCost(
        cycles=cycles,
        tile_cycles=tile_cycles,
        busy=tile_cycles.value / (values.tiles * cycles.value) if cycles.value else 0.0,
        occupancy=run.fed_macs / slots if slots else 0.0,
        clock_hz=values.clock_hz,
        power_w=values.tiles * drawn / 1e3,
    )
    shapes: list[PassShape] = []
    if machine.modelled_memory is not None:
        shapes = [shape for plan, number in zip(plans, sets, strict=True) for shape in _pass_shapes(run, plan, number)]
    return cost, _Work(run.layer, run.operation, machine, shapes, loads, drawn / power if power else 0.0)


def _pass_shapes(run: OperationRun, plan: Plan, sets: int) -> Iterator[PassShape]:
    """The plan's tile passes, of which `sets` is the sum of their sets."""
    x, y = OPERANDS[run.operation]
    x, y = (y, x) if plan.swapped else (x, y)
    x_tiles, y_tiles = plan.tiles
    for (xs, ys), number in plan.cluster_sizes().items():
        yield PassShape(x, y, number, xs * x_tiles, ys * y_tiles, sets / max(1, plan.passes))


def charges_lanes(machine: Machine) -> bool:
    """True where a tile's power goes with what its lanes do, so that values must be known for it."""
    return machine.values.energy is not None and machine.values.energy.compute == "lane_cycle"


def _fixed_cost(
    run: OperationRun, machine: Machine, lowered_for: Machine, useful: float
) -> tuple[OperationCost, _Work]:
    """What an operation, lowered for another machine, takes on one whose passes take one cycle a set; `useful` of its
    lanes.
    """
    same = (
        machine.tile.lanes == lowered_for.tile.lanes
        and machine.values.lowering.streams == lowered_for.values.lowering.streams
    )
    families = run.families if same else lower_for(run.layer, run.operation, machine)
    plans = [Plan(family, False, range(family.count), machine.tile) for family in families]
    parts = [passes_by_sets(plan) for plan in plans]
    loads = repeated_loads(sum(parts, Counter[int]()), machine.values.tiles)
    cycles = Estimate(float(loads.max(initial=0)))
    sets = [_total(part) for part in parts]
    return _cost(run, machine, plans, sets, cycles, Estimate(float(sum(sets))), loads, useful=useful)
