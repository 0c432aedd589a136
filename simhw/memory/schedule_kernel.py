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
    Job,
    end_time,
    live_time,
    serve_job,
    setup_of,
)
from simhw.pointers import data, onward

Floats = npt.NDArray[np.float64]

# Columns of a job.
FIRST, RUNS, RUN, STRIDE, BURSTS, WRITE = range(6)
# Columns of a step: its first load and its first store among the jobs, which go on to the next step's first load, and
# whether it reads partial sums.
LOADS, STORES, READS_BACK = range(3)


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
    setup, live, count = setup_of(constants), constants[LIVE], len(shares)
    channels, banks = data(channel_state), data(bank_state)
    first_ready = last_out = 0.0
    handed = ready = shared = computed = before_last = 0.0
    for index in range(count + 2):
        left = index - 2  # the step whose place is taken
        handed = max(handed, before_last)
        back = index < count and steps[index, READS_BACK] != 0
        for turn in range(2):
            storing = (turn == 0) == back
            if (storing and left < 0) or (not storing and index >= count):
                continue
            begin, end = steps[index, LOADS], steps[index, STORES]
            if storing:
                begin, end = steps[left, STORES], steps[left + 1, LOADS]
            start = live_time(int(np.rint(handed * 1000)), live, clock[PAUSE]) + clock[CONTROLLER_LATENCY]
            moved = handed if begin == end or handed <= latest_ns else np.inf
            for number in range(begin, end if moved < np.inf else begin):
                each = onward(data(jobs), number * jobs.shape[1])
                job = Job(each[FIRST], each[RUNS], each[RUN], each[STRIDE], each[BURSTS], each[WRITE] != 0, start)
                last = serve_job(setup, channels, banks, job)
                clock[LAST_END] = max(clock[LAST_END], last)
                moved = max(moved, end_time(last, live, clock[PAUSE]) / 1000)
            ready = max(ready, moved)
            if storing:
                last_out = max(last_out, moved)
            elif index == 0:
                first_ready = moved
        before_last = computed
        if index < count:
            before, shared = shared, shared + shares[index]
            computed = max(computed, ready) + busy_ns * (shared - before)
    return first_ready, computed, max(last_out, computed)
