"""A buffer of sets that several readers take one by one, some further ahead than others.

A reader may be `depth` sets ahead of the slowest: it begins a set once all have finished the set `depth` + 1 before.
There is a slot more than that, in which the last of these sets is seen before it may be taken, so that its exponents
are worked out in time.  Source: spec page fpraker.md, sections 3 and 6.
"""

from amaranth.hdl import Array, Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out


class SetBuffer(wiring.Component):
    """A ring of `depth` + 1 slots; a set stays in its slot until every reader has taken it.

    Attributes
    ----------
    valid, data : In
        A set, stored in a cycle with `valid` and `take`; a slot that its last reader frees is filled in that cycle.
    takes : In
        By reader, whether it takes its next set in this cycle.
    works : In
        By reader, whether it goes on with a set after this cycle.
    there, released : Out
        By reader, whether its next set has come, and whether it may be taken.
    sets : Out
        By reader, its next set.
    """

    def __init__(self, shape: ShapeLike, depth: int, readers: int) -> None:
        self.shape, self.slots, self.readers = shape, depth + 1, readers
        super().__init__(
            {
                "valid": In(1),
                "data": In(shape),
                "take": Out(1),
                "takes": In(readers),
                "works": In(readers),
                "there": Out(readers),
                "released": Out(readers),
                "sets": Out(ArrayLayout(shape, readers)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        data = Value.cast(self.data)
        slots = Array(Signal(len(data), name=f"slot_{slot}") for slot in range(self.slots))
        stored, write = Signal(), Signal(range(self.slots))
        m.d.comb += stored.eq(self.valid & self.take)
        with m.If(stored):
            m.d.sync += [slots[write].eq(data), write.eq(self._next(write))]

        left = [Signal(range(self.slots + 1), name=f"left_{reader}") for reader in range(self.readers)]
        last = Cat(sets == self.slots for sets in left)  # those with every slot still before them
        m.d.comb += self.take.eq(~(last & ~self.takes).any())
        for reader, sets in enumerate(left):
            read = Signal(range(self.slots), name=f"read_{reader}")
            m.d.comb += [
                Value.cast(self.sets[reader]).eq(slots[read]),
                self.there[reader].eq(sets.any()),
                # The newest set is `depth` + 1 behind the one that the last readers are at.
                self.released[reader].eq(self.there[reader] & ((sets > 1) | ~(last & self.works).any())),
            ]
            m.d.sync += sets.eq(sets + stored - self.takes[reader])
            with m.If(self.takes[reader]):
                m.d.sync += read.eq(self._next(read))
        return m

    def _next(self, slot: Value) -> Value:
        return Mux(slot == self.slots - 1, 0, slot + 1)
