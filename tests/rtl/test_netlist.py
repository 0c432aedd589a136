"""Netlists as arrays: every output bit and every toggle equals that of plain Python, cell by cell."""

import json
from typing import Any

import numpy as np
import pytest

from simhw.errors import ShapeError, SimhwError
from simhw.rtl.netlist.circuit import circuit_of
from simhw.rtl.netlist.functions import read_function
from simhw.rtl.netlist.loads import LoadModel
from simhw.rtl.netlist.simulation import STREAMS, Delay, Simulator, packed, unpacked
from simhw.rtl.synthesis.library import own_library
from simhw.rtl.synthesis.netlist import Netlist
from tests.oracles import netlist as slow

LIBRARY = own_library()


def netlist_of(
    ports: dict[str, tuple[str, list[Any]]],
    cells: dict[str, tuple[str, dict[str, Any]]],
    parts: dict[str, Netlist] | None = None,
    name: str = "unit",
) -> Netlist:
    """A netlist of ports (direction, bits) and cells (type, bits at the pins)."""
    module = {
        "ports": {port: {"direction": direction, "bits": bits} for port, (direction, bits) in ports.items()},
        "cells": {
            cell: {
                "type": kind,
                "connections": {pin: bits if isinstance(bits, list) else [bits] for pin, bits in pins.items()},
            }
            for cell, (kind, pins) in cells.items()
        },
        "netnames": {},
    }
    return Netlist(name, LIBRARY, json.dumps({"modules": {name: module}}), "", parts or {})


def random_netlist(seed: int, gates: int = 60, flip_flops: int = 12) -> Netlist:
    """Gates of every kind on inputs, constants, flip-flops and each other; flip-flops with and without an enable."""
    rng = np.random.default_rng(seed)
    kinds = [cell for cell in LIBRARY.cells.values() if not cell.is_flip_flop]
    held = list(range(20, 20 + flip_flops))
    bits: list[Any] = ["0", "1", *range(2, 10), *held]
    cells: dict[str, tuple[str, dict[str, Any]]] = {}
    for gate in range(gates):
        kind = kinds[gate % len(kinds)]
        output = 100 + gate
        # Mostly late ones, so that ways through the circuit differ in length.
        pins = {pin: bits[-1 - min(int(rng.geometric(0.1)), len(bits)) + 1] for pin in kind.capacitances}
        cells[f"g{gate}"] = (kind.name, pins | dict.fromkeys(kind.functions, output))
        bits.append(output)
    for index, bit in enumerate(held):
        pins = {"CK": 50, "D": bits[rng.integers(len(bits))], "Q": bit}
        if enabled := bool(index % 2):
            pins["E"] = bits[rng.integers(len(bits))]
        cells[f"f{index}"] = ("DFFE" if enabled else "DFF", pins)
    # Names in another order than that of the signals.
    shuffled = dict(rng.permutation(np.array(list(cells.items()), dtype=object)).tolist())
    outputs = [bits[index] for index in rng.permutation(len(bits))[:9]]
    return netlist_of({"x": ("input", list(range(2, 10))), "clk": ("input", [50]), "y": ("output", outputs)}, shuffled)


def bit_of(netlist: Netlist, name: str) -> Any:
    """What Yosys calls a net of the circuit; None for a constant and for what lies within a cell."""
    if "[" in name:
        port, _, place = name.partition("[")
        return netlist.module["ports"][port]["bits"][int(place[:-1])]
    cell, dot, pin = name.replace(" state", ".Q").rpartition(".")
    return netlist.module["cells"][cell]["connections"][pin][0] if dot else None


