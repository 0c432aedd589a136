"""Why a machine takes as long as it does on a trace: its limits switched off, and on again one after another.

Within the tile passes a machine's processing element brings the rungs (`simhw.pe.ladder`).  Each is a variant that
runs the same passes, with every lane that it is fed counted as full; so the time of a rung is its cycles a set, times
the sets that the products would fill.  Then come lanes without a value, PEs without rows, tiles that wait for the last
pass, and memories: all of these are told from the machine itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np

from simhw.errors import SimhwError, TraceError, quoted
from simhw.machine.machine import Machine, machine_of, variant_of
from simhw.pe.ladder import PassTotals, Rung, tile_pace
from simhw.pe.operand import OperandChoice
from simhw.results.attribution import Attribution, Explanation, LimitStep
from simhw.results.operation import OperationResult
from simhw.results.step import Results
from simhw.simulation.api import simulated
from simhw.simulation.growth import growth
from simhw.simulation.options import SimulationOptions
from simhw.simulation.run import Simulation
from simhw.simulation.strata import Place
from simhw.trace.named import layers_named
from simhw.trace.reader import load_trace
from simhw.trace.trace import Trace

FULL = Rung("full tiles", "every lane of every tile has something to multiply, at the pace of the machine's own passes")
"""The only rung of a PE that brings none."""
LANE_PADDING = LimitStep(
    "lane padding", "lanes stay empty where a piece of the reduction does not fill a whole number of sets", {}
)
AROUND = (
    LimitStep("fragmentation", "PEs stay empty where rows do not fill a whole number of tiles", {}),
    LimitStep("idle tiles", "tiles wait until the last pass of an operation has ended", {}),
)
MEMORIES = (
    LimitStep("DRAM", "tiles wait for what comes from memory and goes there, first and last blocks included", {}, True),
    LimitStep("on-chip memories", "tiles wait for a global buffer or a transposer that cannot keep up", {}, True),
)


def explain(
    trace: Trace | str | PathLike[str],
    machines: Machine | str | Sequence[Machine | str],
    *,
    layer: str | None = None,
    sample: float | None = None,
    seed: int = 0,
    progress: bool = True,
    baseline: Machine | str | None = None,
    baseline_compression: str | None = None,
    check: bool = False,
    workers: int | None = None,
    batch: int | None = None,
) -> Explanation:
    """Tell what each limit of some machines costs on a training step.

    Parameters
    ----------
    trace : Trace, path or name
    machines : Machine or name, or a sequence of them
    layer : str, optional
        One layer of the trace, in place of all.
    sample, seed, progress, baseline, baseline_compression, check, workers, batch
        As of `simhw.simulation.api.simulate`.  Where a sample is drawn, every variant runs the same passes.

    Raises
    ------
    SimhwError
        As of `simulate`; or there is no such layer, or no machine.
    """
    trace = trace if isinstance(trace, Trace) else load_trace(trace)
    if layer is not None:
        trace = Trace(layers_named(trace, layer), trace.metadata, trace.path)
    if not any(each.operations for each in trace.layers):
        raise TraceError(f"{trace.path or 'the trace'}: training ran no operation that could be simulated")
    if isinstance(machines, str | Machine):
        machines = [machines]
    if not isinstance(machines, Iterable) or not (machines := list(machines)):
        raise SimhwError(f"machines {quoted(machines)}: give at least one machine")
    options = SimulationOptions(sample, seed, progress, check, workers, batch)
    found = []
    for machine in map(machine_of, machines):
        results = simulated(trace, machine, options, baseline, baseline_compression)
        share = _share(results, sample)
        same = replace(options, sample=share)
        if sample is None and share < 1:
            # The variants could not draw what a precision asked of the machine: all draw as many cells of each kind.
            results = simulated(trace, machine, same, baseline, baseline_compression)
        found.append(_attribution(trace, results, same))
    return Explanation(found)


def _share(results: Results, sample: float | None) -> float:
    """Which share of the passes all variants run, so that they run the same ones."""
    if results.provenance["sampling"] in ("exact", "of the trace"):
        return 1.0
    passes = sum(item.passes for item in results.operations)
    return sample or sum(item.passes * item.simulated for item in results.operations) / passes


def _attribution(trace: Trace, results: Results, options: SimulationOptions) -> Attribution:
    variants = _Variants(trace, results, options)
    steps: list[LimitStep] = []
    columns: list[Sequence[float]] = []
    last: tuple[object, ...] = ()
    for rung in results.machine.pe.ladder() or [FULL]:
        machine = variants.machine(rung)
        same = (machine.content_hash, machine.element, rung.pace, rung.best_operand)
        if same == last:
            continue  # the machine has not that limit
        last = same
        steps.append(LimitStep(rung.limit, rung.meaning, variants.overrides(rung)))
        columns.append([_full_cycles(machine, rung, item) for item in variants.run(machine, rung.best_operand)])
    steps += [LANE_PADDING, *AROUND]
    columns += zip(*(_outer_cycles(results.machine, item) for item in results.operations), strict=True)
    if results.machine.modelled_memory is not None:
        steps += MEMORIES
        columns += zip(*(_memory_cycles(item) for item in results.operations), strict=True)
    return Attribution(results, steps, np.array(columns, np.float64).T)


def _pes(machine: Machine) -> int:
    """Processing elements of all tiles."""
    return machine.values.tiles * machine.tile.tile_x * machine.tile.tile_y


def _full_cycles(machine: Machine, rung: Rung, item: OperationResult) -> float:
    """Cycles of an operation at a rung's pace, were each lane of each tile fed as much as any other."""
    counters = {name: estimate.value for name, estimate in item.counters.items()}
    totals = PassTotals(item.tile_cycles, item.dense_sets, item.filled_sets, item.fed_macs, counters)
    return rung.pace(machine.values, totals) * item.fed_macs / machine.tile.lanes / _pes(machine)


