"""Synthesis: the cell library follows from its rules, and areas of small circuits follow from it by hand."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed: pip install 'simhw[rtl]'")
pytest.importorskip("pyosys", reason="Yosys is not installed: pip install 'simhw[rtl]'")

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.errors import MachineError, SimhwError
from simhw.rtl.adders import AdderTree
from simhw.rtl.fpraker.shifters import LaneShifter
from simhw.rtl.synthesis import synthesise as synthesis
from simhw.rtl.synthesis.library import FO4_PS, Library, own_library, read_library
from simhw.rtl.synthesis.netlist import Netlist
from simhw.rtl.synthesis.synthesise import synthesise
from simhw.rtl.synthesis.timing import critical_path
from simhw.rtl.synthesis.yosys import run_yosys

TAU_PS = FO4_PS / 5
"""An inverter with a load of 4 takes its parasitic 1 and 4 more."""
BROKEN = "library (mine) { cell (INV) { area : 1; pin (A) { direction : input; } "


class Adder(wiring.Component):
    """A sum of two numbers of so many bits."""

    def __init__(self, bits: int, sign: bool = False) -> None:
        shape = signed if sign else unsigned
        super().__init__({"a": In(shape(bits)), "b": In(shape(bits)), "sum": Out(shape(bits + 1))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.comb += self.sum.eq(self.a + self.b)
        return m


class Delayed(wiring.Component):
    """Bits a cycle later, with or without an enable."""

    def __init__(self, bits: int, enable: bool) -> None:
        super().__init__({"x": In(bits), "enable": In(1), "y": Out(bits)})
        self.bits, self.with_enable = bits, enable

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        held = Signal(self.bits, reset_less=True)
        m.d.comb += self.y.eq(held)
        m.d.sync += held.eq(Mux(self.enable, self.x, held) if self.with_enable else self.x)
        return m


class TwoAdders(wiring.Component):
    """Two equal units, each with its own operands."""

    def __init__(self) -> None:
        operand, total = In(signed(4)), Out(signed(5))
        super().__init__({"a": operand, "b": operand, "c": operand, "first": total, "second": total})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        for number, (operand, total) in enumerate(((self.a, self.first), (self.c, self.second))):
            m.submodules[f"adder_{number}"] = adder = Adder(4, sign=True)
            m.d.comb += [adder.a.eq(operand), adder.b.eq(self.b), total.eq(adder.sum)]
        return m


@pytest.fixture(scope="module")
def library() -> Library:
    return own_library()


def inputs_of(function: str) -> dict[str, int]:
    """How often each input stands in a function."""
    names = re.findall(r"[A-Z]", function)
    return {name: names.count(name) for name in names}


def test_an_area_is_the_transistors_by_four(library: Library) -> None:
    # A static gate has two transistors an input; what is not inverting has an inverter behind it.
    for cell in library.cells.values():
        if cell.is_flip_flop or cell.name in ("XOR2", "XNOR2", "MUX2"):
            continue
        [function] = cell.functions.values()
        transistors = 2 * sum(inputs_of(function).values()) + (0 if function.startswith("!") else 2)
        assert cell.area == transistors / 4, cell.name
    areas = {name: library.cells[name].area for name in ("XOR2", "XNOR2", "MUX2", "DFF", "DFFE")}
    gates = {name: library.cells[name].area for name in ("INV", "NAND2", "NOR2", "AOI21", "OAI21", "AOI22")}
    assert areas["XOR2"] == gates["AOI21"] + gates["NOR2"]
    assert areas["XNOR2"] == gates["OAI21"] + gates["NAND2"]
    assert areas["MUX2"] == gates["AOI22"] + 2 * gates["INV"]
    assert areas["DFFE"] == areas["DFF"] + areas["MUX2"]


def test_a_delay_is_parasitic_and_load_and_four_times_the_load_is_one_inverter_more(library: Library) -> None:
    for cell in library.cells.values():
        for tables in cell.arcs.values():
            for table in tables:
                parasitic = table.at(0) / TAU_PS
                assert table.at(3) == pytest.approx((parasitic + 3) * TAU_PS)
                assert table.at(4) == pytest.approx((parasitic + 4) * TAU_PS)
                for near, far in pairwise((4, 16, 64, 256, 1024, 4096)):
                    assert table.at(far) - table.at(near) == pytest.approx(FO4_PS, rel=1e-4)
    inverter = library.cells["INV"]
    [table, _] = inverter.arcs["A", "Y"]
    assert table.at(4 * inverter.capacitances["A"]) == FO4_PS


def test_every_input_of_a_cell_has_a_capacitance_and_a_way_to_its_output(library: Library) -> None:
    for cell in library.cells.values():
        assert all(value > 0 for value in cell.capacitances.values())
        sources = {cell.clock} if cell.is_flip_flop else set(cell.capacitances)
        assert {source for source, _ in cell.arcs} == sources
        if cell.is_flip_flop:
            assert all(cell.setups_ps[pin] > 0 for pin in cell.capacitances if pin != cell.clock)


def test_a_half_adder_is_an_exclusive_or_and_an_and() -> None:
    netlist = synthesise(Adder(1), "half_adder")
    # (10 + 6) / 4: an XOR2 has 10 transistors, an AND2 has 6.
    assert netlist.cells == {"XOR2": 1, "AND2": 1}
    assert netlist.area == 4.0
    assert netlist.flip_flops == 0
    # Neither output has a load: XOR2 takes 6 tau.
    path = critical_path(netlist)
    assert path.delay_ps == pytest.approx(6 * TAU_PS)
    assert path.cells == ("XOR2",)


def test_a_register_is_a_flip_flop_a_bit_and_an_enable_is_part_of_it() -> None:
    plain, enabled = synthesise(Delayed(3, False), "plain"), synthesise(Delayed(3, True), "enabled")
    assert (plain.cells, plain.area) == ({"DFF": 3}, 18.0)
    assert (enabled.cells, enabled.area) == ({"DFFE": 3}, 27.0)
    # From an input set-up alone; from the clock to an output without a load 6 tau.
    assert critical_path(plain).delay_ps == pytest.approx(6 * TAU_PS)


def test_equal_units_are_synthesised_once_and_counted_as_often_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def counted(*arguments: object) -> list[str]:
        runs.append(arguments)
        return run_yosys(*arguments)

    monkeypatch.setattr(synthesis, "_found", {})
    monkeypatch.setattr(synthesis, "run_yosys", counted)
    whole = synthesise(TwoAdders(), "two", apart=["adder_*"])
    assert len(runs) == 2  # an adder, and what is around
    [adder] = whole.parts.values()
    assert whole.own_cells == {adder.name: 2}
    assert whole.area == 2 * adder.area
    # A path through both modules is that of the flat circuit where each is mapped alike.
    assert critical_path(whole).delay_ps == critical_path(adder).delay_ps
    assert critical_path(whole).ends[1].startswith(("first", "second"))


def test_the_same_circuit_gives_the_same_netlist(monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthesise(Adder(6), "adder")
    monkeypatch.setattr(synthesis, "_found", {})
    second = synthesise(Adder(6), "adder")
    assert first is not second
    assert (first.json, first.verilog) == (second.json, second.verilog)


@pytest.mark.parametrize(
    "circuits",
    [
        [Adder(4), Adder(8), Adder(12)],
        [LaneShifter(0), LaneShifter(3), LaneShifter(6)],
        [AdderTree(2, 6), AdderTree(4, 6), AdderTree(8, 6)],
    ],
    ids=["bits", "window", "lanes"],
)
def test_area_grows_with_bits_window_and_lanes(circuits: list[wiring.Component]) -> None:
    areas = [synthesise(circuit, "circuit").area for circuit in circuits]
    assert areas == sorted(set(areas))


def test_a_users_library_is_used(tmp_path: Path, library: Library) -> None:
    # Twice the area for each cell is twice the area of the circuit.
    doubled = re.sub(r"area : ([\d.]+)", lambda found: f"area : {2 * float(found[1]):g}", library.text)
    (tmp_path / "mine.lib").write_text(doubled)
    mine = read_library(tmp_path / "mine.lib")
    assert synthesise(Adder(4), "adder", mine).area == 2 * synthesise(Adder(4), "adder").area


def test_a_mutant_of_the_library_changes_what_is_told(tmp_path: Path, library: Library) -> None:
    # XOR2 with the area of an INV: the half adder has 0.5 + 1.5.
    head, xor = library.text.split("cell (XOR2) {", 1)
    (tmp_path / "mutant.lib").write_text(f"{head}cell (XOR2) {{{xor.replace('area : 2.5', 'area : 0.5', 1)}")
    assert synthesise(Adder(1), "half_adder", read_library(tmp_path / "mutant.lib")).area == 2.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        (BROKEN, "it ends within a group"),
        ("cell (INV) { area : 1; }", "it begins with 'cell'"),
        ("library (mine) { cell (INV) { pin (A) { direction : input; } } }", "cell INV has no area"),
        ("library (mine) { cell (INV) { area : much; } }", "area is 'much'"),
        ("library (mine) { }", "it has no inverter"),
        (
            'library (mine) { cell (INV) { area : 1; pin (Y) { direction : output; function : "!A"; } } }',
            "it has no flip-flop",
        ),
        ('library (mine) { comment : "not closed; }', "line 1: a quotation mark is not closed"),
    ],
)
def test_a_library_that_cannot_be_used_is_told_in_a_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.lib"
    path.write_text(text)
    with pytest.raises(MachineError, match=re.escape(told)) as error:
        read_library(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_what_yosys_cannot_do_is_told_in_a_line() -> None:
    with pytest.raises(SimhwError, match=r"^Yosys: .*nofile") as error:
        run_yosys(["read_rtlil nofile"], {}, [])
    assert "\n" not in str(error.value)


def test_a_loop_without_a_flip_flop_has_no_longest_path(library: Library) -> None:
    pins = {"A": {"bits": [2]}, "Y": {"bits": [2]}}
    cell = {"type": "INV", "connections": {pin: each["bits"] for pin, each in pins.items()}}
    module = {"ports": {}, "netnames": {}, "cells": {"ring": cell}}
    netlist = Netlist("ring", library, "", "", {})
    netlist.__dict__["module"] = module
    with pytest.raises(SimhwError, match="a loop without a flip-flop"):
        critical_path(netlist)
