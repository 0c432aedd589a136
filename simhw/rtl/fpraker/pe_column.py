"""What every column of FPRaker PEs has, however they wait: one serial operand, a parallel one for each PE."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout, View
from amaranth.lib.wiring import In, Out

from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.rtl.fpraker.element import TermPE
from simhw.rtl.fpraker.serial import SerialEncoders
from simhw.rtl.fpraker.widths import Widths
from simhw.rtl.normaliser import EXPONENT_BITS

Ports = dict[str, Any]

TOLD = {
    "busy": "busy",
    "fires": "fires",
    "adds": "adds",
    "waits": "waits",
    "integers": "integer",
    "exponents": "exponent",
    "outputs": "output",
}
"""What is told of many PEs, and the output of each that it is."""


def told_of(pe: FPRakerPE, count: int) -> Ports:
    """The ports that tell of so many PEs."""
    lanes = ArrayLayout(pe.lanes, count)
    return {
        "busy": Out(count),
        "fires": Out(lanes),
        "adds": Out(lanes),
        "waits": Out(lanes),
        "integers": Out(ArrayLayout(signed(Widths(pe).integer_bits), count)),
        "exponents": Out(ArrayLayout(EXPONENT_BITS, count)),
        "outputs": Out(ArrayLayout(16, count)),
    }


class PEColumn(wiring.Component):
    """A set of A is taken in a cycle with `valid` and `take`; `restart` and `last` say of it whether it is the first
    one of a reduction, and the last.

    Parameters
    ----------
    pe, tile
    ports : dict
        By which its PEs wait for others.
    """

    def __init__(self, pe: FPRakerPE, tile: FPRakerTileParameters, ports: Mapping[str, Any]) -> None:
        self.pe, self.tile = pe, tile
        operand = ArrayLayout(16, pe.lanes)
        super().__init__(
            {
                "valid": In(1),
                "restart": In(1),
                "last": In(1),
                "a": In(operand),
                "take": Out(1),
                "b": In(ArrayLayout(operand, tile.rows)),
                **ports,
                **told_of(pe, tile.rows),
            }
        )

    def _encode(self, m: Module) -> SerialEncoders:
        """The encoders of A, which all PEs share."""
        m.submodules.encoders = encoders = SerialEncoders(self.pe.encoder, self.pe.lanes)
        m.d.comb += encoders.a.eq(self.a)
        return encoders

    def _place(self, m: Module, row: int, element: TermPE, a: View, valid: Value, restart: Value, last: Value) -> None:
        """Connect a PE with its set but for the exponents, and tell of it."""
        m.submodules[f"pe_{row}"] = element
        element.give(m, a, self.b[row])
        m.d.comb += [
            element.valid.eq(valid),
            element.restart.eq(restart),
            element.last.eq(last),
            *(getattr(self, name)[row].eq(getattr(element, told)) for name, told in TOLD.items()),
        ]