def _outer_cycles(machine: Machine, item: OperationResult) -> tuple[float, float, float]:
    """Cycles with the lanes that the machine leaves empty, with its empty PEs as well, and with its idle tiles."""
    totals = PassTotals(item.tile_cycles, item.dense_sets, item.filled_sets, item.fed_macs, {})
    lanes = tile_pace(machine.values, totals) * item.filled_sets / _pes(machine)
    return lanes, item.tile_cycles / machine.values.tiles, item.cycles


def _memory_cycles(item: OperationResult) -> tuple[float, float]:
    """Cycles with DRAM, and with on-chip memories as well."""
    shares = item.cost.shares
    return item.cost.overall_cycles - shares["buffer_conflict"] - shares["transposer"], item.cost.overall_cycles


class _Variants:
    """Variants of a machine on a trace, each simulated once for every choice of operands."""

    def __init__(self, trace: Trace, results: Results, options: SimulationOptions) -> None:
        self.trace, self.own, self.options = trace, results.machine, options
        self.growth = growth(trace, options.batch) if options.batch is not None else None
        places = [(index, operation) for index, layer in enumerate(trace.layers) for operation in layer.operations]
        self.chosen = {place: self._choice(place, item) for place, item in zip(places, results.operations, strict=True)}
        self._done: dict[tuple[str, object], dict[tuple[Place, bool], OperationResult]] = {}
        self._better: dict[Place, OperandChoice] | None = None

    def overrides(self, rung: Rung) -> dict[str, Any]:
        """What differs from the machine on a rung.  Lanes that stay empty are switched on after all rungs."""
        wanted = {"lowering.lane_padding": "pack", **rung.overrides}
        return {name: value for name, value in wanted.items() if self.own.value(name) != value}

    def machine(self, rung: Rung) -> Machine:
        """The variant of a rung, without memories."""
        ideal = {} if self.own.values.memory is None else {"memory.model": "ideal"}
        return variant_of(self.own, {**self.overrides(rung), **ideal}, rung.element)

    def run(self, machine: Machine, better: bool) -> list[OperationResult]:
        """The operations of a variant, with the operands that the machine chose or with the better ones."""
        return self._run(machine, self.better if better else self.chosen)

    @property
    def better(self) -> Mapping[Place, OperandChoice]:
        """Of the machine's choice and the other operand the one whose passes are shorter, limits and all."""
        if self._better is None:
            machine = self.machine(FULL)
            other = {place: choice.flipped(place[1]) for place, choice in self.chosen.items()}
            pairs = zip(self._run(machine, self.chosen), self._run(machine, other), strict=True)
            self._better = {
                place: other[place] if flipped.tile_cycles < own.tile_cycles else self.chosen[place]
                for place, (own, flipped) in zip(self.chosen, pairs, strict=True)
            }
        return self._better

    def _run(self, machine: Machine, choices: Mapping[Place, OperandChoice]) -> list[OperationResult]:
        done = self._done.setdefault((machine.content_hash, machine.element), {})
        keys = [(place, choice.swapped) for place, choice in choices.items()]
        if not all(key in done for key in keys):
            simulation = Simulation(self.trace, machine, self.options, growth=self.growth, choices=choices)
            found = simulation.run()
            done.update({(place, choice.swapped): found[place] for place, choice in choices.items()})
        return [done[key] for key in keys]

    def _choice(self, place: Place, item: OperationResult) -> OperandChoice:
        """What the machine chose: of several that it tried, the one whose result counts."""
        index, operation = place
        choices = self.own.pe.choose(self.trace.layers[index], operation)
        return next(choice for choice in choices if choice.label == item.operand)
