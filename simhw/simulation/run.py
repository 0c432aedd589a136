"""A trace on one machine: which passes are simulated, exactly or by random cells."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from simhw.lowering import multiply_accumulates
from simhw.machine.machine import Machine
from simhw.pe.check import check_passes
from simhw.pe.operand import OperandChoice
from simhw.progress import announce, track
from simhw.results.estimate import Estimate
from simhw.results.operation import OperationResult, useful_share
from simhw.simulation.baseline import Baseline, FixedBaseline, SimulatedBaseline
from simhw.simulation.cells import unit_macs
from simhw.simulation.cost import charges_lanes
from simhw.simulation.engine import Check, WorkItem, cell_items, cores, exact_items, run_items
from simhw.simulation.forecast import seconds_per_work
from simhw.simulation.growth import Growth
from simhw.simulation.options import SimulationOptions
from simhw.simulation.outcome import PendingResult, pending_result
from simhw.simulation.sampling import StratumTally, cells_for_fraction, cells_for_precision
from simhw.simulation.strata import OperationRun, PassStratum, Place, plan_operation
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

StratumKey = tuple[int, ...]


@dataclass(frozen=True)
class Draw:
    """How many cells of each stratum are drawn, and from which random numbers.

    Attributes
    ----------
    fraction : float or None
        Of each stratum's cells; 1 simulates every pass.  None: as many as `wanted` says.
    wanted : mapping of stratum's key to int
    round : int
        Samples drawn before this one.
    """

    fraction: float | None
    wanted: Mapping[StratumKey, int] = field(default_factory=dict)
    round: int = 0

    def cells(self, stratum: PassStratum, seed: int) -> npt.NDArray[np.int64]:
        """Numbers of the stratum's cells that are drawn, ascending."""
        assert stratum.cells is not None
        cells = stratum.cells.cells
        number = self.wanted[stratum.key] if self.fraction is None else cells_for_fraction(cells, self.fraction)
        # The number of the candidate has no part in it: a choice draws the same cells wherever it stands in a list.
        place, rest = stratum.key[:2], stratum.key[3:]
        return np.sort(np.random.default_rng([seed, self.round, *place, 0, *rest]).choice(cells, number, replace=False))


