"""The signals of a tile pass: where each stands in the hierarchy of a waveform, and its value in every cycle.

A lane's state is named as the counters are, and where spec page fpraker.md leaves open when a lane waits, this is what
is shown.  The cycles that only the floor adds (`exponent`) follow those in which the PE worked; it waits for the slower
PEs of its column (`inter_pe`) after them, at the end of the set.  Waiting for other columns lies where the recurrence
of run-ahead has it: before the set that may not start yet, and after the last set until the tile ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, is_zero
from simhw.machine.machine import Machine
from simhw.pe.bitparallel.kernel import BitParallelPE
from simhw.pe.bitparallel.tile import BitParallelTileParameters
from simhw.pe.fpraker import replay as fpraker
from simhw.pe.fpraker.kernel import FPRakerPE
from simhw.pe.fpraker.tile import FPRakerTileParameters
from simhw.pe.passes import GridTileParameters, ParallelRows
from simhw.pe.record import NOTHING, fpraker_record, tensordash_record
from simhw.pe.register import BIAS
from simhw.pe.tensordash import replay as tensordash
from simhw.pe.tensordash.kernel import TensorDashPE

Path = tuple[str, ...]
SIGNED_BITS = 12
"""Holds K, base and exponents: products' exponents lie within 506 of each other and registers' not much above."""
NO_TERM_TEXT, ZERO_TEXT = "-", "0"
POSITIONS = range(1, -8, -1)
TERM_TEXTS = (NO_TERM_TEXT, ZERO_TEXT, *(f"{sign}2^{position}" for sign in "+-" for position in POSITIONS))
BUSY_STATES = ("useful", "idle")


@dataclass(frozen=True, eq=False)
class Signals:
    """Signals of one kind.

    Attributes
    ----------
    paths : sequence of sequences of paths
        Where each signal stands, ("tile", "pe_0_0", "emax"); several places show the same signal.
    values : (cycles, signals) integers
        NOTHING where a signal has no value.
    bits : int
        Width; negative values are two's complement.
    texts : sequence of str
        Where not empty, what the values stand for, which the signals then show.
    """

    paths: Sequence[Sequence[Path]]
    values: npt.NDArray[np.integer]
    bits: int = 1
    texts: Sequence[str] = ()


def pass_signals(machine: Machine, x: BF16Array, parallel: ParallelRows, cycles: int) -> Iterator[Signals]:
    """The signals of the first cycles of a tile pass, from its replay.

    Parameters
    ----------
    machine : Machine
    x : (rows, K) uint16
        At most the tile's rows of X.
    parallel : ParallelRows
        One tile of Y.
    cycles : int
        At most the duration of the pass.
    """
    pe, tile = machine.values.pe, machine.values.tile
    if isinstance(pe, FPRakerPE):
        assert isinstance(tile, FPRakerTileParameters)
        return _fpraker(pe, tile, x, parallel, cycles)
    if isinstance(pe, TensorDashPE):
        assert isinstance(tile, GridTileParameters)
        return _tensordash(pe, tile, x, parallel, cycles)
    assert isinstance(tile, BitParallelTileParameters)
    return _bitparallel(pe, tile, x, parallel, cycles)


def _lane_paths(row: int, column: int, lanes: int, name: str) -> list[list[Path]]:
    return [[("tile", f"pe_{row}_{column}", f"lane_{lane}", name)] for lane in range(lanes)]


def _fpraker(
    pe: FPRakerPE, tile: FPRakerTileParameters, x: BF16Array, parallel: ParallelRows, cycles: int
) -> Iterator[Signals]:
    """Lanes and PEs column by column, each on the column's own way through its sets."""
    lanes, rows = pe.lanes, tile.rows
    sets = x.shape[1] // lanes
    # A set takes at least a cycle, so neither sets nor cycles of work beyond these can be seen.
    record = fpraker_record(tile.cols, rows, lanes, min(sets, cycles), cycles, fpraker.INTER_PE)
    fpraker.FPRakerReplay(pe, tile).tile_pass(x, parallel.rows, parallel.real, record)
    filled = np.zeros((tile.cols, x.shape[1]), np.uint16)
    filled[: len(x)] = x
    terms = fpraker.terms_of(pe)
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

        lane_paths = {
            name: [p for row in range(rows) for p in _lane_paths(row, column, lanes, name)]
            for name in ("state", "k", "term")
        }
        state = over_time(record.state[column], fpraker.INTER_PE)
        yield Signals(lane_paths["state"], state, texts=fpraker.COUNTERS[: fpraker.INTER_PE + 1])
        yield Signals(lane_paths["k"], over_time(record.offset[column], NOTHING), SIGNED_BITS)
        # The set's values of X, by lane, for every PE of the column.
        values = filled[column].reshape(sets, lanes)[np.minimum(number, sets - 1)]
        fired = over_time(record.fired[column], -1)
        yield Signals(lane_paths["term"], _term_codes(np.tile(values, rows), fired, state, terms), texts=TERM_TEXTS)

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
    values: BF16Array, fired: npt.NDArray[np.int8], state: npt.NDArray[np.int8], terms: fpraker.Terms
) -> npt.NDArray[np.int8]:
    """Index into TERM_TEXTS of what each lane fires: its serial value's signed power of two, or a zero
    (oob: column).
    """
    fraction = (values & 0x7F).astype(np.int64)
    which = np.maximum(fired, 0)
    negative = (terms.signs[fraction, which] < 0) != (values & 0x8000 != 0)
    code = 2 + negative * len(POSITIONS) + POSITIONS[0] - terms.positions[fraction, which]
    code[state != fpraker.USEFUL] = TERM_TEXTS.index(ZERO_TEXT)
    code[fired < 0] = TERM_TEXTS.index(NO_TERM_TEXT)
    return np.asarray(code, np.int8)


