"""Multipliers whose product joins a float32 sum.

A product is rounded to float32, which leaves that of bfloat16 exact: to nearest even.  Subnormal operands and products
count as zero.
"""

from typing import Literal

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.rtl.bitparallel import Multiplier
from simhw.rtl.float32_adder import ADDEND, BIAS, FIELD_OF_INFINITY, FRACTION_BITS, WIDE_FIELD_BITS
from simhw.rtl.float32_multiplier import Float32Multiplier

Width = Literal[16, 32]
"""Bits of an operand: bfloat16 or float32."""


class Bfloat16Multiplier(wiring.Component):
    """Combinational.

    Attributes
    ----------
    x, y : In
        Finite bfloat16 patterns.
    product : Out
        x * y as an addend: infinite where it is too large for float32, zero where it is below the smallest normal one.
    """

    def __init__(self) -> None:
        super().__init__({"x": In(16), "y": In(16), "product": Out(ADDEND)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier()
        field = Signal(signed(WIDE_FIELD_BITS))
        carry = multiplier.product[-1]
        significand = Mux(carry, multiplier.product, multiplier.product << 1)
        m.d.comb += [
            multiplier.x.eq(self.x),
            multiplier.y.eq(self.y),
            field.eq(multiplier.exponent - (EXPONENT_OFFSET + BIAS) + carry),
            self.product.negative.eq(multiplier.negative),
        ]
        with m.If(field > 0):  # a zero's exponent is 0
            m.d.comb += [
                self.product.significand.eq(significand << (FRACTION_BITS + 1 - len(multiplier.product))),
                self.product.field.eq(field),
                self.product.infinite.eq(field >= FIELD_OF_INFINITY),
            ]
        return m


def multiplier_of(width: Width) -> Bfloat16Multiplier | Float32Multiplier:
    """The multiplier of a lane with operands of `width` bits."""
    return Bfloat16Multiplier() if width == 16 else Float32Multiplier()
