"""The exponent block: product exponents of a set's lanes, and the largest of them."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.rtl.comparators import largest
from simhw.rtl.normaliser import EXPONENT_BITS


class ExponentBlock(wiring.Component):
    """Combinational; a lane with a zero is not `valid`, and its exponent is 0, below that of every product."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "a": In(ArrayLayout(8, lanes)),
                "b": In(ArrayLayout(8, lanes)),
                "valid": Out(lanes),
                "exponents": Out(ArrayLayout(EXPONENT_BITS, lanes)),
                "largest": Out(EXPONENT_BITS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        for i in range(self.lanes):
            m.d.comb += self.valid[i].eq(self.a[i].any() & self.b[i].any())
            with m.If(self.valid[i]):
                m.d.comb += self.exponents[i].eq(self.a[i] + self.b[i] + EXPONENT_OFFSET)
        exponents = [self.exponents[i] for i in range(self.lanes)]
        m.d.comb += self.largest.eq(largest(m, exponents))
        return m
