"""A transposer: takes square blocks of values row by row, and gives them column by column.

It holds two blocks.  One comes in while the other goes out: of blocks back to back, a row and a column move in every
cycle.  A block's registers need no address: rows move up by a place as they come in, and columns to the left as they
go out.
TensorDash has blocks of 16 x 16 and FPRaker of 8 x 8 (spec pages tensordash.md, section 3, and fpraker.md, section 4).
TensorDash's transposers are given as 1 KB, which are two blocks of bfloat16; the second one is decided.  What they take
of the chip is published too, and is that of a memory: flip-flops, as here, take several times as much.
"""

from itertools import pairwise
from typing import Literal

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out


class Block(wiring.Component):
    """Registers of side x side values.

    Attributes
    ----------
    row, take : In
        A row, which comes in at the bottom in a cycle with `take`.
    column, give : Out, In
        The leftmost column, which goes out in a cycle with `give`.  A cycle has one of both at most.
    """

    def __init__(self, side: int, width: int) -> None:
        self.side = side
        line = ArrayLayout(width, side)
        self.values = [[Signal(width, name=f"value_{i}_{j}") for j in range(side)] for i in range(side)]
        super().__init__({"row": In(line), "take": In(1), "column": Out(line), "give": In(1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        with m.If(self.take):
            for upper, lower in zip(self.values, [*self.values[1:], self.row], strict=True):
                m.d.sync += [upper[j].eq(lower[j]) for j in range(self.side)]
        with m.Elif(self.give):
            for line in self.values:
                m.d.sync += [left.eq(right) for left, right in pairwise(line)]
        m.d.comb += [self.column[i].eq(line[0]) for i, line in enumerate(self.values)]
        return m


class Transposer(wiring.Component):
    """A transposer of blocks of side x side values with `width` bits.

    Attributes
    ----------
    row, row_valid, row_ready : In, In, Out
        A row is taken in a cycle with both `row_valid` and `row_ready`.
    column, column_valid, column_ready : Out, Out, In
        A column is given in a cycle with both `column_valid` and `column_ready`.
    """

    def __init__(self, side: int, width: Literal[16, 32]) -> None:
        self.side, self.width = side, width
        line = ArrayLayout(width, side)
        super().__init__(
            {
                "row": In(line),
                "row_valid": In(1),
                "row_ready": Out(1),
                "column": Out(line),
                "column_valid": Out(1),
                "column_ready": In(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        full = Signal(2)
        takes, gives = self.row_valid & self.row_ready, self.column_valid & self.column_ready
        coming, last_row = self._turn(m, "coming", takes)
        going, last_column = self._turn(m, "going", gives)
        m.d.comb += [self.row_ready.eq(~full.bit_select(coming, 1)), self.column_valid.eq(full.bit_select(going, 1))]
        with m.If(takes & last_row):
            m.d.sync += full.bit_select(coming, 1).eq(1)
        with m.If(gives & last_column):
            m.d.sync += full.bit_select(going, 1).eq(0)

        blocks = [Block(self.side, self.width) for _ in range(2)]
        for number, block in enumerate(blocks):
            m.submodules[f"block_{number}"] = block
            m.d.comb += [
                block.row.eq(self.row),
                block.take.eq(takes & (coming == number)),
                block.give.eq(gives & (going == number)),
            ]
        m.d.comb += self.column.eq(Mux(going, blocks[1].column, blocks[0].column))
        return m

    def _turn(self, m: Module, name: str, moves: Value) -> tuple[Value, Value]:
        """The block whose turn it is, and whether its last line is next: they take turns, a block of lines each."""
        block, line = Signal(name=name), Signal(range(self.side), name=f"{name}_line")
        last = line == self.side - 1
        with m.If(moves):
            m.d.sync += line.eq(Mux(last, 0, line + 1))
            with m.If(last):
                m.d.sync += block.eq(~block)
        return block, last
