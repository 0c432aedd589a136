"""A TensorDash tile whose schedulers do not wait for each other: no hardware, but what synchronising them is told from.

Each row (each PE, where both operands are scheduled) advances by itself and waits at the end of a pass alone.
"""

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.machine.values import TileParameters
from simhw.pe.passes import ParallelRows, TilePasses
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.pe.tensordash.tile import Prepared, TensorDashTile

OWN_CYCLES = "own_cycles"
"""The counter of what PEs with both rows take by themselves [PE cycles]."""


def alone(pe: TensorDashPE, tile: TileParameters) -> TileParameters:
    """The part of a tile that has one scheduler."""
    return TileParameters(rows=1, cols=1 if pe.sides == "two" else tile.cols)


class ApartTile:
    """A tile of schedulers apart; see `simhw.pe.passes.Tile`.

    Its passes and cells are those of the tile that it stands for, so that both meet the same rows.
    """

    def __init__(self, pe: TensorDashPE, tile: TileParameters) -> None:
        whole = TensorDashTile(pe, tile)
        self.lanes, self.tile_x, self.tile_y = whole.lanes, whole.tile_x, whole.tile_y
        self.needs_y, self.vector_rows = whole.needs_y, whole.vector_rows
        self.cell_rows, self.fixed_time = whole.cell_rows, whole.fixed_time
        self._one = TensorDashTile(pe, alone(pe, tile))

    def prepare(self, parallel: ParallelRows) -> Prepared:
        """Keep rows of Y, and their masks where the schedules need them."""
        return self._one.prepare(parallel)

    def run(self, x: BF16Array, prepared: Prepared, outputs: bool = False) -> TilePasses:
        """Run every row of X against the prepared rows of Y."""
        passes, real = self._one.run(x, prepared, outputs), prepared.parallel.real
        own = passes.durations.reshape(len(x), -1, self.tile_y // self._one.tile_y)
        # Every column of a scheduler's tile takes its time.
        columns = real.reshape(*own.shape[1:], self._one.tile_y).sum(axis=-1)
        durations = np.concatenate(
            [own[start : start + self.tile_x].max(axis=(0, 2)) for start in range(0, len(x), self.tile_x)]
        )
        counters = passes.counters
        counters[OWN_CYCLES] = int((own * columns).sum())
        slots = self.tile_x * self.tile_y * self.lanes * int(durations.sum())
        counters["idle"] = slots - counters["useful"]
        return TilePasses(durations, counters, passes.outputs)
