"""Trees of two-input units."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out


def tree(node: Callable[[Value, Value], Value], values: Sequence[Value]) -> Value:
    """All values joined in pairs, level by level."""
    level = list(values)
    while len(level) > 1:
        pairs = [node(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) // 2 * 2 :]
    return level[0]


class AdderTree(wiring.Component):
    """The exact sum of `count` signed numbers of `width` bits."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__(
            {
                "addends": In(ArrayLayout(signed(width), count)),
                "sum": Out(signed(width + (count - 1).bit_length())),
            }
        )
        self.count = count

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.comb += self.sum.eq(tree(lambda x, y: x + y, [self.addends[i] for i in range(self.count)]))
        return m
