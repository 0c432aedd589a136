"""The term encoder: a bfloat16 significand becomes signed powers of two.

Combinational; one serves a lane of a whole column.  The digits are those of `simhw.bfloat16.significand_terms`.
Source: spec page fpraker.md, section 1.
"""

from amaranth.hdl import Cat, Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.bfloat16 import FRACTION_BITS, Encoder

POSITIONS = 9
"""Places of a digit, from 2**-7 (bit 0) to 2**1 (bit 8)."""


class TermEncoder(wiring.Component):
    """Signed digits of 1.fraction: bit i of `nonzero` and `negative` tells of the digit worth 2**(i - 7)."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        super().__init__({"fraction": In(FRACTION_BITS), "nonzero": Out(POSITIONS), "negative": Out(POSITIONS)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        significand = Cat(self.fraction, Const(1, 1))
        if self.encoder == "binary":
            m.d.comb += self.nonzero.eq(significand)
        elif self.encoder == "naf":
            # A digit of x's non-adjacent form is there where x and 3x differ, and negative where 3x has a 0.
            triple = significand + (significand << 1)
            m.d.comb += [
                self.nonzero.eq((triple ^ significand)[1:]),
                self.negative.eq(self.nonzero & ~triple[1:]),
            ]
        else:
            bits = Cat(Const(0, 1), significand, Const(0, 2))  # one bit below the last, two above the first
            for low in range(0, POSITIONS, 2):
                # The radix-4 digit -2 above + here + below is one of -2..2.
                below, here, above = bits[low], bits[low + 1], bits[low + 2]
                one, two = here ^ below, (here == below) & (here != above)
                m.d.comb += [self.nonzero[low].eq(one), self.negative[low].eq(one & above)]
                if low + 1 < POSITIONS:
                    m.d.comb += [self.nonzero[low + 1].eq(two), self.negative[low + 1].eq(two & above)]
        return m
