"""One DMA job through the DRAM's channels: containers in order, rows opened ahead of their data.

Every time is the latest of some earlier times plus constants, and which accesses hit an open row follows from the
addresses alone.  So a time can only grow with any time before it: the kernel is monotone by construction.

Channels share nothing but the job, so each is served by itself, its state at hand from container to container.  Those
of a run that lie in one row are one **visit**: only the first may have to wait, since the others find the row open and
the bus turned their way, and so their data follow without a gap.

Times are whole picoseconds of live time, the time that stands still while the DRAM refreshes (`simhw.memory.dram`).
State stays in the caller's arrays from job to job; their fields are the columns named here.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simhw.jit import inlined, kernel, part
from simhw.pointers import data, onward

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


LIVE = Setup._fields.index("live")

# Elements of the clock: a refresh's pause and the controller's latency [ps], and when the last data moved [ps, live].
PAUSE, CONTROLLER_LATENCY, LAST_END = range(3)

# Columns of a channel's state.  The ring of activates and the ring of data starts (queue_depth long) come last.
READ_END, WRITE_END, DIRECTION, ACT_SLOT, DATA_SLOT = range(5)
CHANNEL_HITS, CHANNEL_MISSES, CHANNEL_ACTIVATES, READ_BURSTS, WRITE_BURSTS, TURNAROUNDS = range(5, 11)
ACTS = 11
DATA = ACTS + ACTIVATES_IN_WINDOW
READING, WRITING = 1, 2  # values of DIRECTION; 0 before the first access

# Columns of a bank's state.  ROW counts the rows of all banks of the channel, which go round the banks; LAST_OPEN is
# when the row was last seen open: as its last data ended.
ROW, OPENED, PRECHARGE, LAST_OPEN = range(4)
BANK_COLUMNS = 4

# Columns of a recorded interval; the first row of the record holds how many were recorded and how many were served.
INTERVAL_CHANNEL, INTERVAL_START, INTERVAL_END, INTERVAL_WRITE, INTERVAL_BANK, INTERVAL_HIT = range(6)
INTERVAL_COLUMNS = 6
RECORDED, SERVED = range(2)


class Job(NamedTuple):
    """Containers ``first + r * stride + k`` (r < runs, k < run) of `bursts`; no command before `start` [ps, live]."""

    first: int
    runs: int
    run: int
    stride: int
    bursts: int
    write: bool
    start: int


@inlined
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


@part
def periods(time: int, period: int) -> int:
    """Whole periods in a time that is not negative.

    By floating point, then put right: integer division's special cases make compilers double the loops around it.
    """
    number: int = int(time / period)
    return number - (number * period > time) + ((number + 1) * period <= time)


@part
def live_time(time: int, live: int, pause: int) -> int:
    """Live time at a time [ps]: a refresh is the last part of its tREFI, and live time stands still in it."""
    refreshes = periods(time, live + pause)
    return refreshes * live + min(time - refreshes * (live + pause), live)


@part
def end_time(time: int, live: int, pause: int) -> int:
    """When something ends that ends at a live time [ps]: at the moment of a refresh, before it."""
    return time + periods(max(0, time - 1), live) * pause


@part
def serve_channel(setup: Setup, own: Int64s, banks: Int64s, channel: int, job: Job) -> int:
    """Serve the job's containers of one channel; gives when their last data have moved, or its start where it has none.

    Refreshes stand at whole multiples of the live time.  One since a row was last seen open has closed it, and one amid
    its data closes it again: the pause pays for the time of both, so all that is left to do is to count the activates.
    The channel's `own` state and its `banks` are pointers.
    """
    channels, per_row, live = setup.channels, setup.containers_per_row, setup.live
    length = job.bursts * setup.burst
    latency = setup.write_latency if job.write else setup.read_latency
    to_data = setup.rcd + latency
    # From the end of a visit's data to when its bank may be precharged; tRTP counts from the last read command, which
    # comes a read latency before its burst.
    to_precharge = setup.wr if job.write else setup.rtp - setup.burst - setup.read_latency
    # The bus takes data when it is free and turned their way, and their command's latency is over.
    free: int = job.start + latency
    if job.write:
        free = max(free, own[WRITE_END], own[READ_END] + setup.rtw)
    else:
        free = max(free, own[READ_END], own[WRITE_END] + setup.wtr + latency)
    refresh = (periods(free, live) + 1) * live
    act_slot, data_slot = own[ACT_SLOT], own[DATA_SLOT]
    acts, starts = onward(own, ACTS), onward(own, DATA)
    newest = acts[(act_slot + ACTIVATES_IN_WINDOW - 1) % ACTIVATES_IN_WINDOW]
    containers = misses = activates = 0
    # Where a run starts, and how far the next one starts from there.  Containers of a row are neighbours; rows go round
    # the channels, then round the banks.
    column, block = job.first % per_row, job.first // per_row
    first_channel, first_row = block % channels, block // channels
    first_bank = first_row % setup.banks
    next_column, block = job.stride % per_row, job.stride // per_row
    next_channel, next_row = block % channels, block // channels
    next_bank = next_row % setup.banks
    rest, more = (job.run - 1) % per_row, (job.run - 1) // per_row
    for _ in range(job.runs):
        # Visits of all channels are counted from 0, this channel's are every so many of them.
        over = column + rest >= per_row
        last = more + over
        visit, row, bank = channel - first_channel, first_row, first_bank
        if visit < 0:
            visit, row, bank = visit + channels, row + 1, bank + 1
            if bank == setup.banks:
                bank = 0
        while visit <= last:
            count = per_row
            if visit == 0:
                count -= column
            if visit == last:
                count -= per_row - 1 - (column + rest - over * per_row)
            state = onward(banks, bank * BANK_COLUMNS)
            open_row, last_open, precharge = state[ROW], state[LAST_OPEN], state[PRECHARGE]
            opens = open_row != row
            if opens:
                # As far ahead of its data as the queue allows.
                act = max(job.start, starts[data_slot])
                if open_row != CLOSED:
                    act = max(act, precharge) + setup.rp
                act = max(act, newest + setup.rrd, acts[act_slot] + setup.faw)
                newest = acts[act_slot] = act
                act_slot = (act_slot + 1) % ACTIVATES_IN_WINDOW
                activates += 1
                state[ROW] = row
                state[OPENED] = act
                last_open, precharge = act, act + setup.ras
            begins = max(free, state[OPENED] + to_data)
            free = begins + count * length
            if begins >= refresh:
                refresh = (periods(begins, live) + 1) * live
            closed = last_open < refresh - live
            activates += closed
            misses += opens or closed
            if free > refresh:
                crossed = 1 + periods(free - 1 - refresh, live)
                activates += crossed
                # One that stands between the data of two containers closes the row for the second.
                for _ in range(crossed if count > 1 else 0):
                    misses += periods(refresh - begins, length) * length == refresh - begins
                    refresh += live
                if count == 1:
                    refresh += crossed * live
            state[LAST_OPEN] = free - 1
            state[PRECHARGE] = max(precharge, free + to_precharge)
            containers += count
            while begins < free:
                starts[data_slot] = begins
                data_slot += 1
                if data_slot == setup.queue_depth:
                    data_slot = 0
                begins += length
            visit, row, bank = visit + channels, row + 1, bank + 1
            if bank == setup.banks:
                bank = 0
        column += next_column
        first_channel += next_channel
        if column >= per_row:
            column, first_channel = column - per_row, first_channel + 1
        first_row, first_bank = first_row + next_row, first_bank + next_bank
        if first_channel >= channels:
            first_channel, first_row, first_bank = first_channel - channels, first_row + 1, first_bank + 1
        if first_bank >= setup.banks:
            first_bank -= setup.banks
    if not containers:
        return job.start
    own[ACT_SLOT], own[DATA_SLOT] = act_slot, data_slot
    own[CHANNEL_HITS] += containers - misses
    own[CHANNEL_MISSES] += misses
    own[CHANNEL_ACTIVATES] += activates
    own[WRITE_END if job.write else READ_END] = free
    own[WRITE_BURSTS if job.write else READ_BURSTS] += containers * job.bursts
    direction = WRITING if job.write else READING
    own[TURNAROUNDS] += own[DIRECTION] not in (0, direction)
    own[DIRECTION] = direction
    return free


@inlined
def serve_job(setup: Setup, channel_state: Int64s, bank_state: Int64s, job: Job) -> int:
    """Serve a job on every channel, with the state of all as pointers; gives when the last data have moved."""
    finish = job.start
    for channel in range(setup.channels):
        own = onward(channel_state, channel * (DATA + setup.queue_depth))
        banks = onward(bank_state, channel * setup.banks * BANK_COLUMNS)
        finish = max(finish, serve_channel(setup, own, banks, channel, job))
    return finish


@kernel
def serve(constants: Int64s, channel_state: Int64s, bank_state: Int64s, job: Job) -> int:
    """Serve a job; gives when the last data have moved.

    Parameters
    ----------
    constants : (17,) int64
        The elements of a `Setup`.
    channel_state : (channels, DATA + queue_depth) int64
    bank_state : (channels, banks, BANK_COLUMNS) int64
    """
    return serve_job(setup_of(constants), data(channel_state), data(bank_state), job)


@kernel
def serve_recorded(constants: Int64s, channel_state: Int64s, bank_state: Int64s, record: Int64s, job: Job) -> int:
    """As `serve`, container by container.

    Parameters
    ----------
    record : (1 + capacity, INTERVAL_COLUMNS) int64
        Intervals are added until it is full.
    """
    setup, finish = setup_of(constants), job.start
    for place in range(job.runs * job.run):
        container = job.first + place // job.run * job.stride + place % job.run
        block = container // setup.containers_per_row
        channel, bank = block % setup.channels, block // setup.channels % setup.banks
        own = data(channel_state[channel])
        hits = own[CHANNEL_HITS]
        alone = Job(container, 1, 1, 0, job.bursts, job.write, job.start)
        end = serve_channel(setup, own, data(bank_state[channel]), channel, alone)
        finish = max(finish, end)
        record[0, SERVED] += 1
        if record[0, RECORDED] < record.shape[0] - 1:
            record[0, RECORDED] += 1
            interval = record[record[0, RECORDED]]
            interval[INTERVAL_CHANNEL] = channel
            interval[INTERVAL_START] = end - job.bursts * setup.burst
            interval[INTERVAL_END] = end
            interval[INTERVAL_WRITE] = job.write
            interval[INTERVAL_BANK] = bank
            interval[INTERVAL_HIT] = own[CHANNEL_HITS] - hits
    return finish
