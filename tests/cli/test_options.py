"""Options that `simhw run` and `simhw compare` share: what they override, write and refuse."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from simhw import load_machine
from simhw.cli import main
from simhw.machine.files import read_machine
from simhw.trace.reader import trace_hash
from tests.cli_runs import SUBCOMMANDS, details, fails, output, result

pytestmark = pytest.mark.usefixtures("folder")


def test_set_reaches_every_machine_that_has_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    text = details(
        capsys,
        "run",
        "--pe",
        "fpraker",
        "--pe",
        "tensordash",
        "--set",
        "oob_threshold=9",
        "--set",
        "tile.rows=2",
        "--out",
        "o.csv",
    )
    frame = pd.read_csv("o.csv")
    assert set(frame.machine) == {"fpraker:pe.oob_threshold=9,tile.rows=2", "tensordash:tile.rows=2"}
    # Baselines stay as the machines' files have them.
    assert set(frame.baseline) == {"bitparallel:memory.compression=none", "tensordash-dense"}
    assert "Caution: area and power" not in text  # they follow both values


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_baselines_compress_as_they_are_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--pe", "fpraker", "--pe", "tensordash", "--baseline-compression", "same", "--out", "o.csv"]
    text = details(capsys, command, *told)
    frame = pd.read_csv("o.csv")
    assert set(frame.baseline) == {"bitparallel", "tensordash-dense"}
    assert set(zip(frame.compression, frame.baseline_compression, strict=True)) == {("bdc", "bdc"), ("zero", "zero")}
    assert "off chip   base-delta compression, of the machine and its baseline" in text


@pytest.mark.parametrize("amount", [["--exact"], ["--sample", "0.5"]])
@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_amount_that_a_sampled_trace_cannot_follow_is_refused(
    command: str, amount: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, command, "--trace", "resnet50", "--pe", "fpraker", *amount)
    assert f"{amount[0]}: " in line
    assert "resnet50.npz holds a sample of its products" in line


def test_a_machines_own_override_prevails_over_set(capsys: pytest.CaptureFixture[str]) -> None:
    output(
        capsys,
        "run",
        "--pe",
        "fpraker:pe.oob_threshold=6",
        "--pe",
        "fpraker:oob_threshold=7",
        "--set",
        "pe.oob_threshold=9",
        "--out",
        "o.csv",
    )
    assert set(pd.read_csv("o.csv").machine) == {"fpraker:pe.oob_threshold=6", "fpraker:pe.oob_threshold=7"}


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_memory_is_an_override_of_machines_and_baselines(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    machines = ("--pe", "fpraker", "--pe", "tensordash", "--out", "o.csv")
    text = details(capsys, command, *machines, "--memory", "ideal")
    frame = pd.read_csv("o.csv")
    assert set(frame.machine) == {"fpraker:memory.model=ideal", "tensordash:memory.model=ideal"}
    assert set(frame.baseline) == {"bitparallel:memory.model=ideal", "tensordash-dense:memory.model=ideal"}
    assert text.count("overrides  memory.model = ideal") == 2
    np.testing.assert_array_equal(frame.overall_cycles, frame.cycles)
    np.testing.assert_allclose(frame.overall_energy_j, frame.energy_j)
    output(capsys, command, *machines, "--baseline", "bitparallel:memory.model=ideal", "--memory", "modelled")
    frame = pd.read_csv("o.csv")
    assert (frame.overall_cycles > frame.cycles).all()
    # What is said of one machine prevails over what is said of all.
    assert set(frame.baseline) == {"bitparallel:memory.model=ideal"}


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_out_holds_the_results_of_every_machine(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"o{suffix}"
    text = output(capsys, "run", "--pe", "fpraker", "--pe", "tensordash", "--out", path)
    assert f"table written to {path}" in text
    read = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}[suffix](path)
    assert len(read) == 2 * 5
    for machine in ("fpraker", "tensordash"):
        expected = result(machine).frame
        mine = read[read.machine == machine].reset_index(drop=True)
        assert list(mine.layer) == list(expected.layer)
        for column in ("macs", "cycles", "speedup", "energy_j", "useful"):
            np.testing.assert_allclose(mine[column].astype(float), expected[column].astype(float), rtol=1e-9)
        assert set(mine.trace_hash) == {trace_hash("some.npz")}
    assert set(os.listdir()) == {"some.npz", path}


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_plot_is_written_in_the_format_of_its_name(
    command: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output(capsys, command, "--pe", "fpraker", "--pe", "bitparallel", "--sample", "0.05", "--plot", f"p{suffix}")
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert Path(f"p{suffix}").read_bytes().startswith(begins)


def test_a_failed_write_leaves_the_old_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p.png").write_bytes(b"old")

    def full(_: Figure, path: Path, **__: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    assert main(["run", "--trace", "some", "--pe", "tensordash", "--plot", "p.png"]) == 2
    assert capsys.readouterr().err == "simhw: p.png: cannot be written: No space left on device\n"
    assert Path("p.png").read_bytes() == b"old"
    assert set(os.listdir()) == {"some.npz", "p.png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pe", "nope"], ["no machine 'nope'", "fpraker"]),
        (["--pe", "fpraker:rows=9"], ["tile.rows", "given 9"]),
        (["--pe", "fpraker:tiles"], ["no machine 'fpraker:tiles'"]),
        (["--pe", "fpraker", "--pe", "fpraker"], ["--pe fpraker", "twice"]),
        (["--pe", "fpraker", "--set", "nope=1"], ["--set nope", "machine show fpraker"]),
        (["--pe", "tensordash", "--set", "pe.oob_threshold=9"], ["--set pe.oob_threshold"]),
        (["--pe", "fpraker", "--set", "tile.rows"], ["key=value"]),
        (["--pe", "fpraker", "--set", "pe_array=3"], ["tile_area_um2.pe_array", "tile_power_mw.pe_array"]),
        (["--pe", "fpraker", "--set", "pe.rounding=never"], ["pe.rounding"]),
        (["--pe", "fpraker", "--baseline", "nope"], ["no machine 'nope'"]),
        (["--pe", "fpraker:baseline=nope"], ["no machine 'nope'"]),
        (["--pe", "fpraker", "--baseline-compression", "gzip"], ["compression 'gzip'", "same, none, bdc, zero"]),
        (["--pe", "bitparallel", "--baseline-compression", "none"], ["bitparallel names no baseline"]),
        (["--pe", "fpraker", "--baseline-compression", "none", "--memory", "ideal"], ["compression none", "are ideal"]),
        (
            ["--pe", "fpraker", "--baseline-compression", "none", "--baseline", "bitparallel"],
            ["--baseline-compression 'none'", "--baseline NAME:memory.compression=none"],
        ),
        (
            ["--pe", "fpraker", "--memory", "modelled", "--baseline", "bare.yaml"],
            ["--memory modelled", "bare", "no memory section"],
        ),
        (["--pe", "fpraker", "--batch", "3"], ["batch 3", "a multiple of the 2 images"]),
        (["--pe", "fpraker", "--sample", "0"], ["--sample 0"]),
        (["--pe", "fpraker", "--sample", "1.5"], ["--sample 1.5"]),
        (["--pe", "fpraker", "--sample", "nan"], ["--sample nan"]),
        (["--pe", "fpraker", "--seed", "-1"], ["--seed -1"]),
        (["--pe", "fpraker", "--workers", "0"], ["--workers 0"]),
        (["--pe", "fpraker", "--out", "o.txt"], ["o.txt", ".parquet"]),
        (["--pe", "fpraker", "--plot", "p.jpg"], ["p.jpg", ".svg"]),
        (["--pe", "fpraker", "--out", "none/o.csv"], ["there is no folder none"]),
        (["--pe", "fpraker", "--plot", "folder.png"], ["folder.png", "is a folder"]),
        (["--pe", "fpraker", "--trace", "nope"], ["nope: no such trace"]),
    ],
)
@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_bad_options_are_refused_before_any_work(
    command: str,
    arguments: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def simulate(*_: object, **__: object) -> None:
        raise AssertionError("simulated")

    monkeypatch.setattr("simhw.simulation.api.simulate", simulate)
    Path("folder.png").mkdir()
    bare = load_machine("bitparallel").values.model_dump(exclude={"memory", "energy", "sram", "memory_area_mm2"})
    Path("bare.yaml").write_text(yaml.safe_dump(bare | {"name": "bare"}))
    line = fails(capsys, command, *([] if "--trace" in arguments else ["--trace", "some"]), *arguments)
    for word in words:
        assert word in line


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_without_write_permission_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert "cannot be written to" in fails(capsys, "run", "--trace", "some", "--pe", "fpraker", "--out", "locked/o.csv")


def test_a_folder_that_the_system_reports_as_unwritable_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written to" in fails(capsys, "run", "--trace", "some", "--pe", "fpraker", "--out", "o.csv")


def test_files_are_written_even_when_the_reader_of_the_output_has_left(folder: Path) -> None:
    command = [sys.executable, "-m", "simhw", "run", "--trace", "some", "--pe", "bitparallel", "--out", "results.csv"]
    reader, writer = os.pipe()
    os.close(reader)  # what `simhw run ... | true` leaves
    with os.fdopen(writer, "w") as closed:
        finished = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert finished.stderr == ""
    assert (folder / "results.csv").read_text().startswith("machine,")


def test_a_machine_s_file_is_read_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        "simhw.machine.machine.read_machine", lambda machine: read.append(str(machine)) or read_machine(machine)
    )
    output(capsys, "run", "--pe", "fpraker:tiles=4", "--set", "oob_threshold=9", "--baseline", "tensordash-dense")
    assert read == ["tensordash-dense", "fpraker"]
