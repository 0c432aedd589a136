"""The columns of an FPRaker tile, compiled: each simulates its sets, then the tile's clock moves on over them."""

import numba
import numpy as np

from simhw.jit import kernel, part
from simhw.pe.accumulator import read_out_all
from simhw.pe.fpraker.clock import SETS_PER_ROUND, advance_columns, advance_pes
from simhw.pe.fpraker.coupled import SCRATCH_WORDS, coupled_sets, lay_out_walks, walks
from simhw.pe.fpraker.independent import independent_sets
from simhw.pe.fpraker.kernel import LANES, Counts, serial_code
from simhw.pe.fpraker.serial import lay_out_serial
from simhw.pe.vector import CACHE_LINE_BYTES, WIDTH


@numba.njit(inline="always")
def _slowest_rows(finish, rows):
    """Each PE of a vector gets the latest of its tile's `rows` finish times."""
    for first in range(0, WIDTH, rows):
        latest = finish[first]
        for lane in range(first + 1, first + rows):
            latest = max(latest, finish[lane])
        for lane in range(first, first + rows):
            finish[lane] = latest


@numba.njit(inline="always")
def _tile_columns(x, serial, walk, exponents, significands, setup, waiting, coupled, s, exponent, sums, finish):
    """Tile passes of rows `x` (n, K), a column each, against WIDTH parallel rows; gives the lane-cycles by class.

    Fills, per row of x and PE of the vector, `s` and `exponent` (the accumulators, (n, WIDTH)) and `sums` (the float32
    running sums where chunking is on), and `finish` (tile passes of x, WIDTH): the time of each PE's tile.

    `serial` and `walk` are x as the kernels take it.  `coupled` is None for `independent_sets`, True for
    `coupled_sets`: Numba compiles anew for each of these types, and of a branch on None only the side that is taken.
    Either kernel takes seconds to compile.
    """
    sets, columns = x.shape[1] // LANES, waiting.columns
    kind, sum_kind = exponent.dtype, s.dtype
    times = np.empty(columns * SETS_PER_ROUND * WIDTH, kind)
    scratch = np.empty(SCRATCH_WORDS + CACHE_LINE_BYTES, kind)
    scratch = scratch[(-scratch.ctypes.data % CACHE_LINE_BYTES) // scratch.itemsize :]
    finished = np.empty(columns * WIDTH, sum_kind)
    slowest = np.empty((waiting.b_depth + 1) * WIDTH, sum_kind)
    slowest_of_column = np.empty(columns * (waiting.a_depth + 1) * WIDTH, sum_kind)
    useful, shift_range, no_term, short = 0, 0, 0, 0
    for tile in range(finish.shape[0]):
        finished[:] = 0
        slowest[:] = 0
        slowest_of_column[:] = 0
        row = tile * columns
        # Columns without a row of x take the least that a set can and hold nobody up.
        used = min(columns, x.shape[0] - row)
        for begin in range(0, sets, SETS_PER_ROUND):
            end = min(begin + SETS_PER_ROUND, sets)
            for column in range(used):
                own_s, own_exponent, own_sums = s[row + column], exponent[row + column], sums[row + column]
                own_begin = column * SETS_PER_ROUND * WIDTH
                if coupled is None:
                    counts = independent_sets(
                        serial, begin, end, (row + column) * sets, exponents, significands, setup,
                        own_s, own_exponent, own_sums, times, own_begin,
                    )  # fmt: skip
                else:
                    counts = coupled_sets(
                        serial, walk, begin, end, (row + column) * sets, exponents, significands, setup,
                        own_s, own_exponent, own_sums, times, own_begin, scratch,
                    )  # fmt: skip
                useful += counts.useful
                shift_range += counts.shift_range
                no_term += counts.no_term
                short += counts.exponent
            if waiting.own_pace:
                advance_pes(
                    times, used, begin, end - begin, waiting, setup.column, finished, slowest, slowest_of_column
                )
            else:
                advance_columns(times, used, begin, end - begin, waiting, finished, slowest)
        for lane in range(WIDTH):
            finish[tile, lane] = 0
            for column in range(columns):
                finish[tile, lane] = max(finish[tile, lane], finished[column * WIDTH + lane])
        if waiting.own_pace:
            _slowest_rows(finish[tile], setup.column)
    return Counts(useful, shift_range, no_term, short)


@part
def _terms(x, counts, nonzero_rows):
    """Terms of rows x (n, K), each for every parallel row that is not zero at its k."""
    terms = 0
    for row in range(x.shape[0]):
        for k in range(x.shape[1]):
            terms += counts[serial_code(x[row, k])[1]] * nonzero_rows[k]
    return terms


@kernel
def tile_groups(
    x, serial, exponents, significands, nonzero_rows, tables, setup, waiting, coupled, s, exponent, sums, finish,
    outputs, keep,
):  # fmt: skip
    """`_tile_columns` of every group of parallel rows, whose arrays have a leading axis of groups, and the read-out;
    gives the lane-cycles by class, the overflows and the terms.

    `x` (products, n, K) has the rows that meet them: each product as many groups in turn.  Rows of x are laid out some
    tiles at a time into `serial`, and these meet every group before the next ones do.  `s`, `exponent` and `sums` are
    room for the accumulators of so many tiles of x.  `outputs` (groups, n, WIDTH) is filled, or where they are not to
    be kept, room for as many rows of one group.
    """
    useful, shift_range, no_term, short, overflows, terms = 0, 0, 0, 0, 0, 0
    tiles = s.shape[0] // waiting.columns
    groups = exponents.shape[0] // x.shape[0]
    walk = None if coupled is None else walks(len(serial.terms), tables.unary)
    for product in range(x.shape[0]):
        own = x[product]
        terms += _terms(own, tables.counts, nonzero_rows[product])
        for tile in range(0, finish.shape[1], tiles):
            rows = slice(tile * waiting.columns, (tile + tiles) * waiting.columns)
            lay_out_serial(own[rows], tables, serial)
            if coupled is not None:
                lay_out_walks(own[rows], tables, serial, walk)
            used = own[rows].shape[0]
            for group in range(product * groups, (product + 1) * groups):
                for row in range(used):
                    for lane in range(WIDTH):
                        s[row, lane], exponent[row, lane], sums[row, lane] = 0, 0, 0
                counts = _tile_columns(
                    own[rows], serial, walk, exponents[group], significands[group], setup, waiting, coupled,
                    s, exponent, sums, finish[group, tile : tile + tiles],
                )  # fmt: skip
                useful += counts.useful
                shift_range += counts.shift_range
                no_term += counts.no_term
                short += counts.exponent
                first = tile * waiting.columns if keep else 0
                overflows += read_out_all(
                    s, exponent, sums, setup.chunk_sets != 0, setup.fraction_bits,
                    outputs[group if keep else 0, first : first + used],
                )  # fmt: skip
    return Counts(useful, shift_range, no_term, short), overflows, terms
