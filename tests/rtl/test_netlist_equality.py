"""Synthesised netlists of processing elements equal the replay after every set: cycles, S, E and the output."""

import json

import numpy as np
import pytest

from simhw.bfloat16 import BF16Array
from simhw.machine.machine import load_machine
from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.pe.bitparallel.replay import BitParallelReplay
from simhw.pe.fpraker.record import fpraker_record
from simhw.pe.fpraker.replay import FPRakerReplay
from simhw.rtl.netlist.circuit import circuit_of
from simhw.rtl.netlist.operands import Sets, bitparallel_inputs, fpraker_inputs
from simhw.rtl.netlist.simulation import Simulator, unpacked
from simhw.rtl.synthesis.netlist import Netlist
from tests.oracles.inputs import adversarial_pairs

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")
pytest.importorskip("pyosys", reason="netlists need Yosys")

from simhw.rtl.bitparallel import BitParallel
from simhw.rtl.fpraker.element import LonePE
from simhw.rtl.synthesis.synthesise import synthesise

LANES = 8
Pass = tuple[BF16Array, BF16Array]


def passes(seed: int, number: int, sets: int, lanes: int = LANES) -> list[Pass]:
    """Tile passes of 8 rows of A and of B, each row of another kind; lanes that a PE does not have hold zeros."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < number:
        cases = adversarial_pairs(rng, 1, 1, sets * LANES)
        for _ in range(len(cases) // 8):
            chosen = rng.permutation(len(cases))[:8]
            a, b = (np.concatenate([cases[index][side] for index in chosen]) for side in (1, 2))
            for operand in (a, b):
                operand.reshape(8, sets, LANES)[:, :, lanes:] = 0
            found.append((a, b))
    return found[:number]


def fpraker_differences(netlist: Netlist, words: int, runs: list[list[Pass]], lanes: int = LANES) -> tuple[int, int]:
    """Sets compared, and values that differ; a list of passes is what 64 PEs do one pass after another.

    Now and then a PE has to wait for its next set.
    """
    machine = load_machine("fpraker", **{"pe.chunk": "off", "tile.exponent_sharing": 1})
    replay, circuit = FPRakerReplay(machine.values.pe, machine.values.tile), circuit_of(netlist)
    rng = np.random.default_rng(len(runs))
    compared = differences = 0
    for at in range(0, len(runs), words):
        tiles = runs[at : at + words]
        sets = Sets.beside([Sets.of_passes(tile, LANES) for tile in tiles])
        expected = [[_fpraker_pass(replay, a, b) for a, b in tile] for tile in tiles]
        times, s, e, outputs = (
            np.concatenate([np.concatenate([each[part] for each in tile], 1) for tile in expected]) for part in range(4)
        )
        # Back to back for the most part.
        waits = rng.integers(0, 4, times.shape) * (rng.random(times.shape) < 0.1)
        start = 2 + np.cumsum(times + waits, axis=1) - times
        finish = start + times
        cycles = int(finish.max()) + 1
        narrow = Sets(sets.a[:, :, :lanes], sets.b[:, :, :lanes], sets.restart, sets.last)
        seen = Simulator(circuit, words).run(fpraker_inputs(circuit, narrow, start, cycles)).outputs
        streams = np.arange(len(start))[:, None]
        busy, ends = np.zeros((2, cycles, len(start)), bool)
        ends[finish - 1, streams] = True
        for offset in range(int(times.max())):
            busy[np.minimum(start + offset, finish - 1), streams] = True
        differences += int((unpacked(seen["busy"]) != busy).sum() + (unpacked(seen["ends"]) != ends).sum())
        differences += int((unpacked(seen["integer"], signed=True)[finish, streams] != s).sum())
        differences += int((unpacked(seen["exponent"])[finish, streams] != e).sum())
        read = unpacked(seen["output"])[finish[:, sets.last], streams]
        differences += int((read != outputs).sum())
        compared += times.size
    return compared, differences


def _fpraker_pass(replay: FPRakerReplay, a: BF16Array, b: BF16Array) -> tuple[np.ndarray, ...]:
    """Of each PE and set: cycles, S and E after it; of each PE the output."""
    sets = a.shape[1] // LANES
    record = fpraker_record(8, 8, LANES, sets, 0, 0)
    _, _, outputs = replay.tile_pass(a, b, np.ones(8, bool), record)
    s, e = (np.moveaxis(values, 1, 2) for values in (record.s, record.exponent))
    times = record.finish - record.start
    hardware = np.where(s == 0, 0, e + EXPONENT_OFFSET)
    return tuple(each.reshape(64, -1) for each in (times, s, hardware, outputs))


def bitparallel_differences(netlist: Netlist, words: int, runs: list[list[Pass]], stages: int) -> tuple[int, int]:
    """Sets compared, and values that differ."""
    machine = load_machine("bitparallel")
    replay, circuit = BitParallelReplay(machine.values.pe, machine.values.tile), circuit_of(netlist)
    compared = differences = 0
    for at in range(0, len(runs), words):
        tiles = runs[at : at + words]
        sets = Sets.beside([Sets.of_passes(tile, LANES) for tile in tiles])
        expected = [[_bitparallel_pass(replay, a, b) for a, b in tile] for tile in tiles]
        s, e, outputs = (
            np.concatenate([np.concatenate([each[part] for each in tile], 1) for tile in expected]) for part in range(3)
        )
        seen = Simulator(circuit, words).run(bitparallel_inputs(circuit, sets, stages)).outputs
        for port, wanted in (("s", s), ("exponent", e)):
            found = unpacked(seen[port], signed=port == "s")[1 + stages :].T
            differences += int((found != wanted).sum())
        differences += int((unpacked(seen["value"])[1 + stages :].T[:, sets.last] != outputs).sum())
        compared += s.size
    return compared, differences


def _bitparallel_pass(replay: BitParallelReplay, a: BF16Array, b: BF16Array) -> tuple[np.ndarray, ...]:
    """Of each PE and set S and E after it; of each PE the output."""
    found = [replay.registers(x, y) for x in a for y in b]
    registers, outputs = (np.stack(each) for each in zip(*found, strict=True))
    s = registers[..., 0]
    hardware = np.where(s == 0, 0, registers[..., 1] + EXPONENT_OFFSET)
    return s, hardware, outputs[:, None]


def swapped(netlist: Netlist, number: int) -> Netlist:
    """The netlist with one gate of two inputs changed for another, the `number`-th of those that are one of a few."""
    others = {"NAND2": "NOR2", "NOR2": "NAND2", "XOR2": "XNOR2", "XNOR2": "XOR2", "AND2": "OR2", "OR2": "AND2"}
    cells = netlist.module["cells"]
    names = [name for name, cell in cells.items() if cell["type"] in others]
    name = names[number % len(names)]
    changed = cells | {name: cells[name] | {"type": others[cells[name]["type"]]}}
    text = json.dumps({"modules": {netlist.name: netlist.module | {"cells": changed}}})
    return Netlist(netlist.name, netlist.library, text, "", netlist.parts)


@pytest.fixture(scope="module")
def narrow() -> Netlist:
    """An FPRaker PE of two lanes, which is synthesised in a second."""
    pe = load_machine("fpraker", **{"pe.chunk": "off"}).values.pe
    return synthesise(LonePE(pe.model_copy(update={"lanes": 2})), "fpraker_pe")


def test_a_netlist_equals_the_replay_after_every_set(narrow: Netlist) -> None:
    runs = [passes(seed, 4, 16, lanes=2) for seed in range(2)]
    assert fpraker_differences(narrow, 2, runs, lanes=2) == (2 * 64 * 4 * 16, 0)


def test_a_netlist_with_another_cell_differs(narrow: Netlist) -> None:
    runs = [passes(1, 4, 16, lanes=2)]
    for number in (3, 40, 200):
        assert fpraker_differences(swapped(narrow, number), 1, runs, lanes=2)[1] > 0


@pytest.fixture(scope="module")
def fpraker() -> Netlist:
    return synthesise(LonePE(load_machine("fpraker", **{"pe.chunk": "off"}).values.pe), "fpraker_pe")


@pytest.fixture(scope="module")
def bitparallel() -> Netlist:
    return synthesise(BitParallel(load_machine("bitparallel").values.pe), "bitparallel_pe", apart=["multiplier_*"])


@pytest.mark.slow
def test_a_million_sets_of_fprakers_netlist_equal_the_replay(fpraker: Netlist) -> None:
    # 128 times 64 PEs, each with 4 reductions of 32 sets.
    runs = [passes(seed, 4, 32) for seed in range(128)]
    assert fpraker_differences(fpraker, 8, runs) == (128 * 64 * 4 * 32, 0)


@pytest.mark.slow
def test_a_million_sets_of_the_bit_parallel_netlist_equal_the_replay(bitparallel: Netlist) -> None:
    runs = [passes(seed, 4, 32) for seed in range(128)]
    assert bitparallel_differences(bitparallel, 8, runs, stages=1) == (128 * 64 * 4 * 32, 0)


@pytest.mark.slow
def test_whole_netlists_with_another_cell_differ(fpraker: Netlist, bitparallel: Netlist) -> None:
    runs = [passes(seed, 8, 32) for seed in range(8)]
    numbers = range(0, 2000, 200)
    assert all(fpraker_differences(swapped(fpraker, number), 8, runs)[1] for number in numbers)
    # Synthesis leaves cells that are seen at rare operands or at none; of these ten there is one.
    assert sum(bitparallel_differences(swapped(bitparallel, number), 8, runs, 1)[1] > 0 for number in numbers) >= 9