@dataclass
class Simulation:
    """One trace on one machine.

    Attributes
    ----------
    options : SimulationOptions
    baseline : Baseline or None
    growth : Growth or None
        How the step is grown to more images; None for those of the trace.
    choices : mapping of place to OperandChoice
        The X operand of operations for which the machine's PE is not to choose it.
    """

    trace: Trace
    machine: Machine
    options: SimulationOptions
    baseline: Baseline | None = None
    growth: Growth | None = None
    choices: Mapping[Place, OperandChoice] = field(default_factory=dict)
    _announced: bool = False

    @cached_property
    def fraction(self) -> float | None:
        """Share of the passes to simulate; None for as many as the precision takes."""
        if self.options.sample is not None:
            return self.options.sample
        return 1.0 if self.trace.sampled or self._exact_seconds() <= EXACT_SECONDS else None

    @property
    def description(self) -> str:
        """How the passes are chosen."""
        if self.fraction is None:
            return f"random, to {PRECISION:.0%} of the total"
        if self.trace.sampled:
            return "of the trace"
        return "exact" if self.fraction == 1 else f"random, {self.fraction:g} of all passes"

    def run(self) -> dict[Place, OperationResult]:
        """Every operation's result."""
        if self.fraction is None:
            return _finished(self._to_precision())
        self._announce(self.fraction)
        runs = self._runs(Draw(self.fraction))
        if self.trace.sampled:
            return _finished({run.place: self._pending(run) for run in runs})
        # Beside the passes of later operations, on a thread of their own: the main thread keeps the workers busy.
        with ThreadPoolExecutor(1) as memories:
            finished = {run.place: memories.submit(self._pending(run).finished) for run in runs}
            return {place: each.result() for place, each in finished.items()}

    def _announce(self, fraction: float) -> None:
        """Say how long it may take, where that was not tried before."""
        # A replay takes as long as its first passes show.
        options = self.options
        if options.sample is not None and options.progress and not options.check and not self.trace.sampled:
            announce(f"{self.machine.name}, {self.description},", fraction * self._exact_seconds())
            self._announced = True

    def _to_precision(self) -> dict[Place, PendingResult]:
        """Larger and larger samples, each sized by the one before, until the total is precise enough."""
        pending: dict[Place, PendingResult] = {}
        draw = Draw(PILOT_FRACTION)
        for number in range(1, ROUNDS + 1):
            # An oracle's results are those of the faster candidates: their total, not that of both, is to be precise.
            ranked: dict[int, dict[StratumKey, StratumTally]] = {}
            for run in self._runs(draw):
                pending[run.place] = self._pending(run)
                for rank, candidate in enumerate(sorted(run.candidates, key=lambda each: each.tile_cycles.value)):
                    ranked.setdefault(rank, {}).update({stratum.key: stratum.tally for stratum in candidate.strata})
            total = Estimate.total([each.result.cost.cycles for each in pending.values()])
            if total.relative_half_width <= PRECISION:
                break
            wanted = dict(draw.wanted)
            for tallies in ranked.values():
                wanted |= zip(tallies, cells_for_precision(list(tallies.values()), PRECISION), strict=True)
            draw = Draw(None, wanted, number)
        return pending

    def _exact_seconds(self) -> float:
        """How long simulating everything is expected to take."""
        work = sum(stratum.plan.simulator_work for run in self._plans(exact=True) for stratum in run.strata)
        return work * seconds_per_work(self.machine.tile) / (self.options.workers or cores())

    @cached_property
    def _macs(self) -> int:
        """Multiply-accumulates of the trace."""
        return sum(multiply_accumulates(layer, each) for layer in self.trace.layers for each in layer.operations)

    def _plans(self, exact: bool) -> Iterator[OperationRun]:
        for index, layer in enumerate(self.trace.layers):
            for operation in layer.operations:
                choice = self.choices.get((index, operation))
                yield plan_operation(layer, operation, self.machine, exact, index, choice)

    def _runs(self, draw: Draw) -> Iterator[OperationRun]:
        """Simulate every operation and give it once it is complete."""
        runs = self._completed(draw)
        if not self.options.progress:
            return runs
        total = sum(len(layer.operations) for layer in self.trace.layers)
        return track(runs, self.machine.name, total, self._announced)

    def _completed(self, draw: Draw) -> Iterator[OperationRun]:
        open_runs: dict[StratumKey, OperationRun] = {}
        workers = self.options.workers or cores()

        def items() -> Iterator[WorkItem]:
            left = self._macs
            for run in self._plans(exact=draw.fraction == 1):
                open_runs[run.key] = run
                macs = unit_macs(left, workers)
                left -= run.lowered.macs
                for stratum in run.strata:
                    if stratum.cells is None:
                        yield from exact_items(stratum, macs)
                    else:
                        yield from cell_items(stratum, draw.cells(stratum, self.options.seed))

        # Items end in order, so an operation is complete when one of a later operation ends.
        for stratum in run_items(items(), self._check, self.options.workers):
            for key in list(open_runs):
                if key == stratum.key[: len(key)]:
                    break
                yield open_runs.pop(key)
        yield from open_runs.values()

    @property
    def _check(self) -> Check | None:
        return partial(check_passes, self.machine.pe) if self.options.check else None

    def _pending(self, run: OperationRun) -> PendingResult:
        return pending_result(run, self.machine, self.baseline, self.growth)


def _finished(pending: Mapping[Place, PendingResult]) -> dict[Place, OperationResult]:
    """Results with memories, after all passes: of small passes Python takes the larger part, and only one thread at a
    time runs it.
    """
    return {place: each.finished() for place, each in pending.items()}


def baseline_for(
    trace: Trace, machine: Machine | None, options: SimulationOptions, growth: Growth | None
) -> Baseline | None:
    """A machine as the baseline of others on a trace, simulated as far as values matter to it."""
    if machine is None:
        return None
    if machine.tile.fixed_time and not charges_lanes(machine):
        return FixedBaseline(machine)
    results = Simulation(trace, machine, replace(options, check=False), growth=growth).run()
    if machine.tile.fixed_time:
        useful = {place: useful_share(result.counters, result.classes) for place, result in results.items()}
        return FixedBaseline(machine, useful)
    return SimulatedBaseline({place: result.cost for place, result in results.items()})
