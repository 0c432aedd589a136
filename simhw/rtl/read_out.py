"""Read-out of an accumulator as bfloat16: one rounding to nearest even; too large is an infinity, too small +0."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.bfloat16 import FRACTION_BITS
from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.rtl.normaliser import EXPONENT_BITS
from simhw.rtl.rounding import RoundOff

FIELD_OF_INFINITY = 255
EXPONENT_OF_FIELD_0 = EXPONENT_OFFSET + 127
"""An accumulator's exponent has two biases of bfloat16 and an offset, a field has one bias."""


class ReadOut(wiring.Component):
    """The bfloat16 pattern of a normalised S with `fraction_bits` at an exponent."""

    def __init__(self, fraction_bits: int) -> None:
        self.fraction_bits = fraction_bits
        super().__init__(
            {"s": In(signed(fraction_bits + 2)), "exponent": In(EXPONENT_BITS), "value": Out(unsigned(16))}
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        more = max(FRACTION_BITS - self.fraction_bits, 0)
        width = self.fraction_bits + more + 2
        m.submodules.rounding = rounding = RoundOff(width, width - FRACTION_BITS - 2)
        magnitude = Signal(FRACTION_BITS + 2)
        m.d.comb += [rounding.value.eq(abs(self.s) << more), magnitude.eq(rounding.rounded)]

        # Rounded up to the next power of two, the fraction is zero as it stands.
        field = Signal(signed(EXPONENT_BITS + 1))
        m.d.comb += field.eq(self.exponent + magnitude[FRACTION_BITS + 1] - EXPONENT_OF_FIELD_0)
        overflow = field >= FIELD_OF_INFINITY
        with m.If(magnitude.any() & (field > 0)):
            m.d.comb += self.value.eq(
                Cat(
                    Mux(overflow, 0, magnitude[:FRACTION_BITS]),
                    Mux(overflow, Const(FIELD_OF_INFINITY, 8), field[:8]),
                    self.s < 0,
                )
            )
        return m
