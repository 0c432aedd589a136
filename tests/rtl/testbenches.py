"""Testbenches that `simhw rtl` writes, run by Icarus Verilog and by Verilator; what they expect, beside the oracles."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simhw.bfloat16 import BF16Array, from_float32
from simhw.machine.machine import Machine
from simhw.pe.fpraker.parameters import FPRakerValues
from simhw.pe.tensordash.parameters import TensorDashValues
from simhw.rtl.testbench.bench import Bench
from simhw.rtl.testbench.benches import bench_of
from simhw.rtl.testbench.folder import write_bench
from simhw.rtl.testbench.memory import Fields
from simhw.rtl.twins import Twin, twin_of
from tests.oracles.accumulator import decode_rows
from tests.oracles.bitparallel import add_set
from tests.oracles.inputs import adversarial_pairs
from tests.oracles.tensordash import LANES, operand_masks, tile_schedule
from tests.rtl.fpraker_runs import SetTrace, WatchedAccumulator, column_of_oracle

Operands = tuple[BF16Array, BF16Array]
IDLE = 255
ICARUS, VERILATOR = shutil.which("iverilog"), shutil.which("verilator")


def hardware_rows(machine: Machine) -> tuple[int, int]:
    """Rows of X and of Y that the hardware takes at a time."""
    values = machine.values
    if isinstance(values, FPRakerValues):
        return 1, values.tile.rows
    return (values.tile.rows, values.tile.cols) if isinstance(values, TensorDashValues) else (1, 1)


def adversarial(machine: Machine, seed: int, sets: int) -> list[Operands]:
    """Every kind of operands that tries to break something, 74 passes of so many sets."""
    x_rows, y_rows = hardware_rows(machine)
    rng = np.random.default_rng(seed)
    return [(x, y) for _, x, y in adversarial_pairs(rng, x_rows, y_rows, sets * machine.values.pe.lanes)]


def written(folder: Path, machine: Machine, passes: Sequence[Operands]) -> tuple[Twin, Bench]:
    """The files of a testbench in a folder."""
    twin = twin_of(machine.values)
    sets = sum(x.shape[1] for x, _ in passes) // machine.values.pe.lanes
    bench = bench_of(twin.component, passes, sets)
    write_bench(folder, twin, bench, "Operands of a test.")
    return twin, bench


def by_icarus(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """What a testbench prints in Icarus Verilog, and its exit code."""
    files = f"{name}_tb.v", f"{name}.v"
    subprocess.run(["iverilog", "-g2012", "-o", "run.vvp", *files], cwd=folder, check=True, capture_output=True)
    return subprocess.run(["vvp", "-N", "run.vvp"], cwd=folder, check=False, capture_output=True, text=True)


def by_verilator(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """What it prints in Verilator."""
    options = ["--binary", "--timing", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-UNOPTFLAT"]
    command = ["verilator", *options, "--top-module", f"{name}_tb", f"{name}_tb.v", f"{name}.v"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return subprocess.run([f"obj_dir/V{name}_tb"], cwd=folder, check=False, capture_output=True, text=True)


# What a testbench expects, beside the oracles


def memory(bench: Bench, name: str) -> Fields:
    (found,) = [each.fields for each in bench.memories if each.name == name]
    return found


def integers(fields: Fields) -> list[int]:
    """Integers of two fields each, the lower half first."""
    return [int(each) for each in np.ascontiguousarray(fields).view("<i4").ravel()]


def expects_what_the_oracle_says(machine: Machine, bench: Bench, passes: Sequence[Operands], number: int) -> int:
    """Look at the first sets of one pass; gives how many were looked at, of all PEs."""
    values = machine.values
    before = sum(x.shape[1] for x, _ in passes[:number]) // values.pe.lanes
    x, y = passes[number]
    k = min(x.shape[1], 60 * values.pe.lanes)
    if isinstance(values, TensorDashValues):
        return _schedules_agree(values, bench, passes, number)
    whole = k == x.shape[1]
    return _sets_agree(values, bench, before, x[:, :k], y[:, :k], whole)


def _sets_agree(values, bench: Bench, before: int, x: BF16Array, y: BF16Array, whole: bool) -> int:
    results = memory(bench, "results").reshape(len(y), -1, 7)
    sets = x.shape[1] // values.pe.lanes
    if isinstance(values, FPRakerValues):
        lanes = np.ascontiguousarray(memory(bench, "lanes")).view(np.uint8).reshape(-1, 2, len(y))
        traces = column_of_oracle(values.pe, values.tile.model_copy(update={"cols": 1}), x, y)
    else:
        traces = _bitparallel_traces(values.pe, x, y)
    for index, rows in enumerate(traces):
        for row, trace in enumerate(rows):
            found = results[row, before + index]
            end, s = integers(found[:4])
            assert (s, found[4]) == (trace.integer, trace.exponent), f"set {index}, PE {row}"
            if trace.output is not None and (whole or index + 1 < sets):
                assert found[5] == trace.output
            if isinstance(values, FPRakerValues):
                cycles = slice(end - len(trace.cycles), end)
                assert tuple(lanes[cycles, 0, row]) == tuple(fired for fired, _, _ in trace.cycles)
                assert tuple(lanes[cycles, 1, row]) == tuple(waiting for _, _, waiting in trace.cycles)
    return sets * len(y)


def _bitparallel_traces(pe, x: BF16Array, y: BF16Array):
    register = WatchedAccumulator(pe.accumulator_fraction_bits, None if pe.chunk == "off" else pe.chunk)
    traces = []
    for x_set, y_set in zip(decode_rows(x, pe.lanes)[0], decode_rows(y, pe.lanes)[0], strict=True):
        add_set(register, x_set, y_set, pe.align_range)
        output = int(from_float32(np.float32([register.read_out()]))[0]) if pe.chunk == "off" else None
        traces.append([SetTrace((), *register.ended, output)])
    return traces


def _schedules_agree(values: TensorDashValues, bench: Bench, passes: Sequence[Operands], number: int) -> int:
    """The whole pass: an output ends where the tile is done."""
    schedules = memory(bench, "schedules")
    ends = np.flatnonzero(schedules[:, 0] >> 8)
    first = ends[number - 1] + 1 if number else 0
    x, y = passes[number]
    masks = operand_masks(x)
    if values.pe.sides == "two":
        masks = [[a & b for a, b in zip(p, q, strict=True)] for p in masks for q in operand_masks(y)]
    expected = tile_schedule(masks, values.pe.depth, values.pe.order)
    assert ends[number] + 1 - first == expected.cycles
    position = 0
    for cycle, (advance, rows) in enumerate(zip(expected.advanced, expected.chosen, strict=True)):
        found = schedules[first + cycle]
        assert found[0] & 0xFF == advance
        pairs = np.ascontiguousarray(found[1:]).reshape(len(rows), -1)[:, :8].copy().view(np.uint8)
        for own, lanes in zip(pairs, rows, strict=True):
            assert own.tolist() == [IDLE if at is None else (at[0] - position) * LANES + at[1] for at in lanes]
        position += advance
    return expected.cycles * len(masks)
