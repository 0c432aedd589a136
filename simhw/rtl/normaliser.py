"""The normaliser behind an accumulator's adder: S back to F fraction bits, its exponent adjusted.

A right shift rounds to nearest even, once over the whole distance; a left shift is exact.
Source: spec page fpraker.md, section 2, "Arithmetic".
"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.leading_one import leading_one
from simhw.rtl.rounding import RoundingShifter

EXPONENT_BITS = 10
"""An exponent is the sum of two biased ones and `simhw.pe.accumulator.EXPONENT_OFFSET`, and at most a few more."""


class Normaliser(wiring.Component):
    """A sum worth sum * 2**(emax - F) as S at an exponent, 2**F <= abs(S) < 2**(F + 1); zero has exponent 0.

    Parameters
    ----------
    width : int
        Bits of the signed sum, at least F + 2.
    fraction_bits : int
        F, of the sum and of the register.
    """

    def __init__(self, width: int, fraction_bits: int) -> None:
        self.width, self.fraction_bits = width, fraction_bits
        super().__init__(
            {
                "sum": In(signed(width)),
                "emax": In(EXPONENT_BITS),
                "s": Out(signed(fraction_bits + 2)),
                "exponent": Out(EXPONENT_BITS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        top = self.fraction_bits
        magnitude = Signal(self.width)
        m.d.comb += magnitude.eq(abs(self.sum))
        highest = leading_one(m, magnitude)

        most_right = self.width - 1 - top
        right, left = Signal(range(most_right + 1)), Signal(range(top + 1))
        with m.If(highest > top):
            m.d.comb += right.eq(highest - top)
        with m.Else():
            m.d.comb += left.eq(top - highest)
        m.submodules.shifter = shifter = RoundingShifter(self.width, most_right)
        placed = Signal(signed(top + 3))
        m.d.comb += [shifter.value.eq(self.sum), shifter.amount.eq(right), placed.eq(shifter.rounded << left)]

        # Rounding up may reach the next power of two: one exact shift more.
        carry = Signal()
        m.d.comb += carry.eq((placed == 2 << top) | (placed == -2 << top))
        with m.If(magnitude.any()):
            m.d.comb += self.s.eq(Mux(carry, placed >> 1, placed))
            m.d.comb += self.exponent.eq(self.emax + right + carry - left)
        return m
