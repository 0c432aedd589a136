"""An FPRaker tile: columns of PEs that share a serial operand, and how they wait for each other.

Rows of the serial operand X are spread over the tile's columns, rows of the parallel operand Y over its rows.  A
column moves on from a set when its slowest PE has finished.  Columns may run ahead of each other by a limited number
of sets, since a row of PEs shares each set of Y.  With ``sync: pe`` every PE goes at its own pace, as far as buffers
for both operands let it.  Source: MICRO 2021, section 3; spec page fpraker.md, sections 3 and 6.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.pe.fpraker.clock import Waiting
from simhw.pe.fpraker.columns import room_for, tile_groups
from simhw.pe.fpraker.coupled import walks
from simhw.pe.fpraker.kernel import LANES, Setup, recoding, word_of
from simhw.pe.fpraker.parameters import BIT_SLOTS, FPRakerPE, FPRakerTileParameters
from simhw.pe.fpraker.serial import ROUND_VALUES, serial_rows
from simhw.pe.layout import Prepared, lay_out, lay_out_stacked
from simhw.pe.passes import ParallelRows, TilePasses
from simhw.pe.vector import WIDTH


class FPRakerTile:
    """An FPRaker tile; see `simhw.pe.passes.Tile`.

    The lane-cycle classes are those of the spec page.  PEs without a row of X or Y are fed zeros: they cost the floor,
    as everybody does (nothing with ``empty_sets: skip``), and wait the rest of the time.  Decided: a set is empty in a
    PE where every lane has a zero; one whose terms are all out of bounds costs the floor, since the exponent block must
    find that out.  Term counters (`processed`, `skipped_zero`, `skipped_oob`) cover
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
        self._tables, self._word = recoding(pe), word_of(pe)
        # Kernels cut the window to what they hold.  The coupled one compares offsets, also those out of bounds:
        # products' exponents lie within 506 positions, and a register's not much above, so 1,024 reaches all.
        on_position, per_cycle = pe.window_on == "position", pe.rounding == "cycle"
        # `independent_sets` holds no distances of lanes, which rounding cycles need with the window on positions.
        coupled = tile.sync == "term" or pe.oob != "pe" or (on_position and per_cycle)
        self._coupled = coupled
        self._setup = Setup(
            threshold=pe.threshold,
            window=min(pe.shift_window, 1024),
            on_position=on_position if on_position or not coupled else None,
            fraction_bits=pe.accumulator_fraction_bits,
            product_unit=2.0 ** (pe.accumulator_fraction_bits - pe.threshold - 7),
            per_cycle=per_cycle if coupled or per_cycle else None,
            chunk_sets=0 if pe.chunk == "off" else pe.chunk // LANES,
            column=tile.rows,
            floor=tile.exponent_sharing,
            skip_empty=tile.empty_sets == "skip",
            shared_pointers=tile.sync == "term",
            own_pace=tile.sync == "pe",
            column_bounds=pe.oob == "column",
            no_bounds=pe.oob == "off",
        )
        own_pace = self._setup.own_pace
        self._waiting = Waiting(
            columns=tile.cols,
            a_depth=tile.buffers.a if own_pace else 0,
            b_depth=tile.buffers.b if own_pace else tile.run_ahead,
            own_pace=own_pace,
        )

    def prepare(self, parallel: ParallelRows) -> Prepared:
        """Lay out rows of Y, WIDTH side by side."""
        return lay_out(parallel, self._word)

    def run(self, x: BF16Array, prepared: Prepared, outputs: bool = False) -> TilePasses:
        """Run every row of X against the prepared rows of Y."""
        passes, read = self._run(x[None], prepared, outputs)
        return replace(passes, outputs=prepared.real_outputs(read)) if outputs else passes

    def run_stacked(self, x: BF16Array, y: BF16Array, real: npt.NDArray[np.bool_]) -> TilePasses:
        """Run every product's rows of X against its rows of Y; see `simhw.pe.passes.StackingTile`."""
        return self._run(x, lay_out_stacked(y, real, self._word), False)[0]

    def _run(self, x: BF16Array, prepared: Prepared, outputs: bool) -> tuple[TilePasses, BF16Array]:
        """Run rows of X (products, n, K); gives the outputs (groups, n, WIDTH) as well, where they are asked for."""
        tile, setup = self.tile, self._setup
        products, x_rows, reduction = x.shape
        sets = reduction // LANES
        x_tiles = -(-x_rows // tile.cols)
        # Room for a round's accumulators: those of all rows would be fresh memory in every unit.
        at_a_time = max(1, min(x_tiles, ROUND_VALUES // (reduction * tile.cols))) * tile.cols
        read = np.empty((prepared.groups, x_rows, WIDTH) if outputs else (1, at_a_time, WIDTH), np.uint16)
        finish = np.empty((prepared.groups, x_tiles, WIDTH), np.int64)
        counts, overflows, terms = tile_groups(
            np.ascontiguousarray(x),
            serial_rows(at_a_time * reduction),
            walks(at_a_time * reduction, self._tables.unary) if self._coupled else None,
            prepared.exponents,
            prepared.significands,
            prepared.nonzero_rows,
            self._tables,
            setup,
            self._waiting,
            room_for(at_a_time, self._waiting, self._word),
            finish,
            read,
            outputs,
        )
        rows = len(prepared.real)
        # The kernel charged an empty set's cost to lanes that belong to no tile, and to no column without a row of X.
        groups = prepared.groups // products
        missing = (x_tiles * tile.cols - x_rows) * rows - x_rows * (groups * WIDTH - rows)
        empty_set = 0 if setup.skip_empty else setup.floor
        counters = Counter(
            useful=counts.useful,
            shift_range=counts.shift_range,
            no_term=counts.no_term,
            exponent=counts.exponent + products * missing * sets * empty_set * LANES,
            overflows=overflows,
        )
        last = rows - (groups - 1) * WIDTH
        by_product = finish.reshape(products, groups, x_tiles, WIDTH)
        times = np.concatenate(
            [by_product[:, :-1, :, :: tile.rows].reshape(-1), by_product[:, -1, :, : last : tile.rows].reshape(-1)]
        )
        busy = sum(counters[name] for name in ("useful", "shift_range", "no_term", "exponent"))
        counters["inter_pe"] = tile.rows * tile.cols * LANES * int(times.sum()) - busy
        pairs = products * x_rows * int(prepared.real.sum()) * reduction
        counters["processed"] = counters["useful"]
        counters["skipped_zero"] = BIT_SLOTS * pairs - terms
        counters["skipped_oob"] = terms - counters["useful"]
        return TilePasses(times, counters), read
