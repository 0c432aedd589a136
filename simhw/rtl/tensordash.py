"""A TensorDash tile up to its multipliers: staging buffers, schedulers, operand multiplexers, and their common advance.

A row shares the scheduled operand X, a scheduler and X's multiplexers; a column shares the other operand Y, which every
PE selects by its row's schedule.  With `sides: two` every PE has a scheduler and both multiplexers of its own.
All schedulers advance together, by AS, the fewest steps that any of them has drained.
Source: MICRO 2020; spec page tensordash.md, sections 1 and 2.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.machine.values import TileParameters
from simhw.pe.tensordash.kernel import LANES, options
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.rtl.comparators import smallest
from simhw.rtl.multiplexer import OperandMultiplexers
from simhw.rtl.scheduler import Scheduler
from simhw.rtl.staging import StagingBuffer

STEPS_BITS = 24
"""Of the counter of an output's steps."""
EXPONENT_BITS = 8
"""Of a bfloat16 and of a float32 alike; a value whose field is 0 is a zero."""


def effectual(values: Value, width: int) -> Value:
    """By lane, whether the value of a step is not zero."""
    return Cat(values[lane][width - 1 - EXPONENT_BITS : width - 1].any() for lane in range(LANES))


class TensorDashTile(wiring.Component):
    """A tile of `rows` x `cols` PEs with values of `width` bits, 16 for bfloat16 and 32 for float32.

    In a cycle with `done` the last steps of an output are multiplied, or the tile is empty: `load` may then bring the
    first steps of the next, so that there is no bubble between outputs.  Steps behind the last one of an output have
    to come as zeros.

    Attributes
    ----------
    x_refill, y_refill : In
        By row and by column, the `depth` steps behind the window, or with `load` the first ones of an output.
    steps, bypass : In
        With `load`, the steps of that output, and whether it bypasses the schedulers, as is done where no value is
        zero.  Every lane then takes its own pair of the first step, and nothing moves in the schedulers.  With
        `gate: off` there is no such port.
    advance : Out
        AS, the steps that the tile drops at the end of the cycle.
    done : Out
        They are the last ones.
    running : Out
        An output is at work.
    ms, busy : Out
        By scheduler (a row's, or that of PE row * cols + column), what each lane selects, and whether it takes a pair.
    x_values, y_values : Out
        By scheduler and by PE, what the multipliers get.  An idle lane's X is zero, and so is its product.
    """

    def __init__(self, pe: TensorDashPE, tile: TileParameters, width: int = 16) -> None:
        self.pe, self.tile, self.width = pe, tile, width
        self.pes = tile.rows * tile.cols
        self.schedulers = self.pes if pe.sides == "two" else tile.rows
        self._step = ArrayLayout(width, LANES)
        window = ArrayLayout(self._step, pe.depth)
        bypass = {"bypass": In(1)} if pe.gate == "on" else {}
        super().__init__(
            bypass
            | {
                "x_refill": In(ArrayLayout(window, tile.rows)),
                "y_refill": In(ArrayLayout(window, tile.cols)),
                "load": In(1),
                "steps": In(STEPS_BITS),
                "advance": Out(range(pe.depth + 1)),
                "done": Out(1),
                "running": Out(1),
                "ms": Out(ArrayLayout(ArrayLayout(range(len(options(pe))), LANES), self.schedulers)),
                "busy": Out(ArrayLayout(LANES, self.schedulers)),
                "x_values": Out(ArrayLayout(self._step, self.schedulers)),
                "y_values": Out(ArrayLayout(self._step, self.pes)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        x_windows = [self._staged(m, f"x_{row}", self.x_refill[row]) for row in range(self.tile.rows)]
        y_windows = [self._staged(m, f"y_{column}", self.y_refill[column]) for column in range(self.tile.cols)]
        bypassed, gated = self._bypassed(m)
        drained = [self._scheduled(m, index, x_windows, bypassed, gated) for index in range(self.schedulers)]
        m.d.comb += self.advance.eq(Mux(bypassed, 1, smallest(m, drained)))
        for index in range(self.pes):
            row, column = divmod(index, self.tile.cols)
            values = self._multiplexed(
                m, f"y_{index}", y_windows[column], index if self.schedulers == self.pes else row
            )
            m.d.comb += self.y_values[index].eq(values)
        self._count(m)
        return m

    def _staged(self, m: Module, name: str, refill: Value) -> Value:
        """The window over a stream of values."""
        m.submodules[f"staging_{name}"] = buffer = StagingBuffer(self._step, self.pe.depth)
        self._advance(m, buffer, buffer.window, refill)
        return buffer.window

    def _advance(self, m: Module, buffer: StagingBuffer, kept: Value, refill: Value) -> None:
        m.d.comb += [
            buffer.kept.eq(kept),
            buffer.refill.eq(refill),
            buffer.advance.eq(self.advance),
            buffer.load.eq(self.load),
        ]

    def _bypassed(self, m: Module) -> tuple[Value, Value]:
        """Whether the output at work bypasses the schedulers, and whether that does whose pairs come in."""
        if self.pe.gate == "off":
            return Const(0, 1), Const(0, 1)
        bypassed = Signal()
        with m.If(self.load):
            m.d.sync += bypassed.eq(self.bypass)
        return bypassed, Mux(self.load, self.bypass, bypassed)

    def _scheduled(self, m: Module, index: int, x_windows: list[Value], bypassed: Value, gated: Value) -> Value:
        """A scheduler with Z and the multiplexers of X behind it: the steps that it has drained."""
        two = self.pe.sides == "two"
        row, column = divmod(index, self.tile.cols) if two else (index, 0)
        m.submodules[f"z_{index}"] = z = StagingBuffer(LANES, self.pe.depth)
        m.submodules[f"scheduler_{index}"] = scheduler = Scheduler(self.pe)
        refill = Signal(z.refill.shape(), name=f"z_refill_{index}")
        for step in range(self.pe.depth):
            pairs = effectual(self.x_refill[row][step], self.width)
            if two:
                pairs &= effectual(self.y_refill[column][step], self.width)
            m.d.comb += refill[step].eq(Mux(gated, 0, pairs))
        # A pair that was taken stays in the buffers of its values, and is gone from Z.
        self._advance(m, z, scheduler.left, refill)
        m.d.comb += [
            scheduler.z.eq(z.window),
            self.ms[index].eq(scheduler.ms),  # that of an empty window selects every lane's own pair
            self.busy[index].eq(Mux(bypassed, (1 << LANES) - 1, scheduler.busy)),
        ]
        values = self._multiplexed(m, f"x_{index}", x_windows[row], index)
        for lane in range(LANES):
            m.d.comb += self.x_values[index][lane].eq(Mux(self.busy[index][lane], values[lane], 0))
        return scheduler.drained

    def _multiplexed(self, m: Module, name: str, window: Value, scheduler: int) -> Value:
        """The lanes' values of a window as a scheduler selects them."""
        m.submodules[f"multiplexers_{name}"] = multiplexers = OperandMultiplexers(self.pe, self.width)
        m.d.comb += [multiplexers.window.eq(window), multiplexers.ms.eq(self.ms[scheduler])]
        return multiplexers.values

    def _count(self, m: Module) -> None:
        """The steps of the output that are in the window or behind it."""
        left = Signal(STEPS_BITS)
        m.d.comb += [self.done.eq(left <= self.advance), self.running.eq(left.any())]
        with m.If(self.load):
            m.d.sync += left.eq(self.steps)
        with m.Elif(self.done):
            m.d.sync += left.eq(0)
        with m.Else():
            m.d.sync += left.eq(left - self.advance)
