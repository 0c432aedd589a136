"""A lane's next term: the first of its digits that takes a cycle, and how far it lies below emax.

With ``oob: pe`` digits in bounds do; with ``oob: column`` those that are in bounds in any PE of the column.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.encoder import POSITIONS
from simhw.rtl.fpraker.widths import Widths
from simhw.rtl.normaliser import EXPONENT_BITS


def leading(digits: Value) -> Value:
    """The most significant of some digits alone."""
    return Cat(digits[bit] & ~digits[bit + 1 :].any() for bit in range(len(digits)))


class Offset(wiring.Component):
    """Combinational: of the digits not yet fired, `pending`, those `in_bounds`, and the first of the `slots`.

    `slots` are the digits that take a cycle: an input with ``oob: column``.  `ready` tells that there is one.  Then
    `offset` is the K + 1 of the first, `place` its distance from 2**1, `negative_term` its sign, `adds` tells that it
    is in bounds, and `rest` are the slots behind it.
    """

    def __init__(self, widths: Widths) -> None:
        self.widths = widths
        super().__init__(
            {
                "emax": In(EXPONENT_BITS),
                "exponent": In(EXPONENT_BITS),
                "pending": In(POSITIONS),
                "negative": In(POSITIONS),
                "ready": Out(1),
                "offset": Out(range(widths.offset_limit + 1)),
                "place": Out(range(POSITIONS)),
                "negative_term": Out(1),
                "in_bounds": Out(POSITIONS),
                "slots": In(POSITIONS) if widths.pe.oob == "column" else Out(POSITIONS),
                "adds": Out(1),
                "first": Out(POSITIONS),
                "rest": Out(POSITIONS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        widths = self.widths
        far, distance = Signal(EXPONENT_BITS), Signal(range(widths.distance_limit + 1))
        m.d.comb += [
            far.eq(self.emax - self.exponent),
            distance.eq(Mux(far > widths.distance_limit, widths.distance_limit, far)),
        ]
        for bit in range(POSITIONS):
            # The digit at 2**(bit - 7) has K + 1 = d + 8 - bit.
            most = widths.largest_offset - (POSITIONS - 1 - bit)
            m.d.comb += self.in_bounds[bit].eq(self.pending[bit] & (distance <= most) if most >= 0 else 0)
            with m.If(self.first[bit]):
                m.d.comb += self.place.eq(POSITIONS - 1 - bit)
        if widths.pe.oob == "pe":
            m.d.comb += self.slots.eq(self.in_bounds)
        m.d.comb += [
            self.first.eq(leading(self.slots)),
            self.ready.eq(self.slots.any()),
            self.adds.eq((self.first & self.in_bounds).any()),
            self.offset.eq(distance + self.place),
            self.negative_term.eq((self.negative & self.first).any()),
            self.rest.eq(self.slots & ~self.first),
        ]
        return m
