"""The shifters: B's significand moved to the weight of a lane's term, in two steps.

Lanes that fire together lie within the window, so each lane has a short shifter; one more behind the adder tree moves
their sum by the base.
"""

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.fpraker.widths import Widths


class LaneShifter(wiring.Component):
    """Combinational: (-1)**negative * significand * 2**(reach - lag) if the lane fires, else 0."""

    def __init__(self, reach: int) -> None:
        self.reach = reach
        super().__init__(
            {
                "fires": In(1),
                "negative": In(1),
                "significand": In(8),
                "lag": In(range(reach + 1)),
                "addend": Out(signed(lane_bits(reach))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        magnitude = (self.significand << self.reach) >> self.lag
        with m.If(self.fires):
            m.d.comb += self.addend.eq(Mux(self.negative, -magnitude, magnitude))
        return m


class BaseShifter(wiring.Component):
    """Combinational: the sum of the lanes, moved by the base into the place of a cycle's addend.

    A lane's addend that is in bounds has no bits below the threshold, so those dropped are zeros.
    """

    def __init__(self, widths: Widths, sum_bits: int) -> None:
        self.widths = widths
        super().__init__(
            {
                "base": In(range(widths.largest_offset + 1)),
                "sum": In(signed(sum_bits)),
                "addend": Out(signed(widths.addend_bits)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.comb += self.addend.eq(self.sum << self.widths.largest_offset >> self.base >> self.widths.reach)
        return m


def lane_bits(reach: int) -> int:
    """Of a lane's addend, with its sign."""
    return 8 + reach + 1
