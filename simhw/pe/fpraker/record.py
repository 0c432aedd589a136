"""What a replay writes down of a tile pass of FPRaker, cycle by cycle."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simhw.pe.signals import NOTHING


class FPRakerRecord(NamedTuple):
    """An FPRaker tile pass.  Cycles are those of a PE's way through its sets, waiting for the next set left out.

    With ``sync: set`` and ``term`` a set ends for all PEs of a column at once, and waiting for its end is part of it.

    Attributes
    ----------
    state : (columns, cycles, rows, 8) int8
        Index of the lane-cycle class in `simhw.pe.fpraker.replay.COUNTERS`.
    offset : (columns, cycles, rows, 8) int32
        K of the term that is pending, NOTHING where the lane has none.
    fired : (columns, cycles, rows, 8) int8
        Which of its value's terms the lane fired, first is 0; -1 where it fired none.
    base : (columns, cycles, rows) int32
        The smallest pending K of the PE (window_on: position: the highest pending position), NOTHING where it has
        none.
    emax, register : (columns, sets + 1, rows) int32
        Sums of two biased exponents: what the set is aligned to, and the accumulator's as the set finds it (after the
        last set, as that leaves it); NOTHING for a zero.
    s, exponent : (columns, sets, rows) int64, int32
        The accumulator as each set leaves it, before a chunk's end moves it away: S, and its exponent as in `register`.
    output : (columns, sets, rows) uint16
        What would be read out of it.
    start, finish : (columns, rows, sets) int64
        First cycle of each set, and the one after its last, in cycles of the tile.
    """

    state: npt.NDArray[np.int8]
    offset: npt.NDArray[np.int32]
    fired: npt.NDArray[np.int8]
    base: npt.NDArray[np.int32]
    emax: npt.NDArray[np.int32]
    register: npt.NDArray[np.int32]
    s: npt.NDArray[np.int64]
    exponent: npt.NDArray[np.int32]
    output: npt.NDArray[np.uint16]
    start: npt.NDArray[np.int64]
    finish: npt.NDArray[np.int64]


def fpraker_record(columns: int, rows: int, lanes: int, sets: int, cycles: int, waiting: int) -> FPRakerRecord:
    """An empty record; lanes of which nothing is written are in the state `waiting`."""
    shape = columns, cycles, rows, lanes
    return FPRakerRecord(
        state=np.full(shape, waiting, np.int8),
        offset=np.full(shape, NOTHING, np.int32),
        fired=np.full(shape, -1, np.int8),
        base=np.full(shape[:3], NOTHING, np.int32),
        emax=np.full((columns, sets + 1, rows), NOTHING, np.int32),
        register=np.full((columns, sets + 1, rows), NOTHING, np.int32),
        s=np.zeros((columns, sets, rows), np.int64),
        exponent=np.full((columns, sets, rows), NOTHING, np.int32),
        output=np.zeros((columns, sets, rows), np.uint16),
        start=np.zeros((columns, rows, sets), np.int64),
        finish=np.zeros((columns, rows, sets), np.int64),
    )
