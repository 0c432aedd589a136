"""The signals of a tile pass: which set the tile is at, and whether a lane's pair has a zero."""

from collections.abc import Iterator

import numpy as np

from simhw.bfloat16 import BF16Array, is_zero
from simhw.pe.bitparallel.parameters import BitParallelPE, BitParallelTileParameters
from simhw.pe.passes import ParallelRows
from simhw.pe.signals import BUSY_STATES, Signals, lane_paths


def pass_signals(
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
                lane_paths(row, column, pe.lanes, "state"),
                idle.reshape(sets, -1)[:cycles].astype(np.int8),
                texts=BUSY_STATES,
            )
