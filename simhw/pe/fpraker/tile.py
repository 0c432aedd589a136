"""An FPRaker tile: columns of PEs that share a serial operand, and how they wait for each other.

Rows of the serial operand X are spread over the tile's columns, rows of the parallel operand Y over its rows.  A
column moves on from a set when its slowest PE has finished.  Columns may run ahead of each other by a limited number
of sets, since a row of PEs shares each set of Y.  Source: MICRO 2021, section 3; spec page fpraker.md, section 3.
"""

from collections import Counter

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel
from simhw.pe.accumulator import fold_chunk, read_out_all
from simhw.pe.fpraker.coupled import SCRATCH_VECTORS, coupled_sets
from simhw.pe.fpraker.kernel import LANES, Counts, Setup, independent_sets, recoding, serial_code
from simhw.pe.fpraker.parameters import BIT_SLOTS, FPRakerPE, FPRakerTileParameters
from simhw.pe.layout import Prepared, lay_out
from simhw.pe.passes import ParallelRows, TilePasses
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
def _tile_groups(x, exponents, significands, tables, setup, columns, run_ahead, s, exponent, sums, finish):
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


class FPRakerTile:
    """An FPRaker tile; see `simhw.pe.passes.Tile`.

    The lane-cycle classes are those of the spec page.  PEs without a row of X or Y are fed zeros: they cost the floor,
    as everybody does, and wait the rest of the time.  Term counters (`processed`, `skipped_zero`, `skipped_oob`) cover
    PEs with both rows, padding of K included.  `overflows` counts outputs that read as an infinity.
    """

    lanes: int = LANES
    needs_y = True
    vector_rows: int | None = WIDTH
    cell_rows: int | None = WIDTH
    fixed_time = False

    def __init__(self, pe: FPRakerPE, tile: FPRakerTileParameters) -> None:
        self.pe, self.tile = pe, tile
        self.tile_x: int = tile.cols
        self.tile_y: int = tile.rows
        self._tables = recoding(pe)
        word = self._tables.terms.dtype
        bits = word.itemsize * 8
        # Beyond the word's width a window reaches everything that is in bounds.  The coupled kernel compares offsets,
        # also those out of bounds: products' exponents lie within 506 positions, and a register's not much above, so
        # 1,024 reaches all.
        self._setup = Setup(
            threshold=pe.threshold,
            window=min(pe.shift_window, 1024),
            reach=(1 << min(pe.shift_window + 1, bits)) - 1,
            fraction_bits=pe.accumulator_fraction_bits,
            per_cycle=pe.rounding == "cycle",
            chunk_sets=0 if pe.chunk == "off" else pe.chunk // LANES,
            column=tile.rows,
            floor=tile.exponent_sharing,
            shared_pointers=tile.sync == "term",
            column_bounds=pe.oob == "column",
        )

    def prepare(self, parallel: ParallelRows) -> Prepared:
        """Lay out rows of Y, WIDTH side by side."""
        return lay_out(parallel, self._tables.terms.dtype)

    def run(self, x: BF16Array, prepared: Prepared, outputs: bool = False) -> TilePasses:
        """Run every row of X against the prepared rows of Y."""
        tile, setup = self.tile, self._setup
        sets = x.shape[1] // LANES
        x_tiles = -(-len(x) // tile.cols)
        word = self._tables.terms.dtype
        sum_type = np.int32 if self.pe.narrow else np.int64
        shape = (prepared.groups, len(x), WIDTH)
        s, exponent = np.zeros(shape, sum_type), np.zeros(shape, word)
        sums = np.zeros(shape, np.float32)
        finish = np.empty((prepared.groups, x_tiles, WIDTH), np.int64)
        counts = _tile_groups(
            x,
            prepared.exponents,
            prepared.significands,
            self._tables,
            setup,
            tile.cols,
            tile.run_ahead,
            s,
            exponent,
            sums,
            finish,
        )
        read = np.empty(shape, np.uint16)
        flat = -1, WIDTH
        overflows = read_out_all(
            s.reshape(flat),
            exponent.reshape(flat),
            sums.reshape(flat),
            bool(setup.chunk_sets),
            setup.fraction_bits,
            read.reshape(flat),
        )
        rows = len(prepared.real)
        # The kernel charged the floor to lanes that belong to no tile, and to no column without a row of X.
        missing = (x_tiles * tile.cols - len(x)) * rows - len(x) * (prepared.groups * WIDTH - rows)
        counters = Counter(
            useful=counts.useful,
            shift_range=counts.shift_range,
            no_term=counts.no_term,
            exponent=counts.exponent + missing * sets * setup.floor * LANES,
            overflows=overflows,
        )
        last = rows - (prepared.groups - 1) * WIDTH
        times = np.concatenate(
            [finish[:-1, :, :: tile.rows].reshape(-1), finish[-1, :, : last : tile.rows].reshape(-1)]
        )
        busy = sum(counters[name] for name in ("useful", "shift_range", "no_term", "exponent"))
        counters["inter_pe"] = tile.rows * tile.cols * LANES * int(times.sum()) - busy
        pairs = len(x) * int(prepared.real.sum()) * sets * LANES
        terms = int(_terms_per_k(x, self._tables.counts) @ prepared.nonzero_rows)
        counters["processed"] = counters["useful"]
        counters["skipped_zero"] = BIT_SLOTS * pairs - terms
        counters["skipped_oob"] = terms - counters["useful"]
        return TilePasses(times, counters, prepared.real_outputs(read) if outputs else None)


@kernel
def _terms_per_k(x: BF16Array, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Terms of the rows of X at each k."""
    terms = np.zeros(x.shape[1], np.int64)
    for row in range(x.shape[0]):
        for k in range(x.shape[1]):
            terms[k] += counts[serial_code(x[row, k])[1]]
    return terms
