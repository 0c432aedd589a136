"""Alignment: a set's largest exponent with the accumulator in it, and the accumulator moved to it.

S at exponent E is worth S * 2**(E - F).  A cleared accumulator has S = E = 0: an E of 0 lies below every product's, so
that it needs no other mark.
"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.fpraker.widths import Widths
from simhw.rtl.normaliser import EXPONENT_BITS
from simhw.rtl.rounding import RoundingShifter


class Alignment(wiring.Component):
    """Combinational: emax of the set with the accumulator in it, and S shifted right to it, rounded."""

    def __init__(self, widths: Widths) -> None:
        self.widths = widths
        super().__init__(
            {
                "integer": In(signed(widths.integer_bits)),
                "exponent": In(EXPONENT_BITS),
                "largest": In(EXPONENT_BITS),
                "emax": Out(EXPONENT_BITS),
                "aligned": Out(signed(widths.integer_bits)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        # By F + 2 positions S is less than half of the last place.
        most = self.widths.fraction_bits + 2
        m.submodules.shifter = shifter = RoundingShifter(self.widths.integer_bits, most)
        m.d.comb += self.emax.eq(Mux(self.largest > self.exponent, self.largest, self.exponent))
        distance = Signal(EXPONENT_BITS)
        m.d.comb += [
            distance.eq(self.emax - self.exponent),
            shifter.value.eq(self.integer),
            shifter.amount.eq(Mux(distance > most, most, distance)),
            self.aligned.eq(shifter.rounded),
        ]
        return m
