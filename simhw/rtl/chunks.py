"""The counter of a chunk's sets: when an accumulator begins anew, and when the running sum takes it."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class ChunkCounter(wiring.Component):
    """Counts chunks of `sets` sets, from the first set of every output.

    Attributes
    ----------
    enable, first, last : In
        A set is taken in this cycle; the set at hand is the first one of an output, or the last.
    begins, closes : Out
        It is the first one of a chunk, or the last.
    onto : Out
        Its chunk joins the running sum, which else begins anew with it.
    """

    def __init__(self, sets: int) -> None:
        self.sets = sets
        super().__init__(
            {"enable": In(1), "first": In(1), "last": In(1), "begins": Out(1), "closes": Out(1), "onto": Out(1)}
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        next_index, index = Signal(range(self.sets)), Signal(range(self.sets))
        next_onto = Signal()
        full = index == self.sets - 1
        m.d.comb += [
            index.eq(Mux(self.first, 0, next_index)),
            self.onto.eq(next_onto & ~self.first),
            self.begins.eq(index == 0),
            self.closes.eq(full | self.last),
        ]
        with m.If(self.enable):
            m.d.sync += [next_index.eq(Mux(full, 0, index + 1)), next_onto.eq(self.onto | full)]
        return m
