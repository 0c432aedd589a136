"""The signals of a tile pass: where each stands in the hierarchy of a waveform, and its value in every cycle.

A lane's state is named as the counters are, and where spec page fpraker.md leaves open when a lane waits, this is what
is shown.  The cycles that only the floor adds (`exponent`) follow those in which the PE worked; it waits for the slower
PEs of its column (`inter_pe`) after them, at the end of the set.  Waiting for sets of A or B that others still need
lies where the recurrence has it: before the set that may not start yet, and after the last set until the tile ends.
With ``sync: pe`` every PE has sets and waiting of its own, else its column has.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.pe.fpraker import replay, replay_terms
from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.pe.fpraker.record import FPRakerRecord, fpraker_record
from simhw.pe.passes import ParallelRows
from simhw.pe.register import BIAS
from simhw.pe.signals import NOTHING, Path, Signals, lane_paths

SIGNED_BITS = 12
"""Holds K, base and exponents: products' exponents lie within 506 of each other and registers' not much above."""
NO_TERM_TEXT, ZERO_TEXT = "-", "0"
POSITIONS = range(1, -8, -1)
TERM_TEXTS = (NO_TERM_TEXT, ZERO_TEXT, *(f"{sign}2^{position}" for sign in "+-" for position in POSITIONS))


def pass_signals(
    pe: FPRakerPE, tile: FPRakerTileParameters, x: BF16Array, parallel: ParallelRows, cycles: int
) -> Iterator[Signals]:
    """Lanes and PEs column by column, each on its own way through its sets."""
    lanes, rows = pe.lanes, tile.rows
    sets = x.shape[1] // lanes
    # Where a set takes at least a cycle, no more of them can be seen than cycles.
    seen = sets if tile.empty_sets == "skip" else min(sets, cycles)
    record = fpraker_record(tile.cols, rows, lanes, seen, cycles, replay.INTER_PE)
    replay.FPRakerReplay(pe, tile).tile_pass(x, parallel.rows, parallel.real, record)
    filled = np.zeros((tile.cols, x.shape[1]), np.uint16)
    filled[: len(x)] = x
    terms = replay_terms.terms_of(pe)
    for column in range(tile.cols):
        values = filled[column].reshape(sets, lanes)
        if tile.sync != "pe":
            yield from _way_signals(column, rows, sets, _way(record, column, 0, cycles))
        for row in range(rows):
            way = _way(record, column, row, cycles)
            if tile.sync == "pe":
                yield from _own_way_signals(column, row, sets, way)
            yield from _pe_signals(record, column, row, way, values, terms)


class _Way(NamedTuple):
    """A PE's way through its sets, by cycle of the tile.

    `work` is how many cycles the PE has worked before, -1 where it waits; `number` the set that it is at, while it
    waits the one it waits for, and after the last the number of sets; `starts` and `finishes` whether a set that takes
    time has its first or last cycle here.
    """

    work: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    starts: npt.NDArray[np.bool_]
    finishes: npt.NDArray[np.bool_]


def _way(record: FPRakerRecord, column: int, row: int, cycles: int) -> _Way:
    start, finish = record.start[column, row], record.finish[column, row]
    clock = np.arange(cycles)
    number = np.searchsorted(finish, clock, side="right")
    before = np.concatenate([[0], np.cumsum(finish - start)])
    begin = np.append(start, cycles)[number]
    work = np.where(clock >= begin, before[number] + clock - begin, -1)
    seen = finish > start
    return _Way(work, number, np.isin(clock, start[seen]), np.isin(clock + 1, finish[seen]))


def _way_signals(column: int, rows: int, sets: int, way: _Way) -> Iterator[Signals]:
    """Where a column stands: its set, also shown in each of its PEs, the set's first and last cycle, and whether it
    waits.
    """
    place = ("tile", f"column_{column}")
    yield _set_signal([(*place, "set"), *(("tile", f"pe_{row}_{column}", "set") for row in range(rows))], sets, way)
    yield _pace_signals(place, way)


def _own_way_signals(column: int, row: int, sets: int, way: _Way) -> Iterator[Signals]:
    """The same of a PE that goes at its own pace."""
    place = ("tile", f"pe_{row}_{column}")
    yield _set_signal([(*place, "set")], sets, way)
    yield _pace_signals(place, way)


def _set_signal(places: list[Path], sets: int, way: _Way) -> Signals:
    shown = np.where(way.number < sets, way.number, NOTHING)[:, None]
    return Signals([places], shown, max(1, (sets - 1).bit_length()))


def _pace_signals(place: Path, way: _Way) -> Signals:
    values = np.stack([way.starts, way.finishes, way.work < 0], axis=1).astype(np.int8)
    return Signals([[(*place, name)] for name in ("set_start", "set_finish", "stall")], values)


def _pe_signals(
    record: FPRakerRecord, column: int, row: int, way: _Way, values: BF16Array, terms: replay_terms.Terms
) -> Iterator[Signals]:
    """Lanes and registers of a PE; `values` (sets, lanes) of its column's serial operand."""
    lanes = values.shape[1]
    working = way.work >= 0

    def over_time(recorded: npt.NDArray[Any], otherwise: int) -> npt.NDArray[Any]:
        """What was recorded by the PE's own cycles as (cycles, signals), `otherwise` where it waits."""
        signals = int(np.prod(recorded.shape[1:]))
        shown = np.full((len(working), signals), otherwise, recorded.dtype)
        shown[working] = recorded[way.work[working]].reshape(-1, signals)
        return shown

    state = over_time(record.state[column, :, row], replay.INTER_PE)
    yield Signals(lane_paths(row, column, lanes, "state"), state, texts=replay.COUNTERS[: replay.INTER_PE + 1])
    offset = over_time(record.offset[column, :, row], NOTHING)
    yield Signals(lane_paths(row, column, lanes, "k"), offset, SIGNED_BITS)
    taken = values[np.minimum(way.number, len(values) - 1)]
    fired = over_time(record.fired[column, :, row], -1)
    yield Signals(lane_paths(row, column, lanes, "term"), _term_codes(taken, fired, state, terms), texts=TERM_TEXTS)

    place = ("tile", f"pe_{row}_{column}")
    yield Signals([[(*place, "base")]], over_time(record.base[column, :, row], NOTHING), SIGNED_BITS)
    emax = np.where(working, record.emax[column, way.number, row], NOTHING)
    for name, sums in (("emax", emax), ("acc_exponent", record.register[column, way.number, row])):
        yield Signals([[(*place, name)]], np.where(sums == NOTHING, NOTHING, sums - BIAS)[:, None], SIGNED_BITS)


def _term_codes(
    values: BF16Array, fired: npt.NDArray[np.int8], state: npt.NDArray[np.int8], terms: replay_terms.Terms
) -> npt.NDArray[np.int8]:
    """Index into TERM_TEXTS of what each lane fires: its serial value's signed power of two, or a zero
    (oob: column, off).
    """
    fraction = (values & 0x7F).astype(np.int64)
    which = np.maximum(fired, 0)
    negative = (terms.signs[fraction, which] < 0) != (values & 0x8000 != 0)
    code = 2 + negative * len(POSITIONS) + POSITIONS[0] - terms.positions[fraction, which]
    code[state != replay.USEFUL] = TERM_TEXTS.index(ZERO_TEXT)
    code[fired < 0] = TERM_TEXTS.index(NO_TERM_TEXT)
    return np.asarray(code, np.int8)
