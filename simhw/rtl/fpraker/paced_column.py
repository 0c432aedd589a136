"""A column of FPRaker PEs that go at their own pace: they share sets of A through a buffer behind the term encoders.

The other operand comes from buffers of the tile's rows.  Source: spec page fpraker.md, section 6.
"""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.lib.wiring import In, Out

from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.rtl.fpraker.element import TermPE
from simhw.rtl.fpraker.exponent_turns import ExponentTurns
from simhw.rtl.fpraker.serial import SerialEncoders, serial_set
from simhw.rtl.fpraker.set_buffer import SetBuffer
from simhw.rtl.fpraker.widths import Widths
from simhw.rtl.normaliser import EXPONENT_BITS


class PacedColumn(wiring.Component):
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
        self.pe, self.tile = pe, tile
        operand = ArrayLayout(16, pe.lanes)
        super().__init__(
            {
                "valid": In(1),
                "restart": In(1),
                "last": In(1),
                "a": In(operand),
                "take": Out(1),
                "b": In(ArrayLayout(operand, tile.rows)),
                "b_there": In(tile.rows),
                "ready": Out(tile.rows),
                "begins": Out(tile.rows),
                "takes": In(tile.rows),
                "works": Out(tile.rows),
                "busy": Out(tile.rows),
                "fires": Out(ArrayLayout(pe.lanes, tile.rows)),
                "adds": Out(ArrayLayout(pe.lanes, tile.rows)),
                "waits": Out(ArrayLayout(pe.lanes, tile.rows)),
                "integers": Out(ArrayLayout(signed(Widths(pe).integer_bits), tile.rows)),
                "exponents": Out(ArrayLayout(EXPONENT_BITS, tile.rows)),
                "outputs": Out(ArrayLayout(16, tile.rows)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        lanes, rows, sharing = self.pe.lanes, self.tile.rows, self.tile.exponent_sharing
        entry = StructLayout({"set": serial_set(lanes), "restart": 1, "last": 1})
        m.submodules.encoders = encoders = SerialEncoders(self.pe.encoder, lanes)
        m.submodules.buffer = buffer = SetBuffer(entry, self.tile.buffers.a, rows)
        there = Signal(rows)
        m.d.comb += [
            encoders.a.eq(self.a),
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
                m.submodules[f"pe_{row}"] = element = TermPE(self.pe)
                element.give(m, a.set, b)
                m.d.comb += [
                    turns.a[place].eq(a.set.exponents),
                    Cat(*turns.b[place]).eq(Cat(b[i][7:15] for i in range(lanes))),
                    element.valid.eq(self.takes[row]),
                    element.restart.eq(a.restart),
                    element.last.eq(a.last),
                    element.lane_valid.eq(turns.valid[place]),
                    element.exponents.eq(turns.exponents[place]),
                    element.largest.eq(turns.largest[place]),
                    # A set lasts as long as a turn goes round, also where the turn falls so that it need not.
                    self.works[row].eq(~element.take | (element.starts if sharing > 1 else 0)),
                    self.ready[row].eq(buffer.released[row] & turns.ready[place] & ~self.works[row]),
                    self.begins[row].eq(a.restart),
                    self.busy[row].eq(element.busy),
                    self.fires[row].eq(element.fires),
                    self.adds[row].eq(element.adds),
                    self.waits[row].eq(element.waits),
                    self.integers[row].eq(element.integer),
                    self.exponents[row].eq(element.exponent),
                    self.outputs[row].eq(element.output),
                ]
        return m
