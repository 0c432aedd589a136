"""The shift window: which lanes fire in a cycle."""

from amaranth.hdl import Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.rtl.comparators import smallest
from simhw.rtl.fpraker.widths import Widths


class ShiftWindow(wiring.Component):
    """Combinational: a ready lane fires if its term lies at most `window` places below the `base`, the first of all."""

    def __init__(self, lanes: int, widths: Widths) -> None:
        self.lanes = lanes
        self.window = widths.window
        self.bits = widths.offset_limit.bit_length()
        super().__init__(
            {
                "ready": In(lanes),
                "places": In(ArrayLayout(self.bits, lanes)),
                "base": Out(self.bits),
                "fires": Out(lanes),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        last = Const(2**self.bits - 1)
        places = [Mux(self.ready[i], self.places[i], last) for i in range(self.lanes)]
        m.d.comb += self.base.eq(smallest(m, places))
        for i in range(self.lanes):
            m.d.comb += self.fires[i].eq(self.ready[i] & (self.places[i] <= self.base + self.window))
        return m
