"""One DMA job through the DRAM's channels: containers in order, rows opened ahead of their data.

Every time is the latest of some earlier times plus constants, and which accesses hit an open row follows from the
addresses alone.  So a time can only grow with any time before it: the kernel is monotone by construction.

Times are whole picoseconds of live time, the time that stands still while the DRAM refreshes (`simhw.memory.dram`).
State stays in the caller's arrays from job to job; their fields are the columns named here.
"""

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

# Columns of the setup; times in ps.
CHANNELS, BANKS, CONTAINERS_PER_ROW, QUEUE_DEPTH = range(4)
BURST, RCD, RP, RAS, RRD, FAW, READ_LATENCY, WRITE_LATENCY, WTR, RTW, WR, RTP = range(4, 16)
LIVE = 16  # live time between two refreshes
SETUP_COLUMNS = 17

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
INTERVAL_COLUMNS = 6


@kernel
def serve(
    setup: Int64s,
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
    setup : (SETUP_COLUMNS,) int64
    channel_state : (channels, DATA + queue_depth) int64
    bank_state : (channels, banks, BANK_COLUMNS) int64
    record : (1 + capacity, INTERVAL_COLUMNS) int64
        Intervals (channel, start, end, write, bank, row hit) are added until it is full.
    start : int
        No command is issued before [ps, live].
    """
    channels, banks, per_row, depth = setup[CHANNELS], setup[BANKS], setup[CONTAINERS_PER_ROW], setup[QUEUE_DEPTH]
    rcd, rp, ras, rrd, faw = setup[RCD], setup[RP], setup[RAS], setup[RRD], setup[FAW]
    wtr, rtw, wr, rtp, live = setup[WTR], setup[RTW], setup[WR], setup[RTP], setup[LIVE]
    latency = setup[WRITE_LATENCY] if write else setup[READ_LATENCY]
    read_latency = setup[READ_LATENCY]
    direction = WRITING if write else READING
    last_burst = (bursts - 1) * setup[BURST]
    occupied = bursts * setup[BURST]
    capacity = record.shape[0] - 1
    recorded, served = record[0, 0], record[0, 1]
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
            own = channel_state[channel]
            state = bank_state[channel, bank]
            data_slot = DATA + own[DATA_SLOT]
            hit = state[ROW] == row
            if not hit:
                act = max(start, own[data_slot])
                if state[ROW] != CLOSED:
                    act = max(act, state[PRECHARGE]) + rp
                act_slot = own[ACT_SLOT]
                oldest = own[ACTS + act_slot]
                newest = own[ACTS + (act_slot + ACTIVATES_IN_WINDOW - 1) % ACTIVATES_IN_WINDOW]
                act = max(act, newest + rrd, oldest + faw)
                own[ACTS + act_slot] = act
                own[ACT_SLOT] = (act_slot + 1) % ACTIVATES_IN_WINDOW
                own[CHANNEL_ACTIVATES] += 1
                state[ROW] = row
                state[OPENED] = act
                state[LAST_OPEN] = act
                state[PRECHARGE] = max(state[PRECHARGE], act + ras)
            data = max(start, state[OPENED] + rcd) + latency
            if write:
                data = max(data, own[WRITE_END], own[READ_END] + rtw)
            else:
                data = max(data, own[READ_END], own[WRITE_END] + wtr + read_latency)
            end = data + occupied
            # Refreshes stand at whole multiples of the live time.  One since the row was last seen open has closed it,
            # and one amid the data closes it again: the pause pays for the time of both, the activates are counted
            # here.
            epoch = own[EPOCH]
            if data >= epoch + live:
                epoch = data // live * live
            if state[LAST_OPEN] < epoch:
                own[CHANNEL_ACTIVATES] += 1
                hit = False
            if end > epoch + live:
                crossed = (end - 1 - epoch) // live
                own[CHANNEL_ACTIVATES] += crossed
                epoch += crossed * live
            own[EPOCH] = epoch
            state[LAST_OPEN] = max(state[LAST_OPEN], epoch)
            if write:
                own[WRITE_END] = end
                own[WRITE_BURSTS] += bursts
                state[PRECHARGE] = max(state[PRECHARGE], end + wr)
            else:
                own[READ_END] = end
                own[READ_BURSTS] += bursts
                # tRTP counts from the last read command, which comes a read latency before its burst.
                state[PRECHARGE] = max(state[PRECHARGE], data + last_burst - latency + rtp)
            own[data_slot] = data
            own[DATA_SLOT] = own[DATA_SLOT] + 1 if own[DATA_SLOT] + 1 < depth else 0
            if own[DIRECTION] != direction:
                own[TURNAROUNDS] += own[DIRECTION] != 0
                own[DIRECTION] = direction
            if hit:
                own[CHANNEL_HITS] += 1
            else:
                own[CHANNEL_MISSES] += 1
            finish = max(finish, end)
            if capacity > 0:
                served += 1
                if recorded < capacity:
                    recorded += 1
                    record[recorded, 0] = channel
                    record[recorded, 1] = data
                    record[recorded, 2] = end
                    record[recorded, 3] = write
                    record[recorded, 4] = bank
                    record[recorded, 5] = hit
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
    record[0, 0], record[0, 1] = recorded, served
    return finish
