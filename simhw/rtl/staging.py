"""A staging buffer of TensorDash: a window of a few steps that moves forward by as many as were drained.

Source: MICRO 2020; spec page tensordash.md, section 1.
"""

from amaranth.hdl import Module, ShapeLike
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out


class StagingBuffer(wiring.Component):
    """The window over a stream of steps.

    Attributes
    ----------
    window : Out
        The steps, the earliest first.
    kept : In
        What they move forward as: the window itself, or what a cycle left of it.
    refill : In
        The steps of the stream behind the window, `depth` of them; with `load` the first ones of a new stream.
    advance : In
        Steps that are dropped, 1 to `depth`.
    load : In
        All of the window is replaced by `refill`.
    """

    def __init__(self, step: ShapeLike, depth: int) -> None:
        self.depth = depth
        steps = ArrayLayout(step, depth)
        super().__init__(
            {
                "kept": In(steps),
                "refill": In(steps),
                "advance": In(range(depth + 1)),
                "load": In(1),
                "window": Out(steps),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        stream = [*(self.kept[step] for step in range(self.depth)), *(self.refill[step] for step in range(self.depth))]
        with m.If(self.load):
            m.d.sync += self.window.eq(self.refill)
        with m.Else(), m.Switch(self.advance):
            for advance in range(1, self.depth + 1):
                with m.Case(advance):
                    m.d.sync += [self.window[step].eq(stream[step + advance]) for step in range(self.depth)]
        return m