def _tensordash(
    pe: TensorDashPE, tile: GridTileParameters, x: BF16Array, parallel: ParallelRows, cycles: int
) -> Iterator[Signals]:
    """A scheduler's signals, and its lanes in every PE that does as it says."""
    rows, columns, lanes = tile.rows, tile.cols, pe.lanes
    real = np.flatnonzero(parallel.real).tolist()
    two_sided = pe.sides == "two"
    record = tensordash_record(len(x) * columns if two_sided else len(x), lanes, cycles)
    tensordash.TensorDashReplay(pe, tile).tile_pass(x, parallel.rows, parallel.real, record)
    steps = x.shape[1] // lanes
    yield Signals([[("tile", "position")]], record.position[:, None], max(1, (steps - 1).bit_length()))
    yield Signals([[("tile", "advance")]], record.advance[:, None], 2)
    if two_sided:
        owners = {row * columns + column: [(row, column)] for row in range(len(x)) for column in real}
    else:
        owners = {row: [(row, column) for column in real] for row in range(len(x))}
    for scheduler, pes in owners.items():
        place = ("tile", f"pe_{pes[0][0]}_{pes[0][1]}" if two_sided else f"row_{pes[0][0]}")
        yield Signals([[(*place, "z")]], record.window[:, scheduler, None].astype(np.int64), pe.depth * lanes)
        yield Signals([[(*place, "drained")]], record.drained[:, scheduler, None], 2)
        choice = record.choice[:, scheduler].astype(np.int64)
        taken = choice >= 0
        chosen = {
            "state": (np.where(taken, 0, 1), 1, BUSY_STATES),
            "step": (np.where(taken, choice // lanes, NOTHING), 2, ()),
            "source": (np.where(taken, choice % lanes, NOTHING), 4, ()),
        }
        for name, (values, bits, texts) in chosen.items():
            # The same choice in the PEs of the row, and once where the row's scheduler stands.
            paths = [
                [path for row, column in pes for path in _lane_paths(row, column, lanes, name)[lane]]
                for lane in range(lanes)
            ]
            if not two_sided:
                paths = [[(*place, f"lane_{lane}", name), *shown] for lane, shown in enumerate(paths)]
            yield Signals(paths, values, bits, texts)
    used = {pe for pes in owners.values() for pe in pes}
    absent = [(row, column) for row in range(rows) for column in range(columns) if (row, column) not in used]
    if absent:
        places = [path for row, column in absent for (path,) in _lane_paths(row, column, lanes, "state")]
        yield Signals([places], np.ones((cycles, 1), np.int8), texts=BUSY_STATES)


def _bitparallel(
    pe: BitParallelPE, tile: BitParallelTileParameters, x: BF16Array, parallel: ParallelRows, cycles: int
) -> Iterator[Signals]:
    """Every lane takes a pair a cycle, `useful` where neither value is zero."""
    sets = x.shape[1] // pe.lanes
    yield Signals([[("tile", "set")]], np.arange(cycles)[:, None], max(1, (sets - 1).bit_length()))
    for row in range(tile.rows):
        for column in range(tile.cols):
            of_x, of_y = (column, row) if tile.x_on == "cols" else (row, column)
            idle = np.ones(x.shape[1], np.bool_) if of_x >= len(x) else is_zero(x[of_x]) | is_zero(parallel.rows[of_y])
            yield Signals(
                _lane_paths(row, column, pe.lanes, "state"),
                idle.reshape(sets, -1)[:cycles].astype(np.int8),
                texts=BUSY_STATES,
            )
