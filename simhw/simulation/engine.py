"""The engine: runs units of tile passes on all processor cores and tallies them, a bounded amount at a time."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from simhw.lowering import Family, SampledBlock, block_classes, check_runnable, lower, multiply_accumulates
from simhw.machine.machine import Machine
from simhw.simulation.cells import (
    CellStratum,
    Plan,
    Unit,
    block_passes,
    block_rows,
    cell_strata,
    exact_units,
    unit_rows,
)
from simhw.simulation.operands import OperandChoice, choose_operands
from simhw.simulation.sampling import StratumTally
from simhw.trace.layer import OPERATIONS, Layer, Operation

SWITCH_INTERVAL_S = 0.0005
MOST_WORKERS = 1024
"""Threads; systems refuse some number of them in the middle of the work."""

Passes = tuple[npt.NDArray[np.int64], Counter[str]]


@dataclass(eq=False)
class Stratum:
    """One plan's passes, or those of its cells that have one size, and what was simulated of them.

    `key` tells the stratum from all others of a run, whatever the order in which they are simulated.
    """

    key: tuple[int, ...]
    plan: Plan
    tally: StratumTally
    cells: CellStratum | None = None
    blocks: tuple[SampledBlock, ...] = ()


@dataclass(eq=False)
class Candidate:
    """An operation with one choice of its X operand."""

    choice: OperandChoice
    strata: list[Stratum]

    @property
    def tallies(self) -> list[StratumTally]:
        """The strata's tallies, each once."""
        return list({id(stratum.tally): stratum.tally for stratum in self.strata}.values())


@dataclass(eq=False)
class OperationRun:
    """An operation of a layer on a machine: its candidates (one, but for an oracle's two) and its shape-only figures.

    `key` begins the keys of all its strata.
    """

    layer_index: int
    layer: Layer
    operation: Operation
    families: list[Family]
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the operation, whatever the machine is fed for it."""
        return multiply_accumulates(self.layer, self.operation)

    @property
    def fed_macs(self) -> int:
        """Products that the machine is fed, padding to sets and partial tiles excluded."""
        return sum(family.fed for family in self.families)

    @property
    def padding_macs(self) -> int:
        """Those of them that multiply a zero around a convolution's input or gradient."""
        return sum(family.fed - family.real for family in self.families)

    @property
    def key(self) -> tuple[int, int]:
        return self.layer_index, OPERATIONS.index(self.operation)

    @property
    def place(self) -> tuple[int, Operation]:
        return self.layer_index, self.operation


def lower_for(layer: Layer, operation: Operation, machine: Machine) -> list[Family]:
    """The operation lowered as the machine's file says."""
    lowering = machine.values.lowering
    return lower(
        layer,
        operation,
        machine.tile.lanes,
        fc_windows=lowering.fc_windows,
        lane_padding=lowering.lane_padding,
        padding=lowering.padding,
    )


def plan_operation(layer: Layer, operation: Operation, machine: Machine, exact: bool, layer_index: int) -> OperationRun:
    """Lay out an operation's strata: whole plans where they are simulated exactly, else their cells.

    Only shapes and statistics are read.
    """
    families = lower_for(layer, operation, machine)
    check_runnable(layer, operation, families)
    run = OperationRun(layer_index, layer, operation, families)
    for number, choice in enumerate(choose_operands(layer, operation, machine)):
        strata: list[Stratum] = []
        for family in families:
            parts = [
                (swapped, Plan(family, swapped, products, machine.tile)) for swapped, products in choice.split(family)
            ]
            if family.sampled:
                strata.extend(
                    _block_strata(family, [plan for _, plan in parts], layer.blocks_by_size, (*run.key, number))
                )
                continue
            for swapped, plan in parts:
                place = (*run.key, number, family.number, int(swapped))
                if exact:
                    strata.append(Stratum(place, plan, StratumTally(plan.passes, 0, exact=True)))
                else:
                    for kind, part in enumerate(cell_strata(plan)):
                        passes = part.cells * part.passes_per_cell
                        strata.append(
                            Stratum((*place, kind), plan, StratumTally(passes, part.cells, exact=False), cells=part)
                        )
        run.candidates.append(Candidate(choice, strata))
    return run


