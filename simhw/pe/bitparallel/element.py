"""The bit-parallel processing element as a whole."""

from collections.abc import Iterator
from functools import cached_property

from simhw.bfloat16 import BF16Array
from simhw.pe.bitparallel.parameters import BitParallelValues
from simhw.pe.bitparallel.replay import BitParallelReplay
from simhw.pe.bitparallel.signals import pass_signals
from simhw.pe.bitparallel.structure import structure
from simhw.pe.bitparallel.tile import BitParallelTile
from simhw.pe.passes import ParallelRows
from simhw.pe.protocol import LaneClass, ProcessingElement
from simhw.pe.signals import Signals
from simhw.pe.structure import Structure


class BitParallel(ProcessingElement[BitParallelValues]):
    """Every lane multiplies a pair in every cycle: the baseline of the other machines."""

    kind = "bitparallel"
    values_model = BitParallelValues
    lane_classes = (
        LaneClass("useful", "a pair was multiplied that has no zero", "#009E73"),
        LaneClass("idle", "a value of the pair was zero, or the PE had no row to work on", "#DDDDDD"),
    )

    @cached_property
    def tile(self) -> BitParallelTile:
        return BitParallelTile(self.values.pe, self.values.tile)

    def replay(self) -> BitParallelReplay:
        return BitParallelReplay(self.values.pe, self.values.tile)

    def signals(self, x: BF16Array, parallel: ParallelRows, cycles: int) -> Iterator[Signals]:
        return pass_signals(self.values.pe, self.values.tile, x, parallel, cycles)

    def structure(self) -> Structure:
        return structure(self.values)
