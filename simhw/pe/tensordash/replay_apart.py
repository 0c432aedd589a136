"""The replay of a tile whose schedulers do not wait for each other: one scheduler after another."""

from collections import Counter

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.machine.values import TileParameters
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.pe.tensordash.replay import LANES, TensorDashReplay


class ApartReplay:
    """Replays tile passes of a tile of schedulers apart."""

    def __init__(self, pe: TensorDashPE, tile: TileParameters) -> None:
        self.tile = tile
        self._columns = 1 if pe.sides == "two" else tile.cols
        self._one = TensorDashReplay(pe, TileParameters(rows=1, cols=self._columns))

    def tile_pass(
        self, x: BF16Array, y: BF16Array, real_y: npt.NDArray[np.bool_]
    ) -> tuple[int, Counter[str], BF16Array]:
        """As `simhw.pe.tensordash.replay.TensorDashReplay.tile_pass`."""
        outputs = np.zeros((len(x), len(y)), np.uint16)
        counters: Counter[str] = Counter(own_cycles=0)
        longest = 0
        for row in range(len(x)):
            for first in range(0, len(y), self._columns):
                part = slice(first, first + self._columns)
                cycles, counts, outputs[row, part] = self._one.tile_pass(x[row : row + 1], y[part], real_y[part])
                counters.update(counts)
                counters["own_cycles"] += cycles * int(real_y[part].sum())
                longest = max(longest, cycles)
        counters["idle"] = self.tile.rows * self.tile.cols * LANES * longest - counters["useful"]
        return longest, counters, outputs
