"""DRAM one container after another, compiled: every one of them looks up the state of its channel and its bank.

Slower than `simhw.memory.dram_kernel`, which serves the containers of a row together, and faster than
`tests.oracles.dram`: so it is what long jobs are compared with.  Here a bank's row is counted within the bank, and
refreshes are followed one by one, by the moment of the last.
"""

import numpy as np
from numba import njit

from simhw.memory.dram import Dram
from simhw.memory.dram_kernel import (
    ACT_SLOT,
    ACTIVATES_IN_WINDOW,
    ACTS,
    CHANNEL_ACTIVATES,
    CHANNEL_HITS,
    CHANNEL_MISSES,
    CLOSED,
    DATA,
    DATA_SLOT,
    DIRECTION,
    LAST_OPEN,
    OPENED,
    PRECHARGE,
    READ_BURSTS,
    READ_END,
    READING,
    ROW,
    TURNAROUNDS,
    WRITE_BURSTS,
    WRITE_END,
    WRITING,
    Int64s,
    Job,
    Setup,
    setup_of,
)

EPOCH = -1


class DramOfContainers(Dram):
    """A `Dram` that serves container by container."""

    def __init__(self, parameters, container_bytes):
        super().__init__(parameters, container_bytes)
        self._channels = np.pad(self._channels, ((0, 0), (0, 1)))

    def _serve(self, job):
        return serve(self._setup, self._channels, self._banks, job)


@njit
def open_row(setup: Setup, own: Int64s, state: Int64s, row: int, start: int) -> None:
    """Activate a row of a bank, closing the one that is open: ahead of its data by as much as the queue allows."""
    act = max(start, own[DATA + own[DATA_SLOT]])
    if state[ROW] != CLOSED:
        act = max(act, state[PRECHARGE]) + setup.rp
    slot = own[ACT_SLOT]
    oldest = own[ACTS + slot]
    newest = own[ACTS + (slot + ACTIVATES_IN_WINDOW - 1) % ACTIVATES_IN_WINDOW]
    act = max(act, newest + setup.rrd, oldest + setup.faw)
    own[ACTS + slot] = act
    own[ACT_SLOT] = (slot + 1) % ACTIVATES_IN_WINDOW
    own[CHANNEL_ACTIVATES] += 1
    state[ROW] = row
    state[OPENED] = act
    state[LAST_OPEN] = act
    state[PRECHARGE] = max(state[PRECHARGE], act + setup.ras)


@njit
def data_start(setup: Setup, own: Int64s, state: Int64s, write: bool, start: int) -> int:
    """When a container's data begin: after their command's latency, on a bus that is free and turned their way."""
    ready = max(start, state[OPENED] + setup.rcd)
    if write:
        start = max(ready + setup.write_latency, own[WRITE_END], own[READ_END] + setup.rtw)
    else:
        start = max(ready + setup.read_latency, own[READ_END], own[WRITE_END] + setup.wtr + setup.read_latency)
    return start


@njit
def refresh(setup: Setup, own: Int64s, state: Int64s, data: int, end: int) -> bool:
    """Count the activates after refreshes before and amid some data; gives whether their row was still open.

    Refreshes stand at whole multiples of the live time.  One since the row was last seen open has closed it, and one
    amid the data closes it again: the pause pays for the time of both.
    """
    live, epoch, still_open = setup.live, own[EPOCH], True
    if data >= epoch + live:
        epoch = data // live * live
    if state[LAST_OPEN] < epoch:
        own[CHANNEL_ACTIVATES] += 1
        still_open = False
    if end > epoch + live:
        crossed = (end - 1 - epoch) // live
        own[CHANNEL_ACTIVATES] += crossed
        epoch += crossed * live
    own[EPOCH] = epoch
    state[LAST_OPEN] = max(state[LAST_OPEN], epoch)
    return still_open


@njit
def move(setup: Setup, own: Int64s, state: Int64s, data: int, end: int, bursts: int, write: bool) -> None:
    """Move a container's data, after which its bank may be precharged and its place in the queue is free."""
    if write:
        own[WRITE_END] = end
        own[WRITE_BURSTS] += bursts
        state[PRECHARGE] = max(state[PRECHARGE], end + setup.wr)
    else:
        own[READ_END] = end
        own[READ_BURSTS] += bursts
        # tRTP counts from the last read command, which comes a read latency before its burst.
        last_command = data + (bursts - 1) * setup.burst - setup.read_latency
        state[PRECHARGE] = max(state[PRECHARGE], last_command + setup.rtp)
    slot = own[DATA_SLOT]
    own[DATA + slot] = data
    own[DATA_SLOT] = slot + 1 if slot + 1 < setup.queue_depth else 0
    direction = WRITING if write else READING
    if own[DIRECTION] != direction:
        own[TURNAROUNDS] += own[DIRECTION] != 0
        own[DIRECTION] = direction


@njit
def serve(constants: Int64s, channel_state: Int64s, bank_state: Int64s, job: Job) -> int:
    """Serve a job; gives when the last data has moved.

    Parameters
    ----------
    constants : (17,) int64
        The elements of a `Setup`.
    channel_state : (channels, DATA + queue_depth + 1) int64
        The moment of the last refresh comes last.
    bank_state : (channels, banks, BANK_COLUMNS) int64
    """
    first, runs, run, stride, bursts, write, start = job
    setup = setup_of(constants)
    channels, banks, per_row = setup.channels, setup.banks, setup.containers_per_row
    finish = start
    for r in range(runs):
        container = first + r * stride
        block = container // per_row
        column = container - block * per_row
        slot = block // channels
        channel = block - slot * channels
        row = slot // banks
        bank = slot - row * banks
        for _ in range(run):
            own, state = channel_state[channel], bank_state[channel, bank]
            hit = state[ROW] == row
            if not hit:
                open_row(setup, own, state, row, start)
            data = data_start(setup, own, state, write, start)
            end = data + bursts * setup.burst
            hit &= refresh(setup, own, state, data, end)
            move(setup, own, state, data, end, bursts, write)
            if hit:
                own[CHANNEL_HITS] += 1
            else:
                own[CHANNEL_MISSES] += 1
            finish = max(finish, end)
            # Containers of a row are neighbours; rows go round the channels, then round the banks.
            column += 1
            if column == per_row:
                column = 0
                channel += 1
                if channel == channels:
                    channel = 0
                    bank += 1
                    if bank == banks:
                        bank = 0
                        row += 1
    return finish
