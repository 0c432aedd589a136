"""An FPRaker tile: columns share sets of A, rows share sets of B, and buffers decide how far they get apart.

With ``sync: pe`` every PE goes at its own pace, with a buffer of A in each column and one of B in each row.  With
``sync: set`` a column moves as one, and one buffer of B serves them all.  A reduction begins in all PEs at once, as
soon as the one before it has ended in all: its first sets are in the buffers by then, so that nothing is lost between
them.  Source: spec page fpraker.md, sections 3 and 6.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.rtl.fpraker.column import Column, check_tile
from simhw.rtl.fpraker.paced_column import PacedColumn
from simhw.rtl.fpraker.pe_column import TOLD, PEColumn, told_of
from simhw.rtl.fpraker.set_buffer import SetBuffer

OF_A = ("restart", "last", "a")
"""What comes with a column's set."""


class FPRakerTile(wiring.Component):
    """Sets are stored in a cycle with the `valid` and the `take` of their column or row; PE (column, row) is number
    column * rows + row.

    Attributes
    ----------
    a, restart, last : In
        By column, a set of A, and whether it is the first or the last of a reduction.
    b : In
        By row, a set of B.

    Raises
    ------
    MachineError
        There is no hardware for how the PEs wait.
    """

    def __init__(self, pe: FPRakerPE, tile: FPRakerTileParameters) -> None:
        check_tile(pe, tile)
        self.pe, self.tile = pe, tile
        self.pes = tile.rows * tile.cols
        self.operand = ArrayLayout(16, pe.lanes)
        super().__init__(
            {
                "a_valid": In(tile.cols),
                "restart": In(tile.cols),
                "last": In(tile.cols),
                "a": In(ArrayLayout(self.operand, tile.cols)),
                "a_take": Out(tile.cols),
                "b_valid": In(tile.rows),
                "b": In(ArrayLayout(self.operand, tile.rows)),
                "b_take": Out(tile.rows),
                **told_of(pe, self.pes),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        if self.tile.sync == "pe":
            self._own_pace(m)
        else:
            self._by_columns(m)
        return m

    def _by_columns(self, m: Module) -> None:
        """A buffer of the sets of B of all rows, read by the columns."""
        tile = self.tile
        columns = [Column(self.pe, tile) for _ in range(tile.cols)]
        rows = ArrayLayout(self.operand, tile.rows)
        m.submodules.b_buffer = buffer = SetBuffer(rows, tile.run_ahead, tile.cols)
        self._join(m, columns)
        ready = Cat(column.ready for column in columns) & buffer.released
        takes = self._let(m, ready, self.restart)
        m.d.comb += [
            buffer.valid.eq(self.b_valid.all()),
            buffer.data.eq(self.b),
            buffer.takes.eq(takes),
            self.b_take.eq(Mux(buffer.valid & buffer.take, ~0, 0)),
            self.a_take.eq(takes),
        ]
        for index, column in enumerate(columns):
            m.d.comb += [
                column.valid.eq(self.a_valid[index] & buffer.there[index]),
                column.b.eq(buffer.sets[index]),
                column.held.eq(~takes[index]),
                buffer.works[index].eq(column.works),
            ]

    def _own_pace(self, m: Module) -> None:
        """A buffer of B in each row, read by the PEs of the row."""
        tile = self.tile
        columns = [PacedColumn(self.pe, tile) for _ in range(tile.cols)]
        buffers = [SetBuffer(self.operand, tile.buffers.b, tile.cols) for _ in range(tile.rows)]
        self._join(m, columns)
        ready, begins = Signal(self.pes), Cat(column.begins for column in columns)
        takes = self._let(m, ready, begins)
        for index, column in enumerate(columns):
            m.d.comb += [column.valid.eq(self.a_valid[index]), self.a_take[index].eq(column.take)]
        for row, buffer in enumerate(buffers):
            m.submodules[f"b_buffer_{row}"] = buffer
            m.d.comb += [
                buffer.valid.eq(self.b_valid[row]),
                buffer.data.eq(self.b[row]),
                self.b_take[row].eq(buffer.take),
            ]
            for index, column in enumerate(columns):
                pe = index * tile.rows + row
                m.d.comb += [
                    column.b[row].eq(buffer.sets[index]),
                    column.b_there[row].eq(buffer.there[index]),
                    column.takes[row].eq(takes[pe]),
                    ready[pe].eq(column.ready[row] & buffer.released[index]),
                    buffer.takes[index].eq(takes[pe]),
                    buffer.works[index].eq(column.works[row]),
                ]

    def _join(self, m: Module, columns: Sequence[PEColumn]) -> None:
        """The columns' own ports."""
        for index, column in enumerate(columns):
            m.submodules[f"column_{index}"] = column
            for name in OF_A:
                m.d.comb += getattr(column, name).eq(getattr(self, name)[index])
        for name in TOLD:
            of_columns = (Value.cast(getattr(column, name)) for column in columns)
            m.d.comb += Value.cast(getattr(self, name)).eq(Cat(*of_columns))

    def _let(self, m: Module, ready: Value, begins: Value) -> Value:
        """Who takes its next set, of those that are ready: one that begins a reduction waits for all others."""
        takes = Signal(len(ready))
        m.d.comb += takes.eq(ready & ~begins)
        with m.If((ready & begins).all()):
            m.d.comb += takes.eq(ready)
        return takes
