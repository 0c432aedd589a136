"""A lane's next term: which of its digits are in bounds, the first of them, and how far it lies below emax."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.encoder import POSITIONS
from simhw.rtl.fpraker.widths import Widths
from simhw.rtl.normaliser import EXPONENT_BITS


class Offset(wiring.Component):
    """Combinational: of the digits not yet fired, `pending`, those `in_bounds` and the first of them.

    `ready` tells that there is one.  Then `offset` is its K + 1, `place` its distance from 2**1, `negative_term` its
    sign, and `rest` are the digits in bounds behind it.
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
            m.d.comb += self.first[bit].eq(self.in_bounds[bit] & ~self.in_bounds[bit + 1 :].any())
            with m.If(self.first[bit]):
                m.d.comb += self.place.eq(POSITIONS - 1 - bit)
        m.d.comb += [
            self.ready.eq(self.in_bounds.any()),
            self.offset.eq(distance + self.place),
            self.negative_term.eq((self.negative & self.first).any()),
            self.rest.eq(self.in_bounds & ~self.first),
        ]
        return m
