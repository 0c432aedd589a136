"""A column of FPRaker PEs that go at their own pace: they share sets of A through a buffer behind the term encoders.

The other operand comes from buffers of the tile's rows.  Source: spec page fpraker.md, section 6.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.rtl.fpraker.element import TermPE
from simhw.rtl.fpraker.exponent_turns import ExponentTurns
from simhw.rtl.fpraker.pe_column import PEColumn
from simhw.rtl.fpraker.serial import serial_set
from simhw.rtl.fpraker.set_buffer import SetBuffer


class PacedColumn(PEColumn):
    """A set of A is stored in a cycle with `valid` and `take`.

    Attributes
    ----------
    restart, last : In
        Beside A: the set is the first one of a reduction, or the last.
    b, b_there : In
        By PE, the next set of its row's buffer, and whether it has come.
    ready : Out
        By PE, whether it could take its next set, as far as this column knows.
    begins : Out
        By PE, whether that is the first one of a reduction.
    takes : In
        By PE, whether it takes its next set in this cycle.
    works : Out
        By PE, whether it goes on with a set after this cycle.
    """

    def __init__(self, pe: FPRakerPE, tile: FPRakerTileParameters) -> None:
        each = ("ready", "begins", "works")
        own = {"b_there": In(tile.rows), "takes": In(tile.rows), **dict.fromkeys(each, Out(tile.rows))}
        super().__init__(pe, tile, own)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        lanes, rows, sharing = self.pe.lanes, self.tile.rows, self.tile.exponent_sharing
        entry = StructLayout({"set": serial_set(lanes), "restart": 1, "last": 1})
        encoders = self._encode(m)
        m.submodules.buffer = buffer = SetBuffer(entry, self.tile.buffers.a, rows)
        there = Signal(rows)
        m.d.comb += [
            buffer.valid.eq(self.valid),
            buffer.data.set.eq(encoders.set),
            buffer.data.restart.eq(self.restart),
            buffer.data.last.eq(self.last),
            buffer.takes.eq(self.takes),
            buffer.works.eq(self.works),
            self.take.eq(buffer.take),
            there.eq(buffer.there & self.b_there),
        ]
        for first in range(0, rows, sharing):
            pes = min(sharing, rows - first)
            m.submodules[f"exponents_{first // sharing}"] = turns = ExponentTurns(lanes, sharing)
            m.d.comb += [turns.there.eq(there[first : first + pes]), turns.takes.eq(self.takes[first : first + pes])]
            for place in range(pes):
                row = first + place
                a, b = buffer.sets[row], self.b[row]
                element = TermPE(self.pe)
                self._place(m, row, element, a.set, self.takes[row], a.restart, a.last)
                m.d.comb += [
                    turns.a[place].eq(a.set.exponents),
                    Cat(*turns.b[place]).eq(Cat(b[i][7:15] for i in range(lanes))),
                    element.lane_valid.eq(turns.valid[place]),
                    element.exponents.eq(turns.exponents[place]),
                    element.largest.eq(turns.largest[place]),
                    # A set lasts as long as a turn goes round, also where the turn falls so that it need not.
                    self.works[row].eq(~element.take | (element.starts if sharing > 1 else 0)),
                    self.ready[row].eq(buffer.released[row] & turns.ready[place] & ~self.works[row]),
                    self.begins[row].eq(a.restart),
                ]
        return m
