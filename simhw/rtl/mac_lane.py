"""A multiply-accumulate lane: a product a cycle joins a float32 sum.

A product is rounded to float32, which leaves that of bfloat16 exact, and the sum is rounded again: both to nearest
even.  Subnormal operands and products count as zero; sums underflow gradually.  An infinite sum stays until the next
one begins.
The loop of the lane is the adder's; a register in front of it takes the multiplier off the path of a cycle.
"""

from typing import Literal

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.rtl.bitparallel import Multiplier
from simhw.rtl.float32_accumulator import Float32Accumulator
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


class MacLane(wiring.Component):
    """A lane with operands of `width` bits, in one stage or in two: multiply, add.

    Attributes
    ----------
    x, y : In
        Finite patterns.
    enable, first : In
        Their product is taken in this cycle; with `first` it begins a sum.
    sum : Out
        float32 pattern, `stages` cycles later.
    """

    def __init__(self, width: Width, stages: Literal[1, 2] = 1) -> None:
        self.width, self.stages = width, stages
        super().__init__({"x": In(width), "y": In(width), "enable": In(1), "first": In(1), "sum": Out(32)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = multiplier_of(self.width)
        m.submodules.accumulator = accumulator = Float32Accumulator()
        m.d.comb += [multiplier.x.eq(self.x), multiplier.y.eq(self.y), self.sum.eq(accumulator.sum)]
        m.d["comb" if self.stages == 1 else "sync"] += [
            accumulator.addend.eq(multiplier.product),
            accumulator.enable.eq(self.enable),
            accumulator.first.eq(self.first),
        ]
        return m
