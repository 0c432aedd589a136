"""What `simhw rtl` writes: hardware in Verilog that passes its testbench, which finds what is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest

from simhw.cli import main
from simhw.machine.machine import load_machine

pytest.importorskip("amaranth", reason="Amaranth is not installed: pip install 'simhw[rtl]'")
pytest.importorskip("pyosys", reason="Yosys is not installed: pip install 'simhw[rtl]'")

from simhw.machine.overrides import split_machine
from simhw.report.waveform import tile_passes
from simhw.rtl.testbench.memory import Memory, halves, word
from simhw.trace.reader import load_trace
from tests.rtl.testbenches import (
    ICARUS,
    VERILATOR,
    Operands,
    adversarial,
    by_icarus,
    by_verilator,
    expects_what_the_oracle_says,
    written,
)

needs_icarus = pytest.mark.skipif(ICARUS is None, reason="Icarus Verilog is not installed: apt-get install iverilog")
needs_verilator = pytest.mark.skipif(VERILATOR is None, reason="Verilator is not installed: apt-get install verilator")


def machine_of(text: str):
    name, overrides = split_machine(text)
    return load_machine(name, **overrides)


def of_trace(text: str, trace: str, sets: int) -> list[Operands]:
    """Operands of every layer and operation of a trace, about as many sets of each."""
    machine, found = machine_of(text), load_trace(trace)
    places = [(layer.name, operation) for layer in found.layers for operation in layer.operations]
    passes: list[Operands] = []
    for layer, operation in places:
        left = -(-sets // len(places)) * machine.values.pe.lanes
        for x, y in tile_passes(found, layer, operation, machine):
            # A row of X that goes to one column, and as many of Y as there are.
            passes.append((x[:1, :left], y[:, :left]))
            left -= x.shape[1]
            if left <= 0:
                break
    return passes


SMALL = {
    # Name, and Verilog that is exchanged: the unit, what stands in it first, and what then does.
    "fpraker:tile.rows=1,tile.exponent_sharing=1": ("fpraker_column", "window", " + ", " - "),
    "bitparallel": ("bitparallel_pe", "normaliser", " + ", " - "),
    "tensordash:tile.rows=1,tile.cols=1": ("tensordash_tile", "z_0", " | ", " & "),
}


def mutated(text: str, unit: str, good: str, bad: str) -> str:
    """Verilog with the first of some operators in the first module of a unit exchanged."""
    start = re.search(rf"^module \\\S*\.{unit} ", text, re.MULTILINE).start()  # type: ignore[union-attr]
    place = text.index(good, text.index("  assign ", start))
    assert place < text.index("endmodule", start), f"{unit} has no {good!r}"
    return text[:place] + bad + text[place + len(good) :]


@needs_icarus
@pytest.mark.parametrize("machine", SMALL)
def test_the_command_writes_hardware_that_passes_and_a_mutant_that_fails(machine: str, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "out"
    assert main(["rtl", "--pe", machine, "--sets", "50", "--out", str(folder)]) == 0
    told = capsys.readouterr().out
    name, *exchanged = SMALL[machine]
    assert name in told
    assert f"{name}_tb.v {name}.v" in (folder / "README.txt").read_text()
    done = by_icarus(folder, name)
    compared = next(line.split(maxsplit=1)[1] for line in told.splitlines() if line.startswith("compared"))
    assert (done.returncode, done.stdout.split("\n")[0]) == (0, f"PASS {compared.replace(',', '')}")
    file = folder / f"{name}.v"
    file.write_text(mutated(file.read_text(), *exchanged))
    done = by_icarus(folder, name)
    assert done.returncode != 0
    assert done.stdout.startswith("FAIL ")


UNITS = {
    "b_buffer_0": ("left_0 + ", "left_0 - "),
    "column_0": (" ^ ", " | "),
    r"column_0\.buffer": ("left_0 + ", "left_0 - "),
    "encoder_0": (" ^ ", " | "),
    "block": (" + ", " - "),
    "pe_0": (" + $signed", " - $signed"),
    "alignment": (" - ", " + "),
    "shifter": (" & ", " | "),
    "normaliser": (" + ", " - "),
    "offset_0": (" + ", " - "),
    "adder_tree": (" + ", " - "),
    "round_sum": (" + ", " - "),
    "running_sum": (" + ", " - "),
    "window": (" + ", " - "),
}


@pytest.fixture(scope="module")
def column(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two PEs and their testbench."""
    folder = tmp_path_factory.mktemp("column")
    written(folder, machine_of("fpraker:tile.rows=2"), adversarial(machine_of("fpraker:tile.rows=2"), 8, 12))
    return folder


@pytest.mark.slow
@needs_icarus
@pytest.mark.parametrize("unit", UNITS)
def test_a_mutant_of_each_unit_fails(unit: str, column: Path) -> None:
    file = column / "fpraker_column.v"
    whole = file.read_text()
    try:
        file.write_text(mutated(whole, unit, *UNITS[unit]))
        assert by_icarus(column, "fpraker_column").stdout.startswith("FAIL ")
    finally:
        file.write_text(whole)


