"""A float32 sum and the adder in front of it, which is the loop of every unit that keeps its sum in float32."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.float32_adder import ADDEND, Float32Adder, unpacked


class Float32Accumulator(wiring.Component):
    """One rounding an addend; an infinite sum stays until the next one begins.

    Attributes
    ----------
    addend : In
        Joins the sum in a cycle with `enable`, or with `first` begins one.
    sum : Out
        float32 pattern.
    """

    def __init__(self) -> None:
        super().__init__({"addend": In(ADDEND), "enable": In(1), "first": In(1), "sum": Out(32)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.adder = adder = Float32Adder()
        m.d.comb += [adder.x.eq(unpacked(Mux(self.first, 0, self.sum))), adder.y.eq(self.addend)]
        with m.If(self.enable):
            m.d.sync += self.sum.eq(adder.sum)
        return m
