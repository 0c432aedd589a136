"""The signals of a tile pass: where each stands in the hierarchy of a waveform, and its value in every cycle.

A lane's state is named as the counters are, and where spec page fpraker.md leaves open when a lane waits, this is what
is shown.  The cycles that only the floor adds (`exponent`) follow those in which the PE worked; it waits for the slower
PEs of its column (`inter_pe`) after them, at the end of the set.  Waiting for other columns lies where the recurrence
of run-ahead has it: before the set that may not start yet, and after the last set until the tile ends.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.pe.fpraker import replay, replay_terms
from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.pe.fpraker.record import fpraker_record
from simhw.pe.passes import ParallelRows
from simhw.pe.register import BIAS
from simhw.pe.signals import NOTHING, Signals, lane_paths

SIGNED_BITS = 12
"""Holds K, base and exponents: products' exponents lie within 506 of each other and registers' not much above."""
NO_TERM_TEXT, ZERO_TEXT = "-", "0"
POSITIONS = range(1, -8, -1)
TERM_TEXTS = (NO_TERM_TEXT, ZERO_TEXT, *(f"{sign}2^{position}" for sign in "+-" for position in POSITIONS))


def pass_signals(
    pe: FPRakerPE, tile: FPRakerTileParameters, x: BF16Array, parallel: ParallelRows, cycles: int
) -> Iterator[Signals]:
    """Lanes and PEs column by column, each on the column's own way through its sets."""
    lanes, rows = pe.lanes, tile.rows
    sets = x.shape[1] // lanes
    # A set takes at least a cycle, so neither sets nor cycles of work beyond these can be seen.
    record = fpraker_record(tile.cols, rows, lanes, min(sets, cycles), cycles, replay.INTER_PE)
    replay.FPRakerReplay(pe, tile).tile_pass(x, parallel.rows, parallel.real, record)
    filled = np.zeros((tile.cols, x.shape[1]), np.uint16)
    filled[: len(x)] = x
    terms = replay_terms.terms_of(pe)
    for column in range(tile.cols):
        work, number = _column_way(record.start[column], record.finish[column], cycles)
        working = work >= 0
        yield from _column_signals(column, rows, sets, work, number, record.start[column], record.finish[column])

        def over_time(
            values: npt.NDArray[Any], otherwise: int, working: npt.NDArray[np.bool_] = working, work: Any = work
        ) -> Any:
            """Values by the column's own cycles as (cycles, signals), `otherwise` where it waits."""
            shown = np.full((cycles, values[0].size), otherwise, values.dtype)
            shown[working] = values[work[working]].reshape(-1, values[0].size)
            return shown

        places = {
            name: [p for row in range(rows) for p in lane_paths(row, column, lanes, name)]
            for name in ("state", "k", "term")
        }
        state = over_time(record.state[column], replay.INTER_PE)
        yield Signals(places["state"], state, texts=replay.COUNTERS[: replay.INTER_PE + 1])
        yield Signals(places["k"], over_time(record.offset[column], NOTHING), SIGNED_BITS)
        # The set's values of X, by lane, for every PE of the column.
        values = filled[column].reshape(sets, lanes)[np.minimum(number, sets - 1)]
        fired = over_time(record.fired[column], -1)
        yield Signals(places["term"], _term_codes(np.tile(values, rows), fired, state, terms), texts=TERM_TEXTS)

        pe_paths = {
            name: [[("tile", f"pe_{row}_{column}", name)] for row in range(rows)]
            for name in ("base", "emax", "acc_exponent")
        }
        yield Signals(pe_paths["base"], over_time(record.base[column], NOTHING), SIGNED_BITS)
        emax = np.where(working[:, None], record.emax[column, number], NOTHING)
        for name, sums in (("emax", emax), ("acc_exponent", record.register[column, number])):
            yield Signals(pe_paths[name], np.where(sums == NOTHING, NOTHING, sums - BIAS), SIGNED_BITS)


def _column_way(
    start: npt.NDArray[np.int64], finish: npt.NDArray[np.int64], cycles: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """By cycle of the tile: how many cycles the column has worked before, -1 where it waits; and the set it is at.

    While it waits that is the set it waits for, after the last the number of sets.
    """
    clock = np.arange(cycles)
    number = np.searchsorted(finish, clock, side="right")
    before = np.concatenate([[0], np.cumsum(finish - start)])
    begin = np.append(start, cycles)[number]
    return np.where(clock >= begin, before[number] + clock - begin, -1), number


def _column_signals(
    column: int,
    rows: int,
    sets: int,
    work: npt.NDArray[np.int64],
    number: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    finish: npt.NDArray[np.int64],
) -> Iterator[Signals]:
    """Where a column stands: its set, also shown in each of its PEs, the set's first and last cycle, and whether it
    waits.
    """
    place = ("tile", f"column_{column}")
    stall = work < 0
    places = [(*place, "set"), *(("tile", f"pe_{row}_{column}", "set") for row in range(rows))]
    yield Signals([places], np.where(number < sets, number, NOTHING)[:, None], max(1, (sets - 1).bit_length()))
    clock = np.arange(len(work))
    first, last = np.isin(clock, start), np.isin(clock + 1, finish)
    yield Signals(
        [[(*place, name)] for name in ("set_start", "set_finish", "stall")],
        np.stack([first, last, stall], axis=1).astype(np.int8),
    )


def _term_codes(
    values: BF16Array, fired: npt.NDArray[np.int8], state: npt.NDArray[np.int8], terms: replay_terms.Terms
) -> npt.NDArray[np.int8]:
    """Index into TERM_TEXTS of what each lane fires: its serial value's signed power of two, or a zero
    (oob: column).
    """
    fraction = (values & 0x7F).astype(np.int64)
    which = np.maximum(fired, 0)
    negative = (terms.signs[fraction, which] < 0) != (values & 0x8000 != 0)
    code = 2 + negative * len(POSITIONS) + POSITIONS[0] - terms.positions[fraction, which]
    code[state != replay.USEFUL] = TERM_TEXTS.index(ZERO_TEXT)
    code[fired < 0] = TERM_TEXTS.index(NO_TERM_TEXT)
    return np.asarray(code, np.int8)
