"""FPRaker's schedule, stepped cycle by cycle: every term that fires is added, and what was added is the output.

One PE at a time, one lane at a time: a lane is a distance below emax and a place among its value's terms.  Cycles,
waiting and every counter are counted where they happen.  Source: spec page fpraker.md, sections 1 to 3 and 6.
"""

from collections import Counter
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel
from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.pe.fpraker.record import FPRakerRecord
from simhw.pe.fpraker.replay_clock import tile_schedule
from simhw.pe.fpraker.replay_switches import BEYOND, LANES, switches_of
from simhw.pe.fpraker.replay_terms import BIT_SLOTS, terms_of
from simhw.pe.register import (
    NO_EXPONENT,
    bfloat16_of,
    field_of,
    joined,
    normalised,
    shift_right_rne,
    signed_significand,
    value_of,
)
from simhw.pe.signals import NOTHING

COUNTERS = (
    "useful",
    "shift_range",
    "no_term",
    "exponent",
    "inter_pe",
    "processed",
    "skipped_zero",
    "skipped_oob",
    "overflows",
)
USEFUL, SHIFT_RANGE, NO_TERM, EXPONENT, INTER_PE, PROCESSED, SKIPPED_ZERO, SKIPPED_OOB, OVERFLOWS = range(len(COUNTERS))


class Column(NamedTuple):
    """A column in the middle of a set, by PE and lane.

    `fractions` (lanes,) of the serial values; `distances` below the PE's emax; `multipliers`, the parallel significand
    with the sign of the product; `bounds`, the terms within the threshold; `slots`, the terms that need a cycle;
    `fired`, those that had one; `pointers` (lanes,), the term that all PEs of the column wait for (sync: term);
    `cycles` (PEs,), those that each took, `least` (PEs,), those that it takes at least, and `times` (PEs,), those until
    it may go on to its next set.
    """

    fractions: npt.NDArray[np.int64]
    distances: npt.NDArray[np.int64]
    multipliers: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    fired: npt.NDArray[np.int64]
    pointers: npt.NDArray[np.int64]
    cycles: npt.NDArray[np.int64]
    least: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]


class Registers(NamedTuple):
    """The accumulators of a column's PEs: S and E, what the set has added and not yet rounded, and the float32 sums of
    chunks.
    """

    s: npt.NDArray[np.int64]
    exponent: npt.NDArray[np.int64]
    unrounded: npt.NDArray[np.int64]
    running: npt.NDArray[np.float32]


@numba.njit(inline="always")
def _latch(x, y, pe, column, terms, switches, register_exponent):
    """Give the PE's lanes their distances and bounds for a set (x, y of 8 values); gives emax."""
    emax = register_exponent
    column.least[pe] = 0 if switches.skip_empty else switches.floor
    for lane in range(LANES):
        if field_of(x[lane]) and field_of(y[lane]):
            column.least[pe] = switches.floor
            emax = max(emax, field_of(x[lane]) + field_of(y[lane]))
    for lane in range(LANES):
        bounds = needed = 0
        if field_of(x[lane]) and field_of(y[lane]):
            fraction = column.fractions[lane]
            needed = terms.counts[fraction]
            distance = emax - field_of(x[lane]) - field_of(y[lane])
            significand = signed_significand(y[lane])
            column.distances[pe, lane] = distance
            column.multipliers[pe, lane] = -significand if x[lane] & 0x8000 else significand
            while (
                bounds < terms.counts[fraction] and distance - terms.positions[fraction, bounds] <= switches.threshold
            ):
                bounds += 1
        column.bounds[pe, lane] = bounds
        column.slots[pe, lane] = needed if switches.no_bounds else bounds
        column.fired[pe, lane] = 0
    return emax


@numba.njit(inline="always")
def _share_bounds(x, y, column, terms):
    """oob: column. A lane's terms need a slot until the last one that is in bounds in any PE; an empty lane
    needs none.
    """
    for lane in range(LANES):
        needed = 0
        for pe in range(y.shape[0]):
            needed = max(needed, column.bounds[pe, lane])
        for pe in range(y.shape[0]):
            if field_of(x[lane]) and field_of(y[pe, lane]):
                column.slots[pe, lane] = min(needed, terms.counts[column.fractions[lane]])


