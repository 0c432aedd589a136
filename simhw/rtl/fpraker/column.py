"""A column of FPRaker PEs that take their sets together: one serial operand, a parallel one for each PE.

The column's term encoders recode each set of A once.  An exponent block serves `exponent_sharing` PEs, one a cycle, for
the set after the one at work, which is why a set takes no fewer cycles.  Source: spec page fpraker.md, section 3.
"""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.errors import MachineError
from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.rtl.encoder import TermEncoder
from simhw.rtl.fpraker.element import TermPE
from simhw.rtl.fpraker.exponents import ExponentBlock
from simhw.rtl.fpraker.widths import Widths
from simhw.rtl.normaliser import EXPONENT_BITS


def check_tile(tile: FPRakerTileParameters) -> None:
    """MachineError where the hardware of a tile's columns is not built here."""
    if tile.sync != "set":
        raise MachineError(f"tile.sync={tile.sync} has no hardware here: give tile.sync=set")
    if tile.empty_sets != "floor":
        raise MachineError(f"tile.empty_sets={tile.empty_sets} has no hardware here: give tile.empty_sets=floor")


class Column(wiring.Component):
    """Operands are taken in a cycle with `valid` and `take`; until then they stay as they are.

    Raises
    ------
    MachineError
        The tile's PEs do not wait for each other after every set, or sets without work cost nothing.
    """

    def __init__(self, pe: FPRakerPE, tile: FPRakerTileParameters) -> None:
        check_tile(tile)
        self.pe, self.rows, self.sharing = pe, tile.rows, tile.exponent_sharing
        operand = ArrayLayout(16, pe.lanes)
        super().__init__(
            {
                "valid": In(1),
                "restart": In(1),
                "last": In(1),
                "a": In(operand),
                "b": In(ArrayLayout(operand, tile.rows)),
                "take": Out(1),
                "busy": Out(tile.rows),
                "fires": Out(ArrayLayout(pe.lanes, tile.rows)),
                "waits": Out(ArrayLayout(pe.lanes, tile.rows)),
                "integers": Out(ArrayLayout(signed(Widths(pe).integer_bits), tile.rows)),
                "exponents": Out(ArrayLayout(EXPONENT_BITS, tile.rows)),
                "outputs": Out(ArrayLayout(16, tile.rows)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        lanes, rows, sharing = self.pe.lanes, self.rows, self.sharing
        encoders = [TermEncoder(self.pe.encoder) for _ in range(lanes)]
        for i, encoder in enumerate(encoders):
            m.submodules[f"encoder_{i}"] = encoder
            m.d.comb += encoder.fraction.eq(self.a[i][:7])

        elements = [TermPE(self.pe) for _ in range(rows)]
        taken, free, served = Signal(), Signal(rows), Signal()
        m.d.comb += [taken.eq(self.take & self.valid), self.take.eq(served & free.all())]
        for row, element in enumerate(elements):
            m.submodules[f"pe_{row}"] = element
            m.d.comb += [
                element.valid.eq(taken),
                element.restart.eq(self.restart),
                element.last.eq(self.last),
                free[row].eq(element.take),
                self.busy[row].eq(element.busy),
                self.fires[row].eq(element.fires),
                self.waits[row].eq(element.waits),
                self.integers[row].eq(element.integer),
                self.exponents[row].eq(element.exponent),
                self.outputs[row].eq(element.output),
            ]
            for i, encoder in enumerate(encoders):
                m.d.comb += [
                    element.digits[i].eq(encoder.nonzero),
                    element.negative[i].eq(encoder.negative),
                    element.signs[i].eq(self.a[i][15] ^ self.b[row][i][15]),
                    element.fractions[i].eq(self.b[row][i][:7]),
                ]

        # Whose turn it is at the exponent blocks: the last one takes its exponents as they come, those before it wait.
        turn = Signal(range(sharing))
        m.d.comb += served.eq(turn == sharing - 1)
        with m.If(taken):
            m.d.sync += turn.eq(0)
        with m.Elif(self.valid & ~served):
            m.d.sync += turn.eq(turn + 1)
        for first in range(0, rows, sharing):
            m.submodules[f"exponent_block_{first // sharing}"] = block = ExponentBlock(lanes)
            for i in range(lanes):
                m.d.comb += block.a[i].eq(self.a[i][7:15])
            for place, element in enumerate(elements[first : first + sharing]):
                with m.If(turn == place):
                    for i in range(lanes):
                        m.d.comb += block.b[i].eq(self.b[first + place][i][7:15])
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
