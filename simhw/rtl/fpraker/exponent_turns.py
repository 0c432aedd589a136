"""An exponent block whose PEs go at their own pace: each has its turn for the set that it takes next."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.rtl.fpraker.exponents import ExponentBlock
from simhw.rtl.normaliser import EXPONENT_BITS


class ExponentTurns(wiring.Component):
    """The turn goes round among `pes` PEs, a cycle each, so that none waits for more than `pes` cycles.

    Attributes
    ----------
    there, takes : In
        By PE, whether its next set is there, and whether it takes it in this cycle.
    a, b : In
        By PE, the exponent fields of its next set.
    ready : Out
        By PE, whether its exponents are there: those of its turn are kept until it takes the set.
    valid, exponents, largest : Out
        By PE, what the block gave.
    """

    def __init__(self, lanes: int, pes: int) -> None:
        self.lanes, self.pes = lanes, pes
        fields = ArrayLayout(ArrayLayout(8, lanes), pes)
        super().__init__(
            {
                "there": In(pes),
                "takes": In(pes),
                "a": In(fields),
                "b": In(fields),
                "ready": Out(pes),
                "valid": Out(ArrayLayout(lanes, pes)),
                "exponents": Out(ArrayLayout(ArrayLayout(EXPONENT_BITS, lanes), pes)),
                "largest": Out(ArrayLayout(EXPONENT_BITS, pes)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.block = block = ExponentBlock(self.lanes)
        turn = Signal(range(self.pes))
        m.d.sync += turn.eq(Mux(turn == self.pes - 1, 0, turn + 1))
        for pe in range(self.pes):
            served, now = Signal(name=f"served_{pe}"), Signal(name=f"now_{pe}")
            m.d.comb += [now.eq((turn == pe) & self.there[pe]), self.ready[pe].eq(served | now)]
            with m.If(turn == pe):
                m.d.comb += [block.a.eq(self.a[pe]), block.b.eq(self.b[pe])]
            with m.If(self.takes[pe]):
                m.d.sync += served.eq(0)
            with m.Elif(now):
                m.d.sync += served.eq(1)
            given = (block.valid, block.exponents.as_value(), block.largest)
            wanted = (self.valid[pe], self.exponents[pe].as_value(), self.largest[pe])
            for source, output in zip(given, wanted, strict=True):
                kept = Signal(len(source), name=f"kept_{pe}")
                with m.If(now):
                    m.d.sync += kept.eq(source)
                m.d.comb += output.eq(Mux(served, kept, source))
        return m