@numba.njit(inline="always")
def _move_pointers(column):
    """sync: term. A lane shows the first term that some PE of the column has still to fire; False where
    there is none.
    """
    busy = False
    for lane in range(LANES):
        column.pointers[lane] = BIT_SLOTS
        for pe in range(column.fired.shape[0]):
            if column.fired[pe, lane] < column.slots[pe, lane]:
                column.pointers[lane] = min(column.pointers[lane], column.fired[pe, lane])
                busy = True
    return busy


@numba.njit(inline="always")
def _place(offset, position, switches):
    """What the window compares: a term's offset K, or how far its position lies below the highest one."""
    return -position if switches.on_position else offset


@numba.njit(inline="always")
def _cycle(pe, column, terms, switches, counts, record, c, at):
    """One cycle of one PE, its `at`-th: (did it have a term of its own pending, sum of what fired in units of
    2**(-7 - T)).
    """
    base = BEYOND
    busy = False
    for lane in range(LANES):
        term = column.fired[pe, lane]
        if term < column.slots[pe, lane]:
            busy = True
            if not switches.shared_pointers or term == column.pointers[lane]:
                position = terms.positions[column.fractions[lane], term]
                base = min(base, _place(column.distances[pe, lane] - position, position, switches))
    added = 0
    if not busy:
        return False, added
    for lane in range(LANES):
        state, offset, term = NO_TERM, NOTHING, column.fired[pe, lane]
        if term < column.slots[pe, lane]:
            if switches.shared_pointers and term != column.pointers[lane]:
                state = INTER_PE  # has fired the shared term, and more of its own are to come
            else:
                fraction = column.fractions[lane]
                position = terms.positions[fraction, term]
                offset = column.distances[pe, lane] - position
                if _place(offset, position, switches) > base + switches.window:
                    state = SHIFT_RANGE
                else:
                    column.fired[pe, lane] += 1
                    if term < column.bounds[pe, lane]:  # else oob: column or off; the slot fires as a zero
                        state = USEFUL
                        added += terms.signs[fraction, term] * column.multipliers[pe, lane] << (
                            switches.threshold - offset
                        )
        counts[state] += 1
        if record is not None and at < record.state.shape[1]:
            record.state[c, at, pe, lane] = state
            record.offset[c, at, pe, lane] = offset
            record.fired[c, at, pe, lane] = term if column.fired[pe, lane] > term else -1
            if base < BEYOND:
                record.base[c, at, pe] = -base if switches.on_position else base
    return True, added


@numba.njit(inline="always")
def _rounded(s, added, switches):
    """S plus a sum of terms, rounded once to F fraction bits."""
    more = max(7 + switches.threshold - switches.fraction_bits, 0)
    fewer = max(switches.fraction_bits - 7 - switches.threshold, 0)
    return shift_right_rne((s << more) + (added << fewer), more)


@numba.njit(inline="always")
def _add(pe, registers, added, switches):
    """What fired in a cycle joins the register, rounded (rounding: cycle), or the sum that the set will round."""
    if switches.per_cycle:
        registers.s[pe] += _rounded(0, added, switches)
    else:
        registers.unrounded[pe] += added


@numba.njit(inline="always")
def _alone(column, registers, terms, switches, counts, record, c, at):
    """sync: set, pe. Every PE works through its own terms; with sync: set it then waits for the slowest."""
    slowest = 0
    for pe in range(len(registers.s)):
        column.cycles[pe] = 0
        busy, added = _cycle(pe, column, terms, switches, counts, record, c, at[pe])
        while busy:
            column.cycles[pe] += 1
            _add(pe, registers, added, switches)
            busy, added = _cycle(pe, column, terms, switches, counts, record, c, at[pe] + column.cycles[pe])
        column.times[pe] = max(column.least[pe], column.cycles[pe])
        slowest = max(slowest, column.times[pe])
    for pe in range(len(registers.s)):
        counts[EXPONENT] += LANES * (column.times[pe] - column.cycles[pe])
        if record is not None:
            record.state[c, at[pe] + column.cycles[pe] : at[pe] + column.times[pe], pe] = EXPONENT
        if not switches.own_pace:
            counts[INTER_PE] += LANES * (slowest - column.times[pe])
            column.times[pe] = slowest


