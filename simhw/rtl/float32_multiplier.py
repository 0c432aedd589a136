"""A float32 multiplier: one rounding to nearest even; subnormal operands and products count as zero."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.float32_adder import ADDEND, BIAS, FIELD_OF_INFINITY, FRACTION_BITS, WIDE_FIELD_BITS
from simhw.rtl.rounding import RoundOff


def significand(value: Value) -> Value:
    """A float32's 24 significant bits; none where it is zero or subnormal, which the machine sees as zero."""
    return Mux(value[FRACTION_BITS:-1].any(), Cat(value[:FRACTION_BITS], Const(1, 1)), 0)


class Float32Multiplier(wiring.Component):
    """Combinational.

    Attributes
    ----------
    x, y : In
        Finite float32 patterns.
    product : Out
        x * y as an addend, rounded to float32: infinite where it is too large, zero where it is below the smallest
        normal number after rounding.
    """

    def __init__(self) -> None:
        super().__init__({"x": In(32), "y": In(32), "product": Out(ADDEND)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        width = 2 * FRACTION_BITS + 2
        exact, normalised = Signal(width), Signal(width)
        m.submodules.rounding = rounding = RoundOff(width + 1, FRACTION_BITS + 1)
        m.d.comb += [
            exact.eq(significand(self.x) * significand(self.y)),
            normalised.eq(Mux(exact[-1], exact, exact << 1)),
            rounding.value.eq(normalised),
        ]
        field = Signal(signed(WIDE_FIELD_BITS))
        carry = rounding.rounded[FRACTION_BITS + 1]
        x_field, y_field = self.x[FRACTION_BITS:-1], self.y[FRACTION_BITS:-1]
        m.d.comb += [
            field.eq(x_field + y_field - BIAS + (exact[-1] | carry)),
            self.product.negative.eq(self.x[-1] ^ self.y[-1]),
        ]
        with m.If(normalised[-1] & (field > 0)):
            m.d.comb += [
                # Rounded up to the next power of two, the fraction is zero as it stands.
                self.product.significand.eq(Cat(rounding.rounded[:FRACTION_BITS], Const(1, 1))),
                self.product.field.eq(field),
                self.product.infinite.eq(field >= FIELD_OF_INFINITY),
            ]
        return m
