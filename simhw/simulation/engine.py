"""The engine: runs units of tile passes on all processor cores and tallies them, a bounded amount at a time.

Threads do it.  Kernels release the GIL, and what Python does for a unit is short beside them: so units are long, small
ones go together, and tensors are read ahead of the units that take rows from them.
"""

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore

import numpy as np
import numpy.typing as npt

from simhw.lowering import SampledBlock
from simhw.pe.passes import StackingTile
from simhw.simulation.cells import WholeProducts, WorkUnit, batches, block_rows, stacked_rows, unit_rows
from simhw.simulation.plan import PassPlan
from simhw.simulation.strata import PassStratum

SWITCH_INTERVAL_S = 0.0005
MOST_WORKERS = 1024
"""Threads; systems refuse some number of them in the middle of the work."""
QUEUED = 2
"""Items that wait for each worker at the most: while the main thread prices an operation, no worker may run dry."""
WORKERS_PER_READER = 8
"""Reading a tensor takes a few percent of what its operation takes."""
BLOCKS = 8
"""Sampled blocks of an item: each takes less than a millisecond, most of it Python, and threads that take turns at
it more often only get into each other's way."""
READ_AHEAD_VALUES = 1 << 25
"""Of a larger tensor's operation nothing is read ahead: two such at a time would be most of what a run needs."""

Check = Callable[..., None]
"""Replays tile passes, and raises where they differ: see `simhw.pe.check.check_passes`, the PE given."""
Unit = WorkUnit | WholeProducts | SampledBlock
WorkItem = tuple[PassStratum, Sequence[Unit]]
"""Units to simulate, and the stratum that they are tallied in."""
Simulated = tuple[npt.NDArray[np.int64], Counter[str]]
"""Durations of some passes, and their counters."""


def run_unit(plan: PassPlan, unit: Unit, check: Check | None = None) -> Simulated:
    """Simulate a unit or a sampled block; with `check`, replay every pass and compare."""
    tile = plan.tile
    if isinstance(unit, WholeProducts) and isinstance(tile, StackingTile) and check is None:
        passes = tile.run_stacked(*stacked_rows(plan, unit))
        return passes.durations, passes.counters
    y_values = tile.needs_y or check is not None
    rows = block_rows(plan, unit) if isinstance(unit, SampledBlock) else unit_rows(plan, unit, y_values)
    durations, counters = [], Counter[str]()
    for parallel, x_blocks in rows:
        prepared = tile.prepare(parallel)
        for x in x_blocks:
            passes = tile.run(x, prepared, outputs=check is not None)
            if check is not None:
                check(x, parallel, passes, plan.family.name)
            durations.append(passes.durations)
            counters.update(passes.counters)
    return (durations[0] if len(durations) == 1 else np.concatenate(durations)), counters


def exact_items(stratum: PassStratum, macs: int) -> Iterator[WorkItem]:
    """Everything that there is to simulate of a stratum, in items of about so many multiply-accumulates."""
    if stratum.plan.family.sampled:
        for first in range(0, len(stratum.blocks), BLOCKS):
            yield stratum, stratum.blocks[first : first + BLOCKS]
    else:
        for batch in batches(stratum.plan, macs):
            yield stratum, batch


def cell_items(stratum: PassStratum, drawn: Iterable[int]) -> Iterator[WorkItem]:
    """Some cells of a stratum."""
    assert stratum.cells is not None
    for cell in drawn:
        yield stratum, (stratum.cells.unit(int(cell)),)


def run_items(
    items: Iterable[WorkItem], check: Check | None = None, workers: int | None = None
) -> Iterator[PassStratum]:
    """Run items on threads, a few ahead at most, tally each, and give its stratum as it ends.

    Items are drawn as there is room for them, so a layer's tensors are held only while its items run or are the next
    to.  They are tallied in order, so that nothing depends on the threads.
    """
    workers = workers or cores()
    room = Semaphore((1 + QUEUED) * workers)
    running: deque[tuple[PassStratum, Future[list[Simulated]]]] = deque()
    pool, readers = ThreadPoolExecutor(workers), ThreadPoolExecutor(-(-workers // WORKERS_PER_READER))
    # A worker that comes out of a kernel would wait this long for the GIL while another thread runs Python: about a
    # kernel's time.
    patience = sys.getswitchinterval()

    def ended(wait: bool) -> Iterator[PassStratum]:
        while running and (wait or running[0][1].done()):
            stratum, future = running.popleft()
            for passes in future.result():
                stratum.tally.add(*passes)
            yield stratum

    try:
        sys.setswitchinterval(min(patience, SWITCH_INTERVAL_S))
        last: PassStratum | None = None
        for stratum, units in items:
            if stratum is not last and not stratum.plan.family.sampled:
                readers.submit(_read, stratum.plan)
            last = stratum
            room.acquire()
            future = pool.submit(run_units, stratum.plan, units, check)
            future.add_done_callback(lambda _: room.release())
            running.append((stratum, future))
            yield from ended(wait=False)
        yield from ended(wait=True)
    finally:
        sys.setswitchinterval(patience)
        for threads in (pool, readers):
            threads.shutdown(cancel_futures=True)


def run_units(plan: PassPlan, units: Sequence[Unit], check: Check | None = None) -> list[Simulated]:
    """Simulate units or sampled blocks."""
    return [run_unit(plan, unit, check) for unit in units]


def _read(plan: PassPlan) -> None:
    """Read the tensors whose rows the plan's units take; an error is met again by the first of them, and told then."""
    sides = plan.sides if plan.tile.needs_y else plan.sides[:1]
    if max(side.most_values for side in sides) <= READ_AHEAD_VALUES:
        for side in sides:
            side.values()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