@numba.njit(inline="always")
def _together(column, registers, terms, switches, counts, record, c, at):
    """sync: term. The PEs of the column move each lane's pointer together."""
    cycles = 0
    while _move_pointers(column):
        for pe in range(len(registers.s)):
            busy, added = _cycle(pe, column, terms, switches, counts, record, c, at[pe] + cycles)
            if busy:
                _add(pe, registers, added, switches)
            else:
                counts[INTER_PE] += LANES
        cycles += 1
    time = max(cycles, column.least.max())
    for pe in range(len(registers.s)):
        state = EXPONENT if column.least[pe] else INTER_PE
        counts[state] += LANES * (time - cycles)
        if record is not None:
            record.state[c, at[pe] + cycles : at[pe] + time, pe] = state
        column.times[pe] = time


@numba.njit(inline="always")
def _column_set(x, y, column, registers, terms, switches, counts, record, c, index, at):
    """One set of one column, x (8,) against y (rows, 8), registers and `column.times` updated.

    It is set `index` of column `c`, whose PEs have worked for `at` (rows,) cycles.
    """
    for lane in range(LANES):
        column.fractions[lane] = np.int64(x[lane]) & 0x7F
    for pe in range(y.shape[0]):
        emax = _latch(x, y[pe], pe, column, terms, switches, registers.exponent[pe])
        if record is not None and index < record.start.shape[2]:
            record.register[c, index, pe], record.emax[c, index, pe] = registers.exponent[pe], emax
        registers.s[pe] = shift_right_rne(registers.s[pe], emax - registers.exponent[pe])
        registers.exponent[pe] = emax
        registers.unrounded[pe] = 0
    if switches.column_bounds:
        _share_bounds(x, y, column, terms)
    if switches.shared_pointers:
        _together(column, registers, terms, switches, counts, record, c, at)
    else:
        _alone(column, registers, terms, switches, counts, record, c, at)
    for pe in range(y.shape[0]):
        s = registers.s[pe]
        if not switches.per_cycle:
            s = _rounded(s, registers.unrounded[pe], switches)
        registers.s[pe], registers.exponent[pe] = normalised(s, registers.exponent[pe], switches.fraction_bits)


@numba.njit(inline="always")
def _count_terms(x, y, pe, column, terms, counts):
    """After a set of a PE that has both rows: terms that fired with a value, that do not exist, and that
    did not fire.
    """
    for lane in range(LANES):
        existing = 0
        if field_of(x[lane]) and field_of(y[lane]):
            existing = terms.counts[column.fractions[lane]]
        processed = min(column.fired[pe, lane], column.bounds[pe, lane])
        counts[PROCESSED] += processed
        counts[SKIPPED_ZERO] += BIT_SLOTS - existing
        counts[SKIPPED_OOB] += existing - processed


@numba.njit(inline="always")
def _tile_time(times, switches, counts, record):
    """Cycles of a tile whose PEs take `times` (columns, rows, sets), waiting for each other."""
    start, finish = tile_schedule(times, switches.a_depth, switches.b_depth)
    end = finish.max()
    # What a PE did not work, it waited.
    counts[INTER_PE] += LANES * (times.shape[0] * times.shape[1] * end - times.sum())
    if record is not None:
        room = record.start.shape[2]
        record.start[:], record.finish[:] = start[:, :, :room], finish[:, :, :room]
    return end


