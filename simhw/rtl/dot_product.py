"""A PE of separate multipliers and float32 adders: a tree sums the products of a step, which then join one sum.

So works the PE of TensorDash, "16 MAC lanes, one output", in bfloat16 and in float32; with one lane it is a
multiply-accumulate lane.  Every adder rounds to float32, to nearest even: sums underflow gradually, and an infinite one
stays until the next begins.  The bit-parallel PE instead adds a set exactly and rounds once.
The last adder is the PE's loop.  What lies in front of it is fed forward, and may be cut into stages.
Source: spec page tensordash.md, section 1; the tree is decided.
"""

from collections.abc import Sequence

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.rtl.float32_accumulator import Float32Accumulator
from simhw.rtl.float32_adder import Float32Adder, unpacked
from simhw.rtl.multipliers import Width, multiplier_of
from simhw.rtl.pipeline import registered


def most_stages(lanes: int) -> int:
    """A cycle for the multipliers, for each level of the tree, and for the adder of the sum."""
    return lanes.bit_length() + 1


class DotProduct(wiring.Component):
    """A PE with `lanes` operands of `width` bits on each side.

    Parameters
    ----------
    lanes : int
        A power of two.
    stages : int
        1 to `most_stages(lanes)`.

    Attributes
    ----------
    x, y : In
        Finite patterns.
    enable, first : In
        Their products are taken in this cycle; with `first` they begin a sum.
    sum : Out
        float32 pattern, `stages` cycles later.
    """

    def __init__(self, width: Width, lanes: int, stages: int = 1) -> None:
        self.width, self.lanes, self.stages = width, lanes, stages
        operands = ArrayLayout(width, lanes)
        super().__init__({"x": In(operands), "y": In(operands), "enable": In(1), "first": In(1), "sum": Out(32)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        units = most_stages(self.lanes)
        cuts = {stage * units // self.stages for stage in range(1, self.stages)}
        enable, first, addends = self.enable, self.first, self._products(m)
        for level in range(1, units):
            if level in cuts:
                enable, first, *addends = registered(m, f"level_{level}", [enable, first, *addends])
            if level + 1 < units:
                addends = self._added(m, level, addends)
            else:
                m.submodules.accumulator = accumulator = Float32Accumulator()
                m.d.comb += [
                    accumulator.enable.eq(enable),
                    accumulator.first.eq(first),
                    accumulator.addend.eq(_addend(addends[0])),
                    self.sum.eq(accumulator.sum),
                ]
        return m

    def _products(self, m: Module) -> list[Value]:
        products = []
        for lane in range(self.lanes):
            m.submodules[f"multiplier_{lane}"] = multiplier = multiplier_of(self.width)
            m.d.comb += [multiplier.x.eq(self.x[lane]), multiplier.y.eq(self.y[lane])]
            products.append(multiplier.product.as_value())
        return products

    def _added(self, m: Module, level: int, addends: Sequence[Value]) -> list[Value]:
        """float32 sums of neighbours."""
        sums = []
        for index in range(len(addends) // 2):
            m.submodules[f"adder_{level}_{index}"] = adder = Float32Adder()
            x, y = addends[2 * index : 2 * index + 2]
            m.d.comb += [adder.x.eq(_addend(x)), adder.y.eq(_addend(y))]
            sums.append(adder.sum)
        return sums


def _addend(value: Value) -> Value:
    """A product as it is, a sum unpacked."""
    return unpacked(value) if len(value) == 32 else value
