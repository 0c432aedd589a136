"""The engine: runs units of tile passes on all processor cores and tallies them, a bounded amount at a time."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np
import numpy.typing as npt

from simhw.lowering import SampledBlock
from simhw.simulation.cells import WorkUnit, block_rows, exact_units, unit_rows
from simhw.simulation.plan import PassPlan
from simhw.simulation.strata import PassStratum

SWITCH_INTERVAL_S = 0.0005
MOST_WORKERS = 1024
"""Threads; systems refuse some number of them in the middle of the work."""

Check = Callable[..., None]
"""Replays tile passes, and raises where they differ: see `simhw.pe.check.check_passes`, the PE given."""
WorkItem = tuple[PassStratum, WorkUnit | SampledBlock]
"""Something to simulate, and the stratum that it is tallied in."""
Simulated = tuple[npt.NDArray[np.int64], Counter[str]]
"""Durations of some passes, and their counters."""


def run_unit(plan: PassPlan, unit: WorkUnit | SampledBlock, check: Check | None = None) -> Simulated:
    """Simulate a unit or a sampled block; with `check`, replay every pass and compare."""
    tile = plan.tile
    y_values = tile.needs_y or check is not None
    rows = unit_rows(plan, unit, y_values) if isinstance(unit, WorkUnit) else block_rows(plan, unit)
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


def exact_items(stratum: PassStratum) -> Iterator[WorkItem]:
    """Everything that there is to simulate of a stratum."""
    for unit in stratum.blocks if stratum.plan.family.sampled else exact_units(stratum.plan):
        yield stratum, unit


def cell_items(stratum: PassStratum, drawn: Iterable[int]) -> Iterator[WorkItem]:
    """Some cells of a stratum."""
    assert stratum.cells is not None
    for cell in drawn:
        yield stratum, stratum.cells.unit(int(cell))


def run_items(
    items: Iterable[WorkItem], check: Check | None = None, workers: int | None = None
) -> Iterator[PassStratum]:
    """Run items on threads, a few ahead at most, tally each, and give its stratum as it ends.

    Kernels release the GIL.  Items are drawn as there is room for them, so a layer's tensors are held only while its
    items run.  They are tallied in order, so that nothing depends on the threads.
    """
    workers = workers or cores()
    pending: dict[Future[Simulated], tuple[int, PassStratum]] = {}
    finished: dict[int, tuple[PassStratum, Simulated]] = {}
    next_number = 0
    pool = ThreadPoolExecutor(workers)
    # A worker that comes out of a kernel would wait this long for the GIL while another thread runs Python: about a
    # kernel's time.
    patience = sys.getswitchinterval()

    def settle(limit: int) -> Iterator[PassStratum]:
        nonlocal next_number
        while len(pending) > limit:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                number, stratum = pending.pop(future)
                finished[number] = stratum, future.result()
            while next_number in finished:
                stratum, passes = finished.pop(next_number)
                stratum.tally.add(*passes)
                next_number += 1
                yield stratum

    try:
        sys.setswitchinterval(min(patience, SWITCH_INTERVAL_S))
        for number, (stratum, unit) in enumerate(items):
            pending[pool.submit(run_unit, stratum.plan, unit, check)] = number, stratum
            yield from settle(3 * workers)
        yield from settle(0)
    finally:
        sys.setswitchinterval(patience)
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
