"""A TensorDash tile with its PEs behind the multiplexers: what the schedulers choose is multiplied and summed.

The oracle of the machine rounds an output once, and this hardware after every addition; their bits may differ.
Source: MICRO 2020; spec page tensordash.md, sections 1 and 2.
"""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.machine.values import TileParameters
from simhw.pe.tensordash.kernel import LANES
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.rtl.dot_product import DotProduct
from simhw.rtl.multipliers import Width
from simhw.rtl.pipeline import registered
from simhw.rtl.tensordash import TensorDashTile


class TensorDashDatapath(wiring.Component):
    """A tile of `rows` x `cols` PEs in `stages`.

    Attributes
    ----------
    x_refill, y_refill, load, steps, bypass, advance, done : In, Out
        As those of `TensorDashTile`.
    ended : Out
        `sums` are an output in this cycle, `stages` cycles after the one with `done`.
    sums : Out
        By PE, row * cols + column, a float32 pattern.
    """

    def __init__(self, pe: TensorDashPE, tile: TileParameters, width: Width = 16, stages: int = 1) -> None:
        self.front = TensorDashTile(pe, tile, width)
        self.width, self.stages = width, stages
        inputs = ("x_refill", "y_refill", "load", "steps", *(["bypass"] if pe.gate == "on" else []))
        self._inputs = {name: getattr(self.front, name) for name in inputs}
        super().__init__(
            {name: In(port.shape()) for name, port in self._inputs.items()}
            | {
                "advance": Out(self.front.advance.shape()),
                "done": Out(1),
                "ended": Out(1),
                "sums": Out(ArrayLayout(32, self.front.pes)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.front = front = self.front
        for name, port in self._inputs.items():
            m.d.comb += port.eq(getattr(self, name))
        first = Signal()
        m.d.sync += first.eq(self.load)
        ended: Value = front.running & front.done
        for stage in range(self.stages):
            [ended] = registered(m, f"ended_{stage}", [ended])
        m.d.comb += [self.advance.eq(front.advance), self.done.eq(front.done), self.ended.eq(ended)]
        for index in range(front.pes):
            m.submodules[f"pe_{index}"] = pe = DotProduct(self.width, LANES, self.stages)
            scheduler = index if front.schedulers == front.pes else index // front.tile.cols
            m.d.comb += [
                pe.x.eq(front.x_values[scheduler]),
                pe.y.eq(front.y_values[index]),
                pe.enable.eq(front.running),
                pe.first.eq(first),
                self.sums[index].eq(pe.sum),
            ]
        return m