def check(netlist: Netlist, delay: Delay, cycles: int, seed: int, flat: Netlist | None = None) -> None:
    """Compare every output bit and every toggle, of each net and of each cycle, with the slow netlist."""
    circuit = circuit_of(netlist)
    flat = flat or netlist
    distinct = np.random.default_rng(seed).integers(0, 256, (cycles, 4))
    bits = [bit_of(flat, name) for name in circuit.names]
    weights = np.array([0.0 if bit is None else 1.0 + net for net, bit in enumerate(bits)])
    simulator = Simulator(circuit, 1, delay, weights)
    # In two runs, the second of which goes on where the first one ended.
    inputs = packed(np.repeat(distinct, STREAMS // 4, axis=1), 8)
    runs = [simulator.run({"x": inputs[:5]}), simulator.run({"x": inputs[5:]})]
    outputs = np.concatenate([unpacked(each.outputs["y"]) for each in runs])[:, :: STREAMS // 4]
    energies = np.concatenate([each.energies for each in runs])[:, :: STREAMS // 4]
    expected = np.zeros(circuit.nets, np.int64)
    for stream in range(4):
        seen, toggles = slow.run(flat, [{"x": int(each)} for each in distinct[:, stream]], delay == "unit")
        assert [each["y"] for each in seen] == outputs[:, stream].tolist()
        counts = np.array([[0 if bit is None else counted[bit] for bit in bits] for counted in toggles])
        np.testing.assert_array_equal(energies[:, stream], counts @ weights)
        expected += STREAMS // 4 * counts.sum(axis=0)
    found = sum(each.toggles for each in runs)
    np.testing.assert_array_equal(np.where(weights > 0, found, 0), expected)
    assert found.sum() > 0


@pytest.mark.parametrize("delay", ["zero", "unit"])
@pytest.mark.parametrize("seed", range(3))
def test_outputs_and_toggles_equal_the_slow_netlist(seed: int, delay: Delay) -> None:
    check(random_netlist(seed), delay, cycles=12, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("delay", ["zero", "unit"])
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_outputs_and_toggles_equal_the_slow_netlist(seed: int, delay: Delay) -> None:
    check(random_netlist(seed, gates=150, flip_flops=20), delay, cycles=20, seed=seed)


def test_a_cell_of_another_type_differs() -> None:
    netlist = random_netlist(1)
    cells = netlist.module["cells"]
    name = next(name for name, cell in cells.items() if cell["type"] == "NAND2" and cell["connections"]["Y"][0] < 160)
    swapped = cells | {name: cells[name] | {"type": "NOR2"}}
    changed = Netlist("unit", LIBRARY, json.dumps({"modules": {"unit": netlist.module | {"cells": swapped}}}), "", {})
    with pytest.raises(AssertionError):
        check(changed, "zero", cycles=12, seed=1, flat=netlist)


def test_a_glitch_is_seen_with_delays_alone() -> None:
    # x & !x is 0 before and after x rises, and 1 while the inverter has not followed: up and down, where x stays 0 in
    # the first of three cycles, rises in the second and falls in the third.
    netlist = netlist_of(
        {"x": ("input", [2]), "y": ("output", [4])},
        {"inv": ("INV", {"A": 2, "Y": 3}), "and": ("AND2", {"A": 2, "B": 3, "Y": 4})},
    )
    circuit = circuit_of(netlist)
    rise = {"x": packed(np.repeat([[0], [1], [0]], STREAMS, axis=1), 1)}
    toggles = {delay: Simulator(circuit, 1, delay).run(rise).toggles[-1] for delay in ("none", "zero", "unit")}
    assert toggles == {"none": 0, "zero": 0, "unit": 2 * STREAMS}


def test_parts_are_as_if_they_were_not_apart() -> None:
    # A part with a constant and an input that it only passes on: y = !(x0 & x1), x1, 1.
    part = netlist_of(
        {"a": ("input", [2, 3]), "b": ("output", [4, 3, "1"])},
        {"g": ("NAND2", {"A": 2, "B": 3, "Y": 4})},
        name="part",
    )
    ports = {"x": ("input", list(range(2, 10))), "y": ("output", [20, 21, 22, 23])}
    whole = netlist_of(
        ports, {"u.g": ("NAND2", {"A": 5, "B": 7, "Y": 20}), "h": ("XOR2", {"A": 20, "B": 7, "Y": 23})}
    ).module
    whole["ports"]["y"]["bits"] = [20, 7, "1", 23]
    flat = Netlist("unit", LIBRARY, json.dumps({"modules": {"unit": whole}}), "", {})
    nested = netlist_of(
        ports,
        {"u": ("part", {"a": [5, 7], "b": [20, 21, 22]}), "h": ("XOR2", {"A": 20, "B": 21, "Y": 23})},
        {"part": part},
    )
    check(nested, "unit", cycles=12, seed=3, flat=flat)


def test_a_net_costs_what_hangs_on_it() -> None:
    # x drives the inputs of an AND2 (5/3... by the library) and of an INV (1); each has a wire of 1.
    circuit = circuit_of(
        netlist_of(
            {"x": ("input", [2, 3]), "clk": ("input", [9]), "y": ("output", [5])},
            {
                "inv": ("INV", {"A": 2, "Y": 4}),
                "and": ("AND2", {"A": 2, "B": 4, "Y": 5}),
                "ff": ("DFF", {"CK": 9, "D": 5, "Q": 6}),
            },
        )
    )
    gate = LIBRARY.cells["AND2"].capacitances["A"]
    energies = dict(zip(circuit.names, LoadModel().of_toggles(circuit), strict=True))
    assert energies["x[0]"] == pytest.approx(gate + 1 + 2)
    assert energies["x[1]"] == 0
    assert energies["inv.Y"] == pytest.approx(gate + 1 + 0.5)  # an inverter has an area of 0.5
    assert energies["and.Y"] == pytest.approx(1 + 1 + 1.5)
    assert LoadModel().of_clock(circuit) == 2 * (1 + 1 + 6)  # a flip-flop has an area of 6


def test_numbers_are_packed_and_unpacked() -> None:
    numbers = np.random.default_rng(0).integers(-512, 512, (3, 2 * STREAMS))
    words = packed(numbers & 1023, 10)
    assert words.shape == (3, 10, 2)
    assert words[1, 0, 1] >> np.uint64(5) & np.uint64(1) == numbers[1, STREAMS + 5] & 1
    np.testing.assert_array_equal(unpacked(words, signed=True), numbers)
    np.testing.assert_array_equal(unpacked(words), numbers & 1023)
    with pytest.raises(ShapeError, match="63 streams do not fill words of 64"):
        packed(numbers[:, :63], 10)


@pytest.mark.parametrize(
    ("text", "ones"),
    [
        ("!((A & B) | C)", {0, 1, 2}),
        ("(A B)' + C'", {0, 1, 2, 3, 4, 5, 6}),
        ("A + B * C", {1, 3, 5, 6, 7}),
        ("A ^ B & C", {5, 6}),  # what is exclusive binds first
        ("!A ^ 1", {1, 3, 5, 7}),
    ],
)
def test_functions_are_read_as_liberty_has_them(text: str, ones: set[int]) -> None:
    # Number n has A in its lowest bit, then B, then C.
    cells = own_library().cells
    kind = cells["NAND3"]
    library = type(LIBRARY)("", "", {"NAND3": type(kind)(**(vars(kind) | {"functions": {"Y": text}}))})
    module = {
        "ports": {"x": {"direction": "input", "bits": [2, 3, 4]}, "y": {"direction": "output", "bits": [5]}},
        "cells": {"g": {"type": "NAND3", "connections": {"A": [2], "B": [3], "C": [4], "Y": [5]}}},
        "netnames": {},
    }
    circuit = circuit_of(Netlist("unit", library, json.dumps({"modules": {"unit": module}}), "", {}))
    numbers = np.arange(STREAMS)[None] % 8
    found = unpacked(Simulator(circuit, 1).run({"x": packed(numbers, 3)}).outputs["y"])[0, :8]
    assert set(np.flatnonzero(found)) == ones


@pytest.mark.parametrize("text", ["", "A &", "(A", "A)", "A $ B", "!"])
def test_what_is_no_function_is_refused(text: str) -> None:
    with pytest.raises(SimhwError, match="no Boolean function"):
        read_function(text)


def test_netlists_that_cannot_be_simulated_are_refused() -> None:
    ports = {"x": ("input", [2]), "clk": ("input", [3]), "y": ("output", [4])}
    refused = {
        "gates form a loop": {"a": ("INV", {"A": 4, "Y": 5}), "b": ("INV", {"A": 5, "Y": 4})},
        "2 clocks": {"a": ("DFF", {"CK": 3, "D": 2, "Q": 4}), "b": ("DFF", {"CK": 2, "D": 2, "Q": 5})},
        "the clock is no input of its own": {"a": ("DFF", {"CK": 7, "D": 2, "Q": 4})},
        "'LATCH', which": {"a": ("LATCH", {"D": 2, "Q": 4})},
    }
    for message, cells in refused.items():
        with pytest.raises(SimhwError, match=message):
            circuit_of(netlist_of(ports, cells))
    simulator = Simulator(circuit_of(netlist_of(ports, {"a": ("DFF", {"CK": 3, "D": 2, "Q": 4})})), 1)
    with pytest.raises(ShapeError, match=r"input ports are \['x'\], not \['y'\]"):
        simulator.run({"y": packed(np.zeros((1, STREAMS), np.int64), 1)})
    with pytest.raises(ShapeError, match="port x: cycles x 1 bits x 1 words"):
        simulator.run({"x": packed(np.zeros((1, STREAMS), np.int64), 2)})
