"""A bit-parallel tile: every PE takes one set a cycle whatever its values, so cycles follow from the shapes.

Source: spec pages fpraker.md, section 4, and tensordash.md, section 3 (the dense machine).
"""

from collections import Counter

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.pe.accumulator import read_out_all
from simhw.pe.bitparallel.kernel import multiply_rows
from simhw.pe.bitparallel.parameters import BitParallelPE, BitParallelTileParameters
from simhw.pe.layout import Prepared, lay_out
from simhw.pe.passes import CELL_ROWS, ParallelRows, TilePasses, count_useful
from simhw.pe.vector import WIDTH


class BitParallelTile:
    """A bit-parallel tile; see `simhw.pe.passes.Tile`.

    ``useful`` counts lanes whose both operands are not zero, ``idle`` the other lane slots of all PEs.
    """

    needs_y = True
    vector_rows: int | None = None
    cell_rows: int | None = CELL_ROWS
    fixed_time = True

    def __init__(self, pe: BitParallelPE, tile: BitParallelTileParameters) -> None:
        self.pe, self.tile = pe, tile
        self.lanes: int = pe.lanes
        self.tile_x: int = tile.cols if tile.x_on == "cols" else tile.rows
        self.tile_y: int = tile.rows if tile.x_on == "cols" else tile.cols

    def prepare(self, parallel: ParallelRows) -> Prepared:
        """Lay out rows of Y, WIDTH side by side."""
        return lay_out(parallel, np.uint32)

    def run(self, x: BF16Array, prepared: Prepared, outputs: bool = False) -> TilePasses:
        """Run every row of X against the prepared rows of Y."""
        pe = self.pe
        passes = -(-len(x) // self.tile_x) * (len(prepared.real) // self.tile_y)
        durations = np.full(passes, x.shape[1] // self.lanes, np.int64)
        useful = count_useful(x, prepared.nonzero_rows[0])
        counters: Counter[str] = Counter(
            useful=useful, idle=self.tile_x * self.tile_y * self.lanes * int(durations.sum()) - useful
        )
        if not outputs:
            return TilePasses(durations, counters)
        chunk_sets = 0 if pe.chunk == "off" else pe.chunk // self.lanes
        shape = (prepared.groups, len(x), WIDTH)
        read = np.empty(shape, np.uint16)
        for group in range(prepared.groups):
            s, exponent = np.zeros(shape[1:], np.int64), np.zeros(shape[1:], np.uint32)
            sums = np.zeros(shape[1:], np.float32)
            multiply_rows(
                x, prepared.exponents[group], prepared.significands[group], self.lanes, pe.accumulator_fraction_bits,
                pe.align_range, chunk_sets, s, exponent, sums,
            )  # fmt: skip
            counters["overflows"] += read_out_all(
                s, exponent, sums, bool(chunk_sets), pe.accumulator_fraction_bits, read[group]
            )
        return TilePasses(durations, counters, prepared.real_outputs(read))
