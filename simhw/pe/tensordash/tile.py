"""A TensorDash tile: rows share a scheduled operand and a scheduler, columns the other operand, and all rows advance
together.

A one-sided schedule depends on the scheduled operand alone, so every further row of Y costs the simulator nothing.
Source: MICRO 2020; spec page tensordash.md, section 2.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.machine.values import TileParameters
from simhw.pe.exact import exact_products, overflow_count
from simhw.pe.passes import CELL_ROWS, ParallelRows, TilePasses, count_useful, nonzero_per_k
from simhw.pe.tensordash.kernel import AHEAD, LANES, PAPER, Masks, effectual_masks, options, schedule_tiles
from simhw.pe.tensordash.parameters import TensorDashPE


@dataclass(frozen=True)
class Prepared:
    """Rows of Y, and what two-sided schedules need of them.

    Attributes
    ----------
    parallel : ParallelRows
    masks : (tiles * columns, T + AHEAD) uint16 or None
        From `effectual_masks`.
    nonzero_rows : (K,) int64 or None
        How many rows have a non-zero value at each k.
    """

    parallel: ParallelRows
    masks: Masks | None = None
    nonzero_rows: npt.NDArray[np.int64] | None = None


class TensorDashTile:
    """A TensorDash tile; see `simhw.pe.passes.Tile`.

    ``useful`` counts pairs multiplied, ``idle`` the other lane slots of all PEs, those without rows included.
    ``row_sync_steps`` and ``skipped_steps`` are the spec's, per row of real X and pass of Y.
    """

    lanes: int = LANES
    vector_rows: int | None = None
    fixed_time = False

    def __init__(self, pe: TensorDashPE, tile: TileParameters) -> None:
        self.pe, self.tile = pe, tile
        self.tile_x: int = tile.rows
        self.tile_y: int = tile.cols
        self.two_sided = pe.sides == "two"
        self.needs_y = self.two_sided
        self.cell_rows = CELL_ROWS if self.two_sided else None
        self._options = options(pe)
        self._paper = np.array_equal(self._options, PAPER)

    def prepare(self, parallel: ParallelRows) -> Prepared:
        """Keep rows of Y; with two-sided schedules, their masks."""
        if not self.two_sided:
            return Prepared(parallel)
        masks, _ = effectual_masks(parallel.rows, self.tile.cols)
        return Prepared(parallel, masks, nonzero_per_k(parallel.rows))

    def run(self, x: BF16Array, prepared: Prepared, outputs: bool = False) -> TilePasses:
        """Run every row of X against the prepared rows of Y."""
        rows, cols = self.tile.rows, self.tile.cols
        real = prepared.parallel.real.reshape(-1, cols)
        masks, nonzeros = effectual_masks(x, rows)
        cycles, row_sync = self.schedule(masks, prepared.masks)
        if prepared.nonzero_rows is None:
            # A row's scheduler decides for all columns, and alike for every tile of Y.
            schedulers, alike = np.ones((1, 1), np.bool_), len(real)
            useful = nonzeros * int(real.sum())
        else:
            schedulers, alike = real, 1
            useful = count_useful(x, prepared.nonzero_rows)
        missing = len(masks) - len(x)
        row_sync[-1:, :, rows - missing :] = 0
        x_rows = np.full(len(cycles), rows)
        x_rows[-1:] -= missing
        skipped = masks.shape[1] - AHEAD - cycles
        durations = np.repeat(cycles, alike)
        counters: Counter[str] = Counter(
            useful=useful,
            row_sync_steps=int(row_sync.sum(axis=(0, 2))[schedulers].sum()) * alike,
            skipped_steps=int(x_rows @ skipped @ schedulers.sum(axis=1)) * alike,
            idle=rows * cols * LANES * int(durations.sum()) - useful,
        )
        read = exact_products(x, prepared.parallel.rows[prepared.parallel.real]) if outputs else None
        if read is not None:
            counters["overflows"] = overflow_count(read)
        return TilePasses(durations, counters, read)

    def schedule(
        self, x_masks: Masks, y_masks: Masks | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Cycles (tiles of X, tiles of Y) and row_sync_steps (tiles of X, tiles of Y, rows, columns), from masks of
        whole tiles; without those of Y for one column of one tile, which stands for all.
        """
        rows = self.tile.rows
        columns = 1 if y_masks is None else self.tile.cols
        tiles = len(x_masks) // rows, 1 if y_masks is None else len(y_masks) // columns
        cycles, row_sync = np.empty(tiles, np.int64), np.empty((*tiles, rows, columns), np.int64)
        schedule_tiles(
            x_masks.reshape(-1), None if y_masks is None else y_masks.reshape(-1), x_masks.shape[1], rows, columns,
            self.pe.depth, self._options, self._paper, cycles.reshape(-1), row_sync.reshape(-1),
        )  # fmt: skip
        return cycles, row_sync
