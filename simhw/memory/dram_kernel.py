"""One DMA job through the DRAM's channels: containers in order, rows opened ahead of their data.

Every time is the latest of some earlier times plus constants, and which accesses hit an open row follows from the
addresses alone.  So a time can only grow with any time before it: the kernel is monotone by construction.

Times are whole picoseconds of live time, the time that stands still while the DRAM refreshes (`simhw.memory.dram`).
State stays in the caller's arrays from job to job; their fields are the columns named here.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simhw.jit import kernel

Int64s = npt.NDArray[np.int64]

LONG_AGO = -(1 << 60)
"""A time that holds nobody up."""
CLOSED = -1
"""The row of a bank that has none open."""
ACTIVATES_IN_WINDOW = 4
"""Activates that tFAW allows in a window: JEDEC's "four activate window"."""


class Setup(NamedTuple):
    """The DRAM's constants, one element each of the array that the kernel is given; times in ps.

    As a tuple they stay in registers; elements of an array would be read anew after every change of the state.
    """

    channels: int
    banks: int
    containers_per_row: int
    queue_depth: int
    burst: int
    rcd: int
    rp: int
    ras: int
    rrd: int
    faw: int
    read_latency: int
    write_latency: int
    wtr: int
    rtw: int
    wr: int
    rtp: int
    live: int  # live time between two refreshes


# Columns of a channel's state.  The ring of activates and the ring of data starts (queue_depth long) come last.
READ_END, WRITE_END, DIRECTION, EPOCH, ACT_SLOT, DATA_SLOT = range(6)
CHANNEL_HITS, CHANNEL_MISSES, CHANNEL_ACTIVATES, READ_BURSTS, WRITE_BURSTS, TURNAROUNDS = range(6, 12)
ACTS = 12
DATA = ACTS + ACTIVATES_IN_WINDOW
READING, WRITING = 1, 2  # values of DIRECTION; 0 before the first access

# Columns of a bank's state.
ROW, OPENED, PRECHARGE, LAST_OPEN = range(4)
BANK_COLUMNS = 4

# Columns of a recorded interval; the first row of the record holds how many were recorded and how many were served.
INTERVAL_CHANNEL, INTERVAL_START, INTERVAL_END, INTERVAL_WRITE, INTERVAL_BANK, INTERVAL_HIT = range(6)
INTERVAL_COLUMNS = 6
RECORDED, SERVED = range(2)


@kernel
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


@kernel
def data_start(setup: Setup, own: Int64s, state: Int64s, write: bool, start: int) -> int:
    """When a container's data begin: after their command's latency, on a bus that is free and turned their way."""
    ready = max(start, state[OPENED] + setup.rcd)
    if write:
        start = max(ready + setup.write_latency, own[WRITE_END], own[READ_END] + setup.rtw)
    else:
        start = max(ready + setup.read_latency, own[READ_END], own[WRITE_END] + setup.wtr + setup.read_latency)
    return start


@kernel
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


@kernel
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


@kernel
def note(record: Int64s, channel: int, data: int, end: int, write: bool, bank: int, hit: bool) -> None:
    """Record a container's interval while there is room, and that it was served."""
    record[0, SERVED] += 1
    if record[0, RECORDED] < record.shape[0] - 1:
        record[0, RECORDED] += 1
        interval = record[record[0, RECORDED]]
        interval[INTERVAL_CHANNEL] = channel
        interval[INTERVAL_START] = data
        interval[INTERVAL_END] = end
        interval[INTERVAL_WRITE] = write
        interval[INTERVAL_BANK] = bank
        interval[INTERVAL_HIT] = hit


@kernel
def setup_of(constants: Int64s) -> Setup:
    """The constants by name; they stand in the order of the names."""
    return Setup(
        constants[0],
        constants[1],
        constants[2],
        constants[3],
        constants[4],
        constants[5],
        constants[6],
        constants[7],
        constants[8],
        constants[9],
        constants[10],
        constants[11],
        constants[12],
        constants[13],
        constants[14],
        constants[15],
        constants[16],
    )


@kernel
def serve(
    constants: Int64s,
    channel_state: Int64s,
    bank_state: Int64s,
    record: Int64s,
    first: int,
    runs: int,
    run: int,
    stride: int,
    bursts: int,
    write: bool,
    start: int,
) -> int:
    """Serve the containers ``first + r * stride + k`` (r < runs, k < run), `bursts` each; gives when the last data has
    moved.

    Parameters
    ----------
    constants : (17,) int64
        The elements of a `Setup`.
    channel_state : (channels, DATA + queue_depth) int64
    bank_state : (channels, banks, BANK_COLUMNS) int64
    record : (1 + capacity, INTERVAL_COLUMNS) int64
        Intervals are added until it is full.
    start : int
        No command is issued before [ps, live].
    """
    setup = setup_of(constants)
    channels, banks, per_row = setup.channels, setup.banks, setup.containers_per_row
    recording = record.shape[0] > 1
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
            if recording:
                note(record, channel, data, end, write, bank, hit)
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
