"""Strata: an operation's passes on a machine, laid out by how they are simulated: all of them, by random cells, or the
blocks that a sampled trace holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from simhw.lowering import Family, SampledBlock, block_classes, check_runnable
from simhw.machine.machine import Machine
from simhw.pe.operand import OperandChoice
from simhw.results.estimate import Estimate
from simhw.simulation.cells import CellStratum, block_passes, cell_strata
from simhw.simulation.plan import LoweredOperation, PassPlan, lower_for
from simhw.simulation.sampling import StratumTally, estimate_cycles
from simhw.trace.layer import OPERATIONS, Layer, Operation

Place = tuple[int, Operation]
"""An operation in a trace: the number of its layer, and which it is."""


@dataclass(eq=False)
class PassStratum:
    """One plan's passes, or those of its cells that have one size, and what was simulated of them.

    `key` tells the stratum from all others of a run, whatever the order in which they are simulated.
    """

    key: tuple[int, ...]
    plan: PassPlan
    tally: StratumTally
    cells: CellStratum | None = None
    blocks: tuple[SampledBlock, ...] = ()


@dataclass(eq=False)
class OperandCandidate:
    """An operation with one choice of its X operand."""

    choice: OperandChoice
    strata: list[PassStratum]

    @property
    def tallies(self) -> list[StratumTally]:
        """The strata's tallies, each once."""
        return list({id(stratum.tally): stratum.tally for stratum in self.strata}.values())

    @property
    def tile_cycles(self) -> Estimate:
        """Sum over the operation's passes."""
        return Estimate.total(estimate_cycles(self.tallies))


@dataclass(eq=False)
class OperationRun:
    """An operation of a layer on a machine, and its candidates: one, but for an oracle's two.

    `key` begins the keys of all its strata.
    """

    layer_index: int
    lowered: LoweredOperation
    candidates: list[OperandCandidate] = field(default_factory=list)

    @property
    def key(self) -> tuple[int, int]:
        return self.layer_index, OPERATIONS.index(self.lowered.operation)

    @property
    def place(self) -> Place:
        return self.layer_index, self.lowered.operation

    @property
    def strata(self) -> Iterator[PassStratum]:
        """Those of all candidates."""
        for candidate in self.candidates:
            yield from candidate.strata


def plan_operation(
    layer: Layer,
    operation: Operation,
    machine: Machine,
    exact: bool,
    layer_index: int,
    choice: OperandChoice | None = None,
) -> OperationRun:
    """Lay out an operation's strata: whole plans where they are simulated exactly, else their cells.

    Only shapes and statistics are read.  The machine's PE chooses the X operand unless a `choice` is given.
    """
    lowered = lower_for(layer, operation, machine)
    check_runnable(layer, operation, lowered.families)
    run = OperationRun(layer_index, lowered)
    candidates = machine.pe.choose(layer, operation) if choice is None else [choice]
    for number, choice in enumerate(candidates):
        strata: list[PassStratum] = []
        for family in lowered.families:
            plans = [PassPlan(family, swapped, products, machine.tile) for swapped, products in choice.split(family)]
            key = (*run.key, number, family.number)
            if family.sampled:
                strata.extend(_block_strata(family, plans, layer.blocks_by_size, key))
            else:
                for plan in plans:
                    strata.extend(_plan_strata(plan, exact, (*key, int(plan.swapped))))
        run.candidates.append(OperandCandidate(choice, strata))
    return run


def _plan_strata(plan: PassPlan, exact: bool, key: tuple[int, ...]) -> Iterator[PassStratum]:
    """All passes of a plan, or its cells of each size."""
    if exact:
        yield PassStratum(key, plan, StratumTally(plan.passes, 0, exact=True))
        return
    for kind, part in enumerate(cell_strata(plan)):
        tally = StratumTally(part.cells * part.passes_per_cell, part.cells, exact=False)
        yield PassStratum((*key, kind), plan, tally, cells=part)


def _block_strata(
    family: Family, plans: Sequence[PassPlan], by_size: bool, key: tuple[int, ...]
) -> Iterator[PassStratum]:
    """The strata that blocks of a sampled family were drawn from: those of one size, or all of them.

    They were drawn from all products: where images differ in their choice, each runs its own, but a choice may have few
    of them or none, so that all plans' blocks are one stratum still.
    """
    classes = block_classes(family)
    for kind, group in enumerate([[alike] for alike in classes] if by_size else [classes]):
        # Each product has as many cells of a size.
        passes = sum(
            len(plan.products) * (alike.cells // family.count) * block_passes(plan, alike.x_rows, alike.y_rows)
            for plan in plans
            for alike in group
        )
        tally = StratumTally(passes, sum(alike.cells for alike in group), exact=False)
        blocks = [block for block in family.blocks if any(alike.holds(block) for alike in group)]
        for plan in plans:
            products = plan.products if isinstance(plan.products, range) else set(plan.products)
            mine = tuple(block for block in blocks if block.product in products)
            yield PassStratum((*key, int(plan.swapped), kind), plan, tally, blocks=mine)
