"""TensorDash's scheduler: from the bit vector Z of the effectual pairs in a window to the multiplexers' selects MS.

Six levels of three lanes (the last of one) decide one after another within a cycle.  A lane is a priority encoder over
its options; what a level takes is cleared from Z before the next level sees it.
Source: MICRO 2020; spec page tensordash.md, section 1.
"""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.pe.tensordash.kernel import LANES, LEVELS, options
from simhw.pe.tensordash.parameters import TensorDashPE


def places(pe: TensorDashPE, lane: int) -> list[tuple[int, int]]:
    """The (step, lane) places of a window that a lane's multiplexer reaches, in order of priority."""
    return [(step, (lane + offset) % LANES) for step, offset in options(pe).tolist()]


def levels(pe: TensorDashPE) -> Sequence[Sequence[int]]:
    """The lanes that decide together, in the order in which they decide."""
    if pe.order == "any":  # any two lanes may want the same pair
        return [[lane] for lane in range(LANES)]
    return [[lane for lane in range(LANES) if mask >> lane & 1] for mask in LEVELS.tolist()]


class Scheduler(wiring.Component):
    """One row's schedule of a cycle.

    Attributes
    ----------
    z : In
        Bit i of step s: the pair of lane i there is effectual and was not yet taken.
    ms : Out
        By lane, which of its options its multiplexer selects; 0 where it takes none.
    busy : Out
        By lane, whether it takes a pair.
    left : Out
        Z without the pairs taken.
    drained : Out
        Leading steps that are empty after that, 1 to `depth`: a lane's own pair of step 0 is its first option and
        nobody else's.
    """

    def __init__(self, pe: TensorDashPE) -> None:
        self.pe = pe
        window = ArrayLayout(LANES, pe.depth)
        super().__init__(
            {
                "z": In(window),
                "ms": Out(ArrayLayout(range(len(options(pe))), LANES)),
                "busy": Out(LANES),
                "left": Out(window),
                "drained": Out(range(pe.depth + 1)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        window = self.z
        for number, level in enumerate(levels(self.pe)):
            left = Signal(self.z.shape(), name=f"left_{number}")
            m.d.comb += left.eq(window)
            for lane in level:
                taken = m.If
                for option, (step, source) in enumerate(places(self.pe, lane)):
                    with taken(window[step][source]):
                        m.d.comb += [self.ms[lane].eq(option), self.busy[lane].eq(1), left[step][source].eq(0)]
                    taken = m.Elif
            window = left
        m.d.comb += self.left.eq(window)
        for step in range(self.pe.depth):
            with m.If(~self.left.as_value()[: (step + 1) * LANES].any()):
                m.d.comb += self.drained.eq(step + 1)
        return m
