"""The columns of an FPRaker tile, compiled: each simulates its sets, then the tile's clock moves on over them."""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from simhw.jit import kernel
from simhw.pe.accumulator import read_out_rows
from simhw.pe.fpraker.clock import SETS_PER_ROUND, Waiting, advance
from simhw.pe.fpraker.coupled import SCRATCH_WORDS, coupled_sets, lay_out_walks
from simhw.pe.fpraker.independent import independent_sets
from simhw.pe.fpraker.kernel import LANES, Counts, column_max
from simhw.pe.fpraker.serial import lay_out_serial
from simhw.pe.layout import in_cache_lines
from simhw.pe.stack import store_signed
from simhw.pe.vector import WIDTH, load, signed_max
from simhw.pointers import data, onward, pointers


class Room(NamedTuple):
    """Memory that the kernel works in: one that allocates its own takes 0.3 s more to compile.

    Attributes
    ----------
    s, exponent, sums : (rows * WIDTH,)
        Accumulators of as many rows of x as are laid out at a time, and their float32 running sums.
    times : (columns * SETS_PER_ROUND * WIDTH,) words
        What each set takes.
    clocks : integers of twice the words' width
        As `simhw.pe.fpraker.clock.advance` takes them, one part behind the other.
    lanes : (SCRATCH_WORDS,) words
        Of a set in `coupled_sets`.
    """

    s: npt.NDArray[np.signedinteger]
    exponent: npt.NDArray[np.unsignedinteger]
    sums: npt.NDArray[np.float32]
    times: npt.NDArray[np.unsignedinteger]
    clocks: npt.NDArray[np.signedinteger]
    lanes: npt.NDArray[np.unsignedinteger]


def room_for(rows: int, waiting: Waiting, word: np.dtype[np.unsignedinteger]) -> Room:
    """Memory for so many rows of x at a time."""
    twice = np.dtype(f"i{2 * word.itemsize}")
    vectors = waiting.columns * (waiting.a_depth + 2) + waiting.b_depth + 1
    return Room(
        s=np.empty(rows * WIDTH, twice),
        exponent=np.empty(rows * WIDTH, word),
        sums=np.empty(rows * WIDTH, np.float32),
        times=np.empty(waiting.columns * SETS_PER_ROUND * WIDTH, word),
        clocks=np.empty(vectors * WIDTH, twice),
        lanes=in_cache_lines((SCRATCH_WORDS,), word),
    )


@numba.njit(inline="always")
def _run_tile(serial, walk, start, used, sets, exponents, significands, setup, waiting, room, clocks, row, finish):
    """A tile pass of `used` rows of x, a column each, against WIDTH parallel rows; gives the lane-cycles by class.

    The rows' sets begin with number `start` of `serial` and `walk`, and their accumulators with row number `row`.  Each
    PE's `finish` is that of its tile.
    """
    useful, shift_range, no_term, short = 0, 0, 0, 0
    for begin in range(0, sets, SETS_PER_ROUND):
        end = min(begin + SETS_PER_ROUND, sets)
        # Columns without a row of x take the least that a set can and hold nobody up.
        for column in range(used):
            at = (row + column) * WIDTH
            s, exponent, sums = onward(room.s, at), onward(room.exponent, at), onward(room.sums, at)
            first, own_begin = start + column * sets, column * SETS_PER_ROUND * WIDTH
            if walk is None:
                counts = independent_sets(
                    serial, begin, end, first, exponents, significands, setup, s, exponent, sums, room.times, own_begin
                )
            else:
                counts = coupled_sets(
                    serial, walk, begin, end, first, exponents, significands, setup, s, exponent, sums, room.times,
                    own_begin, room.lanes,
                )  # fmt: skip
            useful += counts.useful
            shift_range += counts.shift_range
            no_term += counts.no_term
            short += counts.exponent
        advance(room.times, used, begin, end - begin, waiting, setup.column, clocks)
    finished = clocks[0]
    latest = load(finished, 0)
    for column in range(1, used):
        latest = signed_max(latest, load(finished, column * WIDTH))
    store_signed(finish, 0, column_max(latest, setup.column) if waiting.own_pace else latest)
    return Counts(useful, shift_range, no_term, short)


@kernel
def tile_groups(
    x, serial, walk, exponents, significands, nonzero_rows, tables, setup, waiting, room, finish, outputs, keep
):
    """Tile passes of rows x against every group of parallel rows, and the read-out; gives the lane-cycles by class, the
    overflows and the terms.

    All arrays are contiguous.  `x` (products, n, K) has the rows that meet the groups: each product as many groups in
    turn.  As many rows of x as `room` has accumulators for are laid out at a time into `serial` and `walk`, and these
    meet every group before the next ones do.  `walk` is None for `independent_sets`, else `coupled_sets` runs: Numba
    compiles anew for that type, and of a branch on None only the side that is taken.  Either takes seconds to compile.

    Filled are `finish` (groups, tile passes of x, WIDTH), the time of each PE's tile, and `outputs` (groups, n, WIDTH),
    or where they are not to be kept, room for as many rows of one group as `room` is for.
    """
    useful, shift_range, no_term, short, overflows, terms = 0, 0, 0, 0, 0, 0
    products, rows, reduction = x.shape
    groups, sets, columns = finish.shape[0] // products, reduction // LANES, waiting.columns
    clock_words, at_a_time = len(room.clocks), len(room.s) // WIDTH
    serial, tables, room = pointers(serial), pointers(tables), pointers(room)
    walk = None if walk is None else pointers(walk)
    slowest = onward(room.clocks, columns * WIDTH)
    clocks = room.clocks, slowest, onward(slowest, (waiting.b_depth + 1) * WIDTH)
    for product in range(products):
        for first in range(0, rows, at_a_time):
            used = min(at_a_time, rows - first)
            own = onward(data(x), (product * rows + first) * reduction)
            terms += lay_out_serial(
                own, used, reduction, onward(data(nonzero_rows), product * reduction), tables, serial
            )
            if walk is not None:
                lay_out_walks(own, used, reduction, tables, serial, walk)
            for group in range(product * groups, (product + 1) * groups):
                for at in range(used * WIDTH):
                    room.s[at], room.exponent[at], room.sums[at] = 0, 0, 0
                at = group * reduction * WIDTH
                y_exponents, y_significands = onward(data(exponents), at), onward(data(significands), at)
                for row in range(0, used, columns):
                    for at in range(clock_words):
                        room.clocks[at] = 0
                    tile = group * finish.shape[1] + (first + row) // columns
                    counts = _run_tile(
                        serial, walk, row * sets, min(columns, used - row), sets, y_exponents, y_significands, setup,
                        waiting, room, clocks, row, onward(data(finish), tile * WIDTH),
                    )  # fmt: skip
                    useful += counts.useful
                    shift_range += counts.shift_range
                    no_term += counts.no_term
                    short += counts.exponent
                overflows += read_out_rows(
                    room.s, room.exponent, room.sums, setup.chunk_sets != 0, setup.fraction_bits,
                    onward(data(outputs), (group * rows + first) * WIDTH if keep else 0), used * WIDTH,
                )  # fmt: skip
    return Counts(useful, shift_range, no_term, short), overflows, terms