def test_vector_files_hold_the_words(tmp_path: Path) -> None:
    numbers = np.array([-2, 5, 1 << 20])
    fields = word(np.array([1, 2, 0xFFFF]), halves(numbers))
    Memory("words", fields).write(tmp_path / "words.hex")
    lines = (tmp_path / "words.hex").read_text().splitlines()
    assert lines == ["ffff_fffe_0001", "0000_0005_0002", "0010_0000_ffff"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "out"], "give the machine with --pe"),
        (["--pe", "fpraker"], "a folder with --out"),
        (["--pe", "fpraker", "--out", "out", "--sets", "0"], "give from 1 to"),
        (["--pe", "fpraker:pe.oob=off", "--out", "out"], "has no hardware"),
        (["--pe", "tensordash:pe.order=any", "--out", "out"], "pe.order=any has no hardware"),
        (["--pe", "fpraker", "--out", "full"], "is there already"),
        (["--pe", "bitparallel", "--out", "missing/out"], "cannot be written"),
        (["--pe", "bitparallel", "--out", "out", "--layer", "nothing"], "no layer 'nothing'"),
        (["--pe", "bitparallel", "--out", "out", "--operation", "input_grad", "--layer", "conv1"], "input_grad"),
    ],
)
def test_what_cannot_be_written_is_told_in_a_line(arguments, told, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert main(["rtl", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"full"}
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


# At scale

FPRAKER = {
    # About 355,000 and 66,000 sets of PEs, then 133,000 of each.
    "fpraker": (3, 200),
    "fpraker-literal:tile.rows=2": (1, 900),
    "fpraker-literal:tile.rows=2,pe.rounding=cycle,pe.accumulator_fraction_bits=6,pe.oob_threshold=9": (1, 900),
    "fpraker:tile.rows=2,pe.encoder=booth4,pe.shift_window=0,tile.buffers.a=3": (1, 900),
    "fpraker:tile.rows=2,pe.encoder=binary,pe.window_on=position,pe.shift_window=1": (1, 900),
    "fpraker:tile.rows=4,tile.exponent_sharing=1,tile.buffers.a=2,pe.chunk=off,pe.oob_threshold=12": (1, 450),
}
"""Seeds of adversarial operands, and sets of each of their passes."""


def in_verilator(text: str, seeds: int, sets: int, of_trace_sets: int, folder: Path) -> int:
    """Compare sets of a machine's hardware, and a few of what is expected with the oracle; gives how many."""
    machine = machine_of(text)
    passes = [each for seed in range(seeds) for each in adversarial(machine, seed, sets)]
    passes += of_trace(text, "resnet50", of_trace_sets) if of_trace_sets else []
    twin, bench = written(folder, machine, passes)
    rng = np.random.default_rng(seeds)
    for number in rng.choice(len(passes), 6, replace=False):
        assert expects_what_the_oracle_says(machine, bench, passes, int(number))
    done = by_verilator(folder, twin.name)
    assert done.stdout.startswith(f"PASS {bench.sets} "), done.stdout + done.stderr
    return bench.sets


@pytest.mark.slow
@needs_verilator
@pytest.mark.parametrize("machine", FPRAKER)
def test_fpraker_equals_its_model_on_a_million_sets(machine: str, tmp_path: Path) -> None:
    seeds, sets = FPRAKER[machine]
    assert in_verilator(machine, seeds, sets, 8000 if machine == "fpraker" else 0, tmp_path) >= 130_000


@pytest.mark.slow
@needs_verilator
@pytest.mark.parametrize(
    "machine", ["bitparallel", "tensordash-dense:pe.chunk=64,pe.accumulator_fraction_bits=12,pe.align_range=15"]
)
def test_bit_parallel_hardware_equals_its_model_on_a_million_sets(machine: str, tmp_path: Path) -> None:
    assert in_verilator(machine, 1, 6800, 0, tmp_path) >= 500_000


@pytest.mark.slow
@needs_verilator
@pytest.mark.parametrize(
    "machine",
    ["tensordash:tile.cols=1", "tensordash:tile.rows=2,tile.cols=2,pe.sides=two,pe.order=dnnsim,pe.depth=2"],
)
def test_tensordash_equals_its_model_on_a_million_schedules(machine: str, tmp_path: Path) -> None:
    assert in_verilator(machine, 1, 2200, 0, tmp_path) >= 500_000


@pytest.mark.slow
@needs_icarus
@pytest.mark.parametrize("machine", SMALL)
def test_icarus_agrees(machine: str, tmp_path: Path) -> None:
    passes = [*adversarial(machine_of(machine), 9, 20), *of_trace(machine, "small_cnn", 500)]
    twin, bench = written(tmp_path, machine_of(machine), passes)
    assert by_icarus(tmp_path, twin.name).stdout.startswith(f"PASS {bench.sets} ")
