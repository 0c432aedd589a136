"""What a simulated operation comes to: estimates from what was simulated, grown to more images where that is asked for,
priced, and put between memories in the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simhw.machine.machine import Machine
from simhw.pe.operand import OperandChoice
from simhw.results.estimate import Estimate
from simhw.results.operation import OperationCost, OperationResult, class_share, useful_share
from simhw.simulation.baseline import Baseline
from simhw.simulation.cost import ComputeCost, PowerDrawn, TileWork, Timing
from simhw.simulation.growth import Growth, grow_layer
from simhw.simulation.makespan import estimate_makespan
from simhw.simulation.plan import PassPlan, lower_for
from simhw.simulation.sampling import StratumTally, estimate_counters
from simhw.simulation.strata import OperandCandidate, OperationRun


@dataclass(frozen=True, eq=False)
class Outcome:
    """An operation on a machine, memories aside: its passes, and what they were found to take.

    Attributes
    ----------
    work : TileWork
    choice : OperandChoice
    timing : Timing
    counters : dict of str to Estimate
        Lane-cycle classes first.
    simulated : float
        Share of the passes that was simulated.
    useful : float
        Share of the lane-cycles that did useful work.
    waiting : float
        Share of the PEs' cycles in which they waited.
    bypassed : bool
        True where the PE's schedulers had nothing to do and were off.
    """

    work: TileWork
    choice: OperandChoice
    timing: Timing
    counters: dict[str, Estimate]
    simulated: float
    useful: float
    waiting: float
    bypassed: bool

    @staticmethod
    def of(run: OperationRun, machine: Machine) -> "Outcome":
        """Estimate what all passes take from those that were simulated; of an oracle's candidates, the faster."""
        candidate, timing = min(
            (
                (candidate, _timing(candidate, machine, (*run.key, number)))
                for number, candidate in enumerate(run.candidates)
            ),
            key=lambda pair: pair[1].cycles.value,
        )
        tallies, classes = candidate.tallies, machine.pe.class_names
        plans = list({stratum.plan: None for stratum in candidate.strata})
        work = TileWork(run.lowered, machine, plans)
        counters = _counters(tallies, classes)
        return Outcome(
            work=work,
            choice=candidate.choice,
            timing=timing,
            counters=counters,
            simulated=sum(tally.simulated_passes for tally in tallies) / max(1, sum(tally.passes for tally in tallies)),
            useful=useful_share(counters, classes),
            waiting=class_share(counters, classes, (each.name for each in machine.pe.lane_classes if each.waiting)),
            # Padding makes zeros of its own: a schedule that skips them is not bypassed.
            bypassed=timing.tile_cycles.value >= work.sets
            and machine.pe.bypassed(work.lowered.layer, work.lowered.operation, candidate.choice),
        )

    def grown(self, growth: Growth, layer_index: int) -> "Outcome":
        """The operation as it would be on more images, where all figures grow as the passes' sets do."""
        work, lowered = self.work, self.work.lowered
        layer = grow_layer(lowered.layer, growth.axes[layer_index], growth.factor)
        larger = lower_for(layer, lowered.operation, work.machine)
        # Which products these are does not matter to the shapes of their passes.
        plans = [
            PassPlan(family, swapped, range(number), work.machine.tile)
            for captured, family in zip(lowered.families, larger.families, strict=True)
            for swapped, number in self.choice.grown(captured, family)
        ]
        grown = TileWork(larger, work.machine, plans)
        factor = grown.sets / max(1, work.sets)
        return replace(
            self,
            work=grown,
            timing=self.timing.times(factor),
            counters={name: estimate.times(factor) for name, estimate in self.counters.items()},
        )

    def priced(self) -> ComputeCost:
        """What it takes on the machine, before memories."""
        power = PowerDrawn.on(self.work.machine, self.bypassed, self.useful, self.waiting)
        return ComputeCost.of(self.work, self.timing, power)

    def beside(self, baseline: OperationCost | ComputeCost | None) -> "PendingResult":
        """The operation's result, beside what it takes on the baseline."""
        own, lowered = self.priced(), self.work.lowered
        result = OperationResult(
            layer=lowered.layer.name,
            kind=lowered.layer.kind,
            operation=lowered.operation,
            operand=self.choice.label,
            macs=lowered.macs,
            passes=self.work.passes,
            simulated=self.simulated,
            cost=own.cost,
            baseline=baseline.cost if isinstance(baseline, ComputeCost) else baseline,
            counters=self.counters,
            classes=self.work.machine.pe.class_names,
            dense_sets=self.work.sets,
            fed_macs=lowered.fed_macs,
            padding_macs=lowered.padding_macs,
            filled_sets=self.work.filled_sets,
        )
        return PendingResult(result, own, baseline if isinstance(baseline, ComputeCost) else None)


@dataclass(frozen=True)
class PendingResult:
    """An operation's result before memories, and the costs that they are still to be put around."""

    result: OperationResult
    cost: ComputeCost
    baseline: ComputeCost | None

    def finished(self) -> OperationResult:
        """The result with memories."""
        base = self.baseline.with_memories() if self.baseline else self.result.baseline
        return replace(self.result, cost=self.cost.with_memories(), baseline=base)


def pending_result(
    run: OperationRun, machine: Machine, baseline: Baseline | None, growth: Growth | None
) -> PendingResult:
    """A simulated operation's result before memories.

    Parameters
    ----------
    run : OperationRun
        Simulated on the machine, as far as it is to be.
    machine : Machine
    baseline : Baseline or None
    growth : Growth or None
        How the step is grown to more images; None for those of the trace.
    """
    outcome = Outcome.of(run, machine)
    if growth is not None:
        outcome = outcome.grown(growth, run.layer_index)
    return outcome.beside(None if baseline is None else baseline.cost_of(run.place, outcome.work))


def _timing(candidate: OperandCandidate, machine: Machine, key: Sequence[int]) -> Timing:
    """How long the operation takes with one choice of its X operand; `key` seeds the bootstrap."""
    cycles, loads = estimate_makespan(candidate.tallies, machine.values.tiles, key)
    return Timing(cycles, candidate.tile_cycles, loads)


def _counters(tallies: Sequence[StratumTally], classes: Sequence[str]) -> dict[str, Estimate]:
    """Every counter's total: lane-cycle classes in their order, then the others by name."""
    others = {name for tally in tallies for counters in tally.counters for name in counters} - set(classes)
    names = [*classes, *sorted(others)]
    strata = estimate_counters(tallies, names)
    return {name: Estimate.total([parts[index] for parts in strata]) for index, name in enumerate(names)}
