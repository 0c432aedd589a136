"""A set of the serial operand as the PEs of a column take it: recoded into terms, once for all of them."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.lib.wiring import In, Out

from simhw.bfloat16 import Encoder
from simhw.rtl.encoder import POSITIONS, TermEncoder


def serial_set(lanes: int) -> StructLayout:
    """By lane: the digits of the significand that are not zero, which of them are negative, sign and exponent field."""
    digits = ArrayLayout(POSITIONS, lanes)
    return StructLayout({"digits": digits, "negative": digits, "signs": lanes, "exponents": ArrayLayout(8, lanes)})


class SerialEncoders(wiring.Component):
    """A column's term encoders, one a lane: bfloat16 patterns in, a set of terms out.  Combinational."""

    def __init__(self, encoder: Encoder, lanes: int) -> None:
        self.encoder, self.lanes = encoder, lanes
        super().__init__({"a": In(ArrayLayout(16, lanes)), "set": Out(serial_set(lanes))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.comb += self.set.signs.eq(Cat(self.a[i][15] for i in range(self.lanes)))
        for i in range(self.lanes):
            m.submodules[f"encoder_{i}"] = encoder = TermEncoder(self.encoder)
            m.d.comb += [
                encoder.fraction.eq(self.a[i][:7]),
                self.set.digits[i].eq(encoder.nonzero),
                self.set.negative[i].eq(encoder.negative),
                self.set.exponents[i].eq(self.a[i][7:15]),
            ]
        return m
