"""The columns of an FPRaker tile, compiled: each simulates its sets, then the tile's clock moves on over them."""

import numba
import numpy as np

from simhw.jit import kernel
from simhw.pe.accumulator import fold_chunk
from simhw.pe.fpraker.coupled import SCRATCH_VECTORS, coupled_sets
from simhw.pe.fpraker.kernel import LANES, Counts, independent_sets
from simhw.pe.vector import WIDTH, load, signed_max, spread, store, widen

SETS_PER_ROUND = 128
"""Sets that a column simulates before the tile's clock moves on over them: their times stay in the second-level cache.
"""


@numba.njit
def _advance_clock(times, columns, first, count, floor, run_ahead, finished, slowest):
    """Move every column's clock over `count` sets from set number `first`.

    start[c][s] = max(finish[c][s - 1], max over columns k of finish[k][s - 1 - run_ahead]); a set takes its column's
    time, at least `floor`.  `finished` holds a vector of finish times per column; `slowest` is a ring of run_ahead + 1
    vectors, the maxima over the columns after each of the last sets.
    """
    for index in range(count):
        # The ring's slot of this set still holds the maximum of set s - run_ahead - 1: what the columns wait for.
        slot = (first + index) % (run_ahead + 1) * WIDTH
        released = load(slowest, slot)
        latest = spread(0, released)
        for column in range(columns):
            time = load(times, (column * SETS_PER_ROUND + index) * WIDTH)
            time = widen(signed_max(time, spread(floor, time)))
            finish = signed_max(load(finished, column * WIDTH), released) + time
            store(finished, column * WIDTH, finish)
            latest = signed_max(latest, finish)
        store(slowest, slot, latest)


@numba.njit
def _tile_columns(x, exponents, significands, tables, setup, columns, run_ahead, s, exponent, sums, finish):
    """Tile passes of rows `x` (n, K), `columns` at a time, against WIDTH parallel rows; gives the lane-cycles by class.

    Fills, per row of x and PE of the vector, `s` and `exponent` (the accumulators, (n, WIDTH)) and `sums` (the float32
    running sums where chunking is on), and `finish` (tile passes of x, WIDTH): the time of each PE's tile.
    """
    sets = x.shape[1] // LANES
    kind, sum_kind = exponent.dtype, s.dtype
    times = np.empty(columns * SETS_PER_ROUND * WIDTH, kind)
    scratch = np.empty(SCRATCH_VECTORS * LANES * WIDTH, kind)
    finished = np.empty(columns * WIDTH, sum_kind)
    slowest = np.empty((run_ahead + 1) * WIDTH, sum_kind)
    step = setup.chunk_sets if setup.chunk_sets else SETS_PER_ROUND
    useful, shift_range, no_term, short = 0, 0, 0, 0
    for tile in range(finish.shape[0]):
        finished[:] = 0
        slowest[:] = 0
        row = tile * columns
        used = min(columns, x.shape[0] - row)
        # Columns without a row of x take the floor for every set and hold nobody up.
        times[:] = 0
        for begin in range(0, sets, SETS_PER_ROUND):
            end = min(begin + SETS_PER_ROUND, sets)
            for column in range(used):
                own_s, own_exponent, own_sums = s[row + column], exponent[row + column], sums[row + column]
                for first in range(begin, end, step):
                    last = min(first + step, end)
                    at = (column * SETS_PER_ROUND + first - begin) * WIDTH
                    if setup.shared_pointers or setup.column_bounds:
                        new_s, new_exponent, counts = coupled_sets(
                            x[row + column], first, last, exponents, significands, tables, setup,
                            load(own_s, 0), load(own_exponent, 0), times, at, scratch,
                        )  # fmt: skip
                    else:
                        new_s, new_exponent, counts = independent_sets(
                            x[row + column], first, last, exponents, significands, tables, setup,
                            load(own_s, 0), load(own_exponent, 0), times, at,
                        )  # fmt: skip
                    store(own_s, 0, new_s)
                    store(own_exponent, 0, new_exponent)
                    useful += counts.useful
                    shift_range += counts.shift_range
                    no_term += counts.no_term
                    short += counts.exponent
                    if setup.chunk_sets:
                        for lane in range(WIDTH):
                            own_sums[lane] = fold_chunk(
                                own_s[lane], own_exponent[lane], setup.fraction_bits, own_sums[lane]
                            )
                            own_s[lane] = 0
                            own_exponent[lane] = 0
            _advance_clock(times, columns, begin, end - begin, setup.floor, run_ahead, finished, slowest)
        for lane in range(WIDTH):
            finish[tile, lane] = 0
            for column in range(columns):
                finish[tile, lane] = max(finish[tile, lane], finished[column * WIDTH + lane])
    return Counts(useful, shift_range, no_term, short)


@kernel
def tile_groups(x, exponents, significands, tables, setup, columns, run_ahead, s, exponent, sums, finish):
    """`_tile_columns` of every group of parallel rows, whose arrays have a leading axis of groups."""
    useful, shift_range, no_term, short = 0, 0, 0, 0
    for group in range(exponents.shape[0]):
        counts = _tile_columns(
            x, exponents[group], significands[group], tables, setup, columns, run_ahead,
            s[group], exponent[group], sums[group], finish[group],
        )  # fmt: skip
        useful += counts.useful
        shift_range += counts.shift_range
        no_term += counts.no_term
        short += counts.exponent
    return Counts(useful, shift_range, no_term, short)
