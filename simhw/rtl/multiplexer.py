"""TensorDash's operand multiplexers: each lane takes one of the few values of the staging buffer that it has wires to.

Source: MICRO 2020; spec page tensordash.md, section 1.
"""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.pe.tensordash.kernel import LANES, options
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.rtl.scheduler import places


class OperandMultiplexers(wiring.Component):
    """A multiplexer a lane, from a window of values of `width` bits and the selects MS to the lanes' values."""

    def __init__(self, pe: TensorDashPE, width: int) -> None:
        self.pe = pe
        step = ArrayLayout(width, LANES)
        super().__init__(
            {
                "window": In(ArrayLayout(step, pe.depth)),
                "ms": In(ArrayLayout(range(len(options(pe))), LANES)),
                "values": Out(step),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        for lane in range(LANES):
            with m.Switch(self.ms[lane]):
                for option, (step, source) in enumerate(places(self.pe, lane)):
                    with m.Case(option):
                        m.d.comb += self.values[lane].eq(self.window[step][source])
        return m