@kernel
def _tile_pass(x, y, real_x, real_y, terms, switches, counts, outputs, record):
    """One tile pass of x (columns, K) and y (rows, K), where missing rows are zeros; gives its cycles.

    `real_x` is the number of columns with a row, `real_y` (rows,) says which rows have one; `counts` (COUNTERS,) is
    added to, and `outputs` (columns, rows) filled with bfloat16 bit patterns; so is `record`, a FPRakerRecord or None.
    """
    columns, rows, sets = x.shape[0], y.shape[0], x.shape[1] // LANES
    column = Column(
        np.zeros(LANES, np.int64), np.zeros((rows, LANES), np.int64), np.zeros((rows, LANES), np.int64),
        np.zeros((rows, LANES), np.int64),
        np.zeros((rows, LANES), np.int64), np.zeros((rows, LANES), np.int64), np.zeros(LANES, np.int64),
        np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64),
    )  # fmt: skip
    registers = Registers(
        np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.float32)
    )
    times, at = np.zeros((columns, rows, sets), np.int64), np.zeros(rows, np.int64)
    for c in range(columns):
        registers.s[:] = 0
        registers.exponent[:] = NO_EXPONENT
        registers.running[:] = 0
        at[:] = 0
        for index in range(sets):
            x_set, y_set = x[c, index * LANES : (index + 1) * LANES], y[:, index * LANES : (index + 1) * LANES]
            _column_set(x_set, y_set, column, registers, terms, switches, counts, record, c, index, at)
            if record is not None and index < record.s.shape[1]:
                for pe in range(rows):
                    s, exponent = registers.s[pe], registers.exponent[pe]
                    record.s[c, index, pe], record.exponent[c, index, pe] = s, exponent
                    record.output[c, index, pe] = bfloat16_of(value_of(s, exponent, switches.fraction_bits))
            times[c, :, index] = column.times
            at += column.times
            for pe in range(rows):
                if c < real_x and real_y[pe]:
                    _count_terms(x_set, y_set[pe], pe, column, terms, counts)
            if switches.chunk_sets and ((index + 1) % switches.chunk_sets == 0 or index + 1 == sets):
                for pe in range(rows):
                    value = value_of(registers.s[pe], registers.exponent[pe], switches.fraction_bits)
                    registers.running[pe] = joined(registers.running[pe], value)
                    registers.s[pe], registers.exponent[pe] = 0, NO_EXPONENT
        if record is not None and sets == record.start.shape[2]:
            record.register[c, sets] = registers.exponent
        for pe in range(rows):
            if switches.chunk_sets:
                outputs[c, pe] = bfloat16_of(np.float64(registers.running[pe]))
            else:
                outputs[c, pe] = bfloat16_of(value_of(registers.s[pe], registers.exponent[pe], switches.fraction_bits))
            if c < real_x and real_y[pe]:
                counts[OVERFLOWS] += outputs[c, pe] & 0x7FFF == 0x7F80
    return _tile_time(times, switches, counts, record)


class FPRakerReplay:
    """Replays tile passes of an FPRaker tile."""

    def __init__(self, pe: FPRakerPE, tile: FPRakerTileParameters) -> None:
        self.tile = tile
        self._terms, self._switches = terms_of(pe), switches_of(pe, tile)

    def tile_pass(
        self, x: BF16Array, y: BF16Array, real_y: npt.NDArray[np.bool_], record: FPRakerRecord | None = None
    ) -> tuple[int, Counter[str], BF16Array]:
        """Cycles, counters and outputs (rows of x, rows of y) of one pass: x (at most columns, K), y (rows, K).

        A `record` is filled as far as it has room.
        """
        filled = np.zeros((self.tile.cols, x.shape[1]), np.uint16)
        filled[: len(x)] = x
        counts = np.zeros(len(COUNTERS), np.int64)
        outputs = np.zeros((self.tile.cols, len(y)), np.uint16)
        cycles = _tile_pass(filled, y, len(x), real_y, self._terms, self._switches, counts, outputs, record)
        return cycles, Counter(dict(zip(COUNTERS, counts.tolist(), strict=True))), outputs[: len(x)]
