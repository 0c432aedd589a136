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
from simhw.pe.passes import CELL_ROWS, ParallelRows, TilePasses
from simhw.pe.tensordash.kernel import LANES, LEVELS, MAX_DEPTH, effectual_masks, options, schedule_tiles
from simhw.pe.tensordash.parameters import TensorDashPE


@dataclass(frozen=True)
class Prepared:
    """Rows of Y, and their masks where the schedule needs them."""

    parallel: ParallelRows
    masks: npt.NDArray[np.uint16] | None


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

    def prepare(self, parallel: ParallelRows) -> Prepared:
        """Keep rows of Y; with two-sided schedules, their masks."""
        return Prepared(parallel, effectual_masks(parallel.rows) if self.two_sided else None)

    def run(self, x: BF16Array, prepared: Prepared, outputs: bool = False) -> TilePasses:
        """Run every row of X against the prepared rows of Y."""
        real = prepared.parallel.real
        masks = effectual_masks(x)
        if self.two_sided:
            durations, counters = self._two_sided(masks, prepared)
        else:
            durations, counters = self._one_sided(masks, len(real) // self.tile.cols, int(real.sum()))
        counters["idle"] = self.tile.rows * self.tile.cols * LANES * int(durations.sum()) - counters["useful"]
        read = exact_products(x, prepared.parallel.rows[real]) if outputs else None
        if read is not None:
            counters["overflows"] = overflow_count(read)
        return TilePasses(durations, counters, read)

    def schedule(self, masks: npt.NDArray[np.uint16], rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Cycles (tiles,) and row_sync_steps (tiles, rows) of tiles of ``rows`` rows each, from their masks."""
        steps = masks.shape[1] - MAX_DEPTH
        tiles = len(masks) // rows
        cycles, row_sync = np.zeros(tiles, np.int64), np.zeros((tiles, rows), np.int64)
        schedule_tiles(masks, rows, steps, self._options, LEVELS, self.pe.depth, cycles, row_sync)
        return cycles, row_sync

    def _one_sided(
        self, masks: npt.NDArray[np.uint16], y_tiles: int, y_rows: int
    ) -> tuple[npt.NDArray[np.int64], Counter[str]]:
        rows, steps = self.tile.rows, masks.shape[1] - MAX_DEPTH
        tiles = -(-len(masks) // rows)
        filled = np.zeros((tiles * rows, masks.shape[1]), np.uint16)
        filled[: len(masks)] = masks
        cycles, row_sync = self.schedule(filled, rows)
        counters: Counter[str] = Counter(
            useful=int(np.bitwise_count(masks).sum(dtype=np.int64)) * y_rows,
            row_sync_steps=int(row_sync.reshape(-1)[: len(masks)].sum()) * y_tiles,
            skipped_steps=int((steps - np.repeat(cycles, rows)[: len(masks)]).sum()) * y_tiles,
        )
        return np.repeat(cycles, y_tiles), counters

    def _two_sided(
        self, masks: npt.NDArray[np.uint16], prepared: Prepared
    ) -> tuple[npt.NDArray[np.int64], Counter[str]]:
        """Every PE has its own scheduler: the rows that advance together are the PEs of the tile."""
        rows, cols, steps = self.tile.rows, self.tile.cols, masks.shape[1] - MAX_DEPTH
        y_masks, real = prepared.masks, prepared.parallel.real
        assert y_masks is not None
        y_tiles = len(real) // cols
        durations = []
        counters: Counter[str] = Counter()
        for start in range(0, len(masks), rows):
            part = np.zeros((rows, masks.shape[1]), np.uint16)
            part[: len(masks) - start] = masks[start : start + rows]
            # (tile of Y, row, column, step): an effectual pair is one where both operands are not zero.
            pairs = part[None, :, None, :] & y_masks.reshape(y_tiles, 1, cols, -1)
            cycles, row_sync = self.schedule(
                np.ascontiguousarray(pairs.reshape(y_tiles * rows * cols, -1)), rows * cols
            )
            exists = np.logical_and(
                np.arange(start, start + rows)[None, :, None] < len(masks), real.reshape(y_tiles, 1, cols)
            )
            durations.append(cycles)
            counters["useful"] += int(np.bitwise_count(pairs).sum(dtype=np.int64))
            counters["row_sync_steps"] += int(row_sync.reshape(exists.shape)[exists].sum())
            counters["skipped_steps"] += int(((steps - cycles)[:, None, None] * exists).sum())
        return np.concatenate(durations), counters
