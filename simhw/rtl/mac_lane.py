"""A multiply-accumulate lane: a product a cycle joins a float32 sum.

Products of bfloat16 are exact, and so every sum is rounded once: to nearest even, underflowing gradually.  Products of
float32 are rounded to float32 first.  Subnormal operands count as zero, and so does a float32 product below the
smallest normal number.  An infinite sum stays until the next output.
The loop of the lane is the adder's; a register in front of it takes the multiplier off the path of a cycle.
"""

from typing import Literal

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.rtl.bitparallel import Multiplier
from simhw.rtl.float32_accumulator import Float32Accumulator
from simhw.rtl.float32_adder import ADDEND, BIAS, FRACTION_BITS
from simhw.rtl.float32_multiplier import Float32Multiplier

Width = Literal[16, 32]
"""Bits of an operand: bfloat16 or float32."""


class Bfloat16Multiplier(wiring.Component):
    """The exact product of two finite bfloat16 patterns as an addend."""

    def __init__(self) -> None:
        super().__init__({"x": In(16), "y": In(16), "product": Out(ADDEND)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier()
        carry = multiplier.product[-1]
        significand = Mux(carry, multiplier.product, multiplier.product << 1)
        m.d.comb += [
            multiplier.x.eq(self.x),
            multiplier.y.eq(self.y),
            self.product.negative.eq(multiplier.negative),
            self.product.significand.eq(significand << (FRACTION_BITS + 1 - len(multiplier.product))),
            # A zero's exponent is 0, and its field below 1.
            self.product.field.eq(multiplier.exponent - (EXPONENT_OFFSET + BIAS) + carry),
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
