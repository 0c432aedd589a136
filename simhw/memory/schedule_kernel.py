"""Double buffering as sums and maxima: when the steps end that `simhw.memory.protocol.double_buffering` runs.

Every order of that protocol is fixed, so what its processes wait for can be worked out step after step.  Before the
blocks of step i come in, step i - 2 has ended, whose place they take; its outputs go out behind them, or ahead of them
where partial sums come back.  Step i runs when its blocks are there and those of step i - 2 are out.
"""

import numpy as np
import numpy.typing as npt

from simhw.jit import kernel
from simhw.memory.dram_kernel import (
    CONTROLLER_LATENCY,
    LAST_END,
    LIVE,
    PAUSE,
    Int64s,
    end_time,
    live_time,
    serve,
)

Floats = npt.NDArray[np.float64]

# Columns of a job.
FIRST, RUNS, RUN, STRIDE, BURSTS, WRITE = range(6)
# Columns of a step: its first load and its first store among the jobs, which go on to the next step's first load, and
# whether it reads partial sums.
LOADS, STORES, READS_BACK = range(3)


@kernel
def hand_over(
    constants: Int64s,
    channel_state: Int64s,
    bank_state: Int64s,
    clock: Int64s,
    jobs: Int64s,
    begin: int,
    end: int,
    handed_ns: float,
    latest_ns: float,
) -> float:
    """Hand some jobs over to the DRAM; gives when the last of them has moved, that moment where there are none, and
    never (infinity) where it is too late for them.
    """
    if begin == end:
        return handed_ns
    if handed_ns > latest_ns:
        return np.inf
    live, moved_ns, pause, latency = constants[LIVE], handed_ns, clock[PAUSE], clock[CONTROLLER_LATENCY]
    start = live_time(int(np.rint(handed_ns * 1000)), live, pause) + latency
    for index in range(begin, end):
        job = jobs[index]
        last = serve(
            constants,
            channel_state,
            bank_state,
            job[FIRST],
            job[RUNS],
            job[RUN],
            job[STRIDE],
            job[BURSTS],
            job[WRITE] != 0,
            start,
        )
        clock[LAST_END] = max(clock[LAST_END], last)
        moved_ns = max(moved_ns, end_time(last, live, pause) / 1000)
    return moved_ns


@kernel
def double_buffered(
    constants: Int64s,
    channel_state: Int64s,
    bank_state: Int64s,
    clock: Int64s,
    jobs: Int64s,
    steps: Int64s,
    shares: Floats,
    busy_ns: float,
    latest_ns: float,
) -> tuple[float, float, float]:
    """When the first step's blocks are there, the tiles are done and all is done [ns].

    Parameters
    ----------
    constants, channel_state, bank_state
        As of `simhw.memory.dram_kernel.serve`.
    clock : (3,) int64
        As of `simhw.memory.dram_kernel`.
    jobs : (jobs, 6) int64
    steps : (steps + 1, 3) int64
        The last row closes the one before.
    shares : (steps,) float64
        Of the work.
    busy_ns : float
        Time of the busiest tile, memories aside [ns].
    latest_ns : float
        No job can be handed over later: the end is infinite where one would be.
    """
    count = len(shares)
    first_ready = last_out = 0.0
    handed = ready = shared = computed = before_last = 0.0
    for index in range(count + 2):
        left = index - 2  # the step whose place is taken
        handed = max(handed, before_last)
        back = index < count and steps[index, READS_BACK] != 0
        for turn in range(2):
            if (turn == 0) == back:
                if left >= 0:
                    stores, end = steps[left, STORES], steps[left + 1, LOADS]
                    out = hand_over(constants, channel_state, bank_state, clock, jobs, stores, end, handed, latest_ns)
                    ready, last_out = max(ready, out), max(last_out, out)
            elif index < count:
                loads, end = steps[index, LOADS], steps[index, STORES]
                loaded = hand_over(constants, channel_state, bank_state, clock, jobs, loads, end, handed, latest_ns)
                ready = max(ready, loaded)
                if index == 0:
                    first_ready = loaded
        before_last = computed
        if index < count:
            before, shared = shared, shared + shares[index]
            computed = max(computed, ready) + busy_ns * (shared - before)
    return first_ready, computed, max(last_out, computed)
