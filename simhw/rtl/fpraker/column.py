"""A column of FPRaker PEs that take their sets together: one serial operand, a parallel one for each PE.

The column's term encoders recode each set of A once.  An exponent block serves `exponent_sharing` PEs, one a cycle, for
the set after the one at work, which is why a set takes no fewer cycles.  Source: spec page fpraker.md, section 3.
"""

import operator
from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from simhw.errors import MachineError
from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.rtl.adders import tree
from simhw.rtl.encoder import POSITIONS
from simhw.rtl.fpraker.element import TermPE
from simhw.rtl.fpraker.exponents import ExponentBlock
from simhw.rtl.fpraker.offsets import leading
from simhw.rtl.fpraker.pe_column import PEColumn


def check_tile(pe: FPRakerPE, tile: FPRakerTileParameters) -> None:
    """MachineError where the hardware of a tile is not built here."""
    if tile.sync == "pe" and pe.oob == "column":
        raise MachineError(
            "pe.oob=column with tile.sync=pe has no hardware: PEs cannot know each other's bounds in time"
        )
    if tile.empty_sets == "skip":
        raise MachineError("tile.empty_sets=skip has no hardware: any number of sets would have to come in a cycle")


class Column(PEColumn):
    """Operands are taken in a cycle with `valid` and `take`; until then they stay as they are.

    Attributes
    ----------
    ready : Out
        The set could be taken, as far as this column knows.
    held : In
        It is not, as others have to come first.
    works : Out
        The column goes on with a set after this cycle.

    Raises
    ------
    MachineError
        There is no hardware for how the tile's PEs wait, or they do not move as a column.
    """

    def __init__(self, pe: FPRakerPE, tile: FPRakerTileParameters) -> None:
        check_tile(pe, tile)
        if tile.sync == "pe":
            raise MachineError("tile.sync=pe has no column that moves as one: its PEs go at their own pace")
        self.shared_pointers = tile.sync == "term"
        super().__init__(pe, tile, {"held": In(1), "ready": Out(1), "works": Out(1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        lanes, rows, sharing = self.pe.lanes, self.tile.rows, self.tile.exponent_sharing
        encoders = self._encode(m)
        elements = [TermPE(self.pe, self.shared_pointers) for _ in range(rows)]
        taken, free, served = Signal(), Signal(rows), Signal()
        m.d.comb += [
            self.works.eq(~free.all()),
            self.ready.eq(self.valid & served & ~self.works),
            self.take.eq(served & ~self.works & ~self.held),
            taken.eq(self.take & self.valid),
        ]
        for row, element in enumerate(elements):
            self._place(m, row, element, encoders.set, taken, self.restart, self.last)
            m.d.comb += free[row].eq(element.take)

        if self.pe.oob == "column":
            self._share_bounds(m, elements)
        if self.shared_pointers:
            self._share_pointers(m, elements, taken, encoders.set.digits)

        # Whose turn it is at the exponent blocks: the last one takes its exponents as they come, those before it wait.
        turn = Signal(range(sharing))
        m.d.comb += served.eq(turn == sharing - 1)
        with m.If(taken):
            m.d.sync += turn.eq(0)
        with m.Elif(self.valid & ~served):
            m.d.sync += turn.eq(turn + 1)
        for first in range(0, rows, sharing):
            m.submodules[f"exponent_block_{first // sharing}"] = block = ExponentBlock(lanes)
            m.d.comb += block.a.eq(encoders.set.exponents)
            for place, element in enumerate(elements[first : first + sharing]):
                with m.If(turn == place):
                    b = self.b[first + place]
                    m.d.comb += Cat(*block.b).eq(Cat(b[i][7:15] for i in range(lanes)))
                outputs = (block.valid, block.exponents.as_value(), block.largest)
                inputs = (element.lane_valid, element.exponents.as_value(), element.largest)
                for output, into in zip(outputs, inputs, strict=True):
                    if place < sharing - 1:
                        waiting = Signal.like(output, name=f"waiting_{first + place}")
                        with m.If(turn == place):
                            m.d.sync += waiting.eq(output)
                        m.d.comb += into.eq(waiting)
                    else:
                        m.d.comb += into.eq(output)
        return m

    def _share_bounds(self, m: Module, elements: Sequence[TermPE]) -> None:
        """A lane's digits are needed up to the last one that is in bounds in some PE."""
        for i in range(self.pe.lanes):
            needed = Signal(POSITIONS, name=f"needed_{i}")
            m.d.comb += needed.eq(tree(operator.or_, [element.in_bounds[i] for element in elements]))
            m.d.comb += (element.needed[i].eq(needed) for element in elements)

    def _share_pointers(self, m: Module, elements: Sequence[TermPE], taken: Value, digits: View) -> None:
        """A lane moves on from a term at the end of the cycle in which its last PE has fired it."""
        for i in range(self.pe.lanes):
            pending, slots = Signal(POSITIONS, name=f"pending_{i}"), Signal(POSITIONS, name=f"slots_{i}")
            moves = ~Cat(element.stays[i] for element in elements).any()
            needed = elements[0].needed[i] if self.pe.oob == "column" else ~0
            m.d.comb += slots.eq(pending & Mux(elements[0].starts, needed, ~0))
            m.d.comb += ([element.pending[i].eq(pending), element.moves[i].eq(moves)] for element in elements)
            m.d.sync += pending.eq(Mux(taken, digits[i], Mux(moves, slots & ~leading(slots), slots)))
