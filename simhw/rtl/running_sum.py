"""The float32 running sum that takes an accumulator after every chunk: one rounding to nearest even a chunk.

Sums underflow gradually, and an infinite one stays.  Source: spec page fpraker.md, section 2, "Arithmetic".
"""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.float32_accumulator import Float32Accumulator
from simhw.rtl.float32_adder import FRACTION_BITS
from simhw.rtl.normaliser import EXPONENT_BITS
from simhw.rtl.read_out import EXPONENT_OF_FIELD_0


class RunningSum(wiring.Component):
    """Running sums of normalised accumulators with `fraction_bits`, at most 23.

    Attributes
    ----------
    s, exponent : In
        The accumulator.
    fold, onto : In
        In a cycle with `fold` it joins the sum, or with `onto` 0 begins one.
    sum : Out
        float32 pattern.
    value : Out
        Its bfloat16 pattern: rounded to nearest even, +0 where it is below the smallest normal number.
    """

    def __init__(self, fraction_bits: int) -> None:
        self.fraction_bits = fraction_bits
        super().__init__(
            {
                "s": In(signed(fraction_bits + 2)),
                "exponent": In(EXPONENT_BITS),
                "fold": In(1),
                "onto": In(1),
                "sum": Out(32),
                "value": Out(16),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.accumulator = accumulator = Float32Accumulator()
        addend = accumulator.addend
        m.d.comb += [
            addend.significand.eq(abs(self.s)[: self.fraction_bits + 1] << (FRACTION_BITS - self.fraction_bits)),
            addend.field.eq(self.exponent - EXPONENT_OF_FIELD_0),  # below 1 where S is zero
            addend.negative.eq(self.s < 0),
            accumulator.enable.eq(self.fold),
            accumulator.first.eq(~self.onto),
            self.sum.eq(accumulator.sum),
        ]
        self._read_out(m)
        return m

    def _read_out(self, m: Module) -> None:
        upper = Signal(16)
        guard, sticky, odd = self.sum[15], self.sum[:15].any(), self.sum[16]
        m.d.comb += upper.eq(self.sum[16:] + (guard & (sticky | odd)))
        with m.If(self.sum[23:31].any()):
            m.d.comb += self.value.eq(upper)
        # Eight significant bits of a number just below the smallest normal one end half a place lower.
        with m.Elif(self.sum[14:23].all()):
            m.d.comb += self.value.eq(Cat(Const(1 << 7, 15), self.sum[31]))
