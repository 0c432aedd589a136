"""Synthesis: cells and areas that follow by hand, and the same result twice."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.synthesis.synthesise import synthesise
from simhw.rtl.synthesis.timing import critical_path


class Adder(wiring.Component):
    """A sum of two numbers of so many bits."""

    def __init__(self, bits: int) -> None:
        super().__init__({"a": In(bits), "b": In(bits), "sum": Out(bits + 1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.comb += self.sum.eq(self.a + self.b)
        return m


def test_a_half_adder_is_an_exclusive_or_and_an_and() -> None:
    netlist = synthesise(Adder(1), "half_adder")
    # (10 + 6) / 4: an XOR2 has 10 transistors, an AND2 has 6.
    assert netlist.cells == {"XOR2": 1, "AND2": 1}
    assert netlist.area == 4.0
    assert netlist.flip_flops == 0
    # Neither output has a load: XOR2 takes 6 tau of 5 ps.
    path = critical_path(netlist)
    assert path.delay_ps == pytest.approx(30.0)
    assert path.cells == ("XOR2",)