def _block_strata(family: Family, plans: Sequence[Plan], by_size: bool, key: tuple[int, ...]) -> Iterator[Stratum]:
    """The strata that a sampled family's blocks were drawn from: those of one size, or all of them.

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
            yield Stratum((*key, family.number, int(plan.swapped), kind), plan, tally, blocks=mine)


def cost(plan: Plan) -> float:
    """Work of simulating a plan exactly: value pairs that meet in the kernel, or values of X where Y does
    not matter.
    """
    x_tiles, y_tiles = plan.tiles
    rows = len(plan.products) * x_tiles * plan.tile.tile_x * plan.reduction
    if plan.tile.fixed_time or not plan.tile.needs_y:
        return float(rows)
    if plan.y_tiles_per_group is None:
        return float(rows * y_tiles * plan.tile.tile_y)
    group = plan.y_tiles_per_group
    shared = max(len(ys) for _, ys in plan.clusters())
    groups = -(-shared * y_tiles // group) / shared
    return float(rows * groups * group * plan.tile.tile_y)


def passes_by_sets(plan: Plan) -> Counter[int]:
    """How many passes execute how many sets, which are the cycles of a machine that takes one cycle a set; no value is
    read.
    """
    x_tiles, y_tiles = plan.tiles
    border = plan.family.border
    if border is None:
        return Counter({plan.reduction // plan.tile.lanes: plan.passes})
    size, tiles, others = (plan.tile.tile_y, y_tiles, x_tiles) if plan.swapped else (plan.tile.tile_x, x_tiles, y_tiles)
    sets = Counter(
        int(border.live_sets(index * size, (index + 1) * size, plan.family.reduction).sum()) for index in range(tiles)
    )
    return Counter({number: count * others * len(plan.products) for number, count in sets.items()})


Check = Callable[..., None]


def run_unit(plan: Plan, unit: Unit | SampledBlock, check: Check | None = None) -> Passes:
    """Simulate a unit or a sampled block; with `check`, replay every pass and compare."""
    tile = plan.tile
    y_values = tile.needs_y or check is not None
    rows = unit_rows(plan, unit, y_values) if isinstance(unit, Unit) else block_rows(plan, unit)
    durations, counters = [], Counter[str]()
    for parallel, x_blocks in rows:
        prepared = tile.prepare(parallel)
        for x in x_blocks:
            passes = tile.run(x, prepared, outputs=check is not None)
            if check is not None:
                check(x, parallel, passes, plan.family.name)
            durations.append(passes.durations)
            counters.update(passes.counters)
    return np.concatenate(durations), counters


Task = tuple[Stratum, Unit | SampledBlock]


def exact_tasks(stratum: Stratum) -> Iterator[Task]:
    """Everything that there is to simulate of a stratum."""
    for unit in stratum.blocks if stratum.plan.family.sampled else exact_units(stratum.plan):
        yield stratum, unit


def cell_tasks(stratum: Stratum, drawn: Iterable[int]) -> Iterator[Task]:
    """Some cells of a stratum."""
    assert stratum.cells is not None
    for cell in drawn:
        yield stratum, stratum.cells.unit(int(cell))


def run_tasks(tasks: Iterable[Task], check: Check | None = None, workers: int | None = None) -> Iterator[Stratum]:
    """Run tasks on threads, a few ahead at most, tally each, and give its stratum as it ends.

    Kernels release the GIL.  Tasks are drawn as there is room for them, so a layer's tensors are held only while its
    tasks run.  A stratum's sums do not depend on the order of its tasks, and its cells are put in order at the end.
    """
    workers = workers or cores()
    pending: dict[Future[Passes], tuple[int, Stratum]] = {}
    finished: dict[int, tuple[Stratum, Passes]] = {}
    next_number = 0
    pool = ThreadPoolExecutor(workers)
    # A worker that comes out of a kernel would wait this long for the GIL while another thread runs Python: about a
    # kernel's time.
    patience = sys.getswitchinterval()

    def settle(limit: int) -> Iterator[Stratum]:
        nonlocal next_number
        while len(pending) > limit:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                number, stratum = pending.pop(future)
                finished[number] = stratum, future.result()
            # Tallied in the order of the tasks, so that a run's results do not depend on the threads.
            while next_number in finished:
                stratum, passes = finished.pop(next_number)
                stratum.tally.add(*passes)
                next_number += 1
                yield stratum

    try:
        sys.setswitchinterval(min(patience, SWITCH_INTERVAL_S))
        for number, (stratum, unit) in enumerate(tasks):
            pending[pool.submit(run_unit, stratum.plan, unit, check)] = number, stratum
            yield from settle(3 * workers)
        yield from settle(0)
    finally:
        sys.setswitchinterval(patience)
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
