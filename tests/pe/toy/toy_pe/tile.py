"""A tile of toy PEs: its rows take rows of X, its columns rows of Y; it is done when its slowest row is."""

from collections import Counter

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.machine.values import TileParameters
from simhw.pe.exact import exact_products, overflow_count
from simhw.pe.passes import ParallelRows, TilePasses
from toy_pe.kernel import full_sets
from toy_pe.parameters import ToyParameters


class ToyTile:
    """See `simhw.pe.passes.Tile`."""

    needs_y = False
    vector_rows = None
    cell_rows = None
    fixed_time = False

    def __init__(self, pe: ToyParameters, tile: TileParameters) -> None:
        self.pe, self.tile = pe, tile
        self.lanes: int = pe.lanes
        self.tile_x, self.tile_y = tile.rows, tile.cols

    def prepare(self, parallel: ParallelRows) -> ParallelRows:
        return parallel

    def run(self, x: BF16Array, prepared: ParallelRows, outputs: bool = False) -> TilePasses:
        sets = x.shape[1] // self.lanes
        full = full_sets(x, self.lanes)
        worked = full + self.pe.empty_set_cycles * (sets - full)
        tiles = -(-len(x) // self.tile_x)
        filled = np.zeros(tiles * self.tile_x, np.int64)
        filled[: len(x)] = worked
        # A pass takes a cycle even if there is nothing to do in it.
        durations = np.maximum(filled.reshape(tiles, -1).max(axis=1), 1).repeat(len(prepared.real) // self.tile_y)
        y_rows, nonzero = int(prepared.real.sum()), int(np.count_nonzero(x & 0x7F80))
        counters = Counter(useful=nonzero * y_rows, zero=(int(worked.sum()) * self.lanes - nonzero) * y_rows)
        lane_cycles = self.tile_x * self.tile_y * self.lanes * int(durations.sum())
        counters["waiting"] = lane_cycles - counters["useful"] - counters["zero"]
        counters["skipped_sets"] = int((sets - worked).sum()) * y_rows
        read = exact_products(x, prepared.rows[prepared.real]) if outputs else None
        if read is not None:
            counters["overflows"] = overflow_count(read)
        return TilePasses(durations, counters, read)
