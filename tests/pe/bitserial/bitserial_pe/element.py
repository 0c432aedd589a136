"""A bit-serial PE: in a cycle each lane multiplies a value of Y by one bit of the significand of its value of X.

A set is done when its longest significand is, so short significands make it fast.  A row of the tile shares X; the tile
waits for its slowest row.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np

from bitserial_pe.kernel import set_cycles
from bitserial_pe.replay import BitSerialReplay
from simhw.bfloat16 import BF16Array, is_zero
from simhw.machine.values import MachineValues, PEParameters, TileParameters
from simhw.pe.exact import exact_products, overflow_count
from simhw.pe.operand import OperandChoice, both_choices
from simhw.pe.passes import ParallelRows, TilePasses
from simhw.pe.protocol import LaneClass, ProcessingElement
from simhw.pe.signals import NOTHING, Signals
from simhw.trace.layer import Layer, Operation


class BitSerialParameters(PEParameters):
    kind: Literal["bitserial"]
    lanes: Literal[4, 8]


class BitSerialValues(MachineValues):
    pe: BitSerialParameters


class BitSerialTile:
    """See `simhw.pe.passes.Tile`."""

    needs_y, vector_rows, cell_rows, fixed_time = False, None, None, False

    def __init__(self, pe: BitSerialParameters, tile: TileParameters) -> None:
        self.lanes: int = pe.lanes
        self.tile_x, self.tile_y = tile.rows, tile.cols

    def prepare(self, parallel: ParallelRows) -> ParallelRows:
        return parallel

    def run(self, x: BF16Array, prepared: ParallelRows, outputs: bool = False) -> TilePasses:
        worked = set_cycles(x, self.lanes).sum(axis=1)
        filled = np.zeros(-(-len(x) // self.tile_x) * self.tile_x, np.int64)
        filled[: len(x)] = worked
        # Every tile of X meets every tile of Y.
        durations = filled.reshape(-1, self.tile_x).max(axis=1).repeat(len(prepared.real) // self.tile_y)
        y_rows = int(prepared.real.sum())
        ones = int(np.bitwise_count(np.where(is_zero(x), 0, 0x80 | (x & 0x7F))).sum())
        counters = Counter(useful=ones * y_rows, no_bit=(int(worked.sum()) * self.lanes - ones) * y_rows)
        counters["waiting"] = self.tile_x * self.tile_y * self.lanes * int(durations.sum()) - counters.total()
        read = exact_products(x, prepared.rows[prepared.real]) if outputs else None
        if read is not None:
            counters["overflows"] = overflow_count(read)
        return TilePasses(durations, counters, read)


class BitSerial(ProcessingElement[BitSerialValues]):
    """The PE as simhw asks for it."""

    kind, values_model, operand_role = "bitserial", BitSerialValues, "serial"
    lane_classes = (
        LaneClass("useful", "a bit that is one was multiplied and added", "#009E73"),
        LaneClass("no_bit", "its bit was zero, or it had none left while another lane of its set had", "#E69F00"),
        LaneClass("waiting", "the row had finished, or there was no row", "#DDDDDD"),
    )

    @cached_property
    def tile(self) -> BitSerialTile:
        return BitSerialTile(self.values.pe, self.values.tile)

    def replay(self) -> BitSerialReplay:
        return BitSerialReplay(self.values.pe.lanes, self.values.tile)

    def choose(self, layer: Layer, operation: Operation) -> list[OperandChoice]:
        """W is serial where there is one: it is the tensor that a technique can shorten."""
        own, other = both_choices(operation)
        return [other if other.tensor == "w" else own]

    def signals(self, x: BF16Array, parallel: ParallelRows, cycles: int) -> Iterator[Signals]:
        """The set that each row of PEs works on."""
        for row, durations in enumerate(set_cycles(x, self.values.pe.lanes)):
            at = np.full((cycles, 1), NOTHING, np.int64)
            order = np.arange(len(durations)).repeat(durations)[:cycles]
            at[: len(order), 0] = order
            yield Signals([[("tile", f"row_{row}", "set")]], at, max(1, int(len(durations) - 1).bit_length()))
