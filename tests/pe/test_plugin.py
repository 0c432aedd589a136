"""A processing element in a package of its own runs through every command, and simhw knows nothing of it."""

import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from vcdvcd import VCDVCD

from simhw import Layer, Trace, load_machine, simulate
from simhw.bfloat16 import from_float32
from simhw.cli import main
from simhw.errors import CheckError, MachineError
from simhw.machine.names import machine_names
from simhw.pe.passes import TilePasses
from simhw.pe.registry import OWN, kinds, processing_element
from simhw.roofline.device import load_device
from simhw_workloads.table import workload
from tests.cli_runs import fails
from tests.places import ROOT
from tests.plugged import BITSERIAL, plug

pytestmark = pytest.mark.usefixtures("bitserial")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A linear layer whose A is zero in some sets, and a convolution."""
    rng = np.random.default_rng(3)
    a = rng.standard_normal((12, 40), np.float32)
    a[:, 4:16] = 0
    a[3] = 0
    w, g = (rng.standard_normal(shape, np.float32) for shape in ((10, 40), (12, 10)))
    linear = Layer("fc", "linear", a=from_float32(a), w=from_float32(w), g=from_float32(g))
    parts = [
        np.maximum(rng.standard_normal(shape, np.float32), 0) for shape in ((2, 4, 5, 5), (6, 4, 3, 3), (2, 6, 3, 3))
    ]
    conv = Layer("conv", "conv2d", **dict(zip("awg", map(from_float32, parts), strict=True)))
    Trace([linear, conv]).save(tmp_path / "some.npz")
    return tmp_path / "some.npz"


def test_its_kind_and_its_machine_have_names():
    assert kinds() == [*OWN, "bitserial"]
    assert "bitserial" in machine_names()
    assert processing_element("bitserial").__module__ == "bitserial_pe.element"


def test_run_checks_draws_and_writes_with_it(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture, table, wave = tmp_path / "a.png", tmp_path / "a.csv", tmp_path / "a.vcd"
    options = ["--details", "--check", "--plot", str(picture), "--out", str(table), "--per-layer"]
    assert main(["run", "--trace", str(trace), "--pe", "bitserial", *options]) == 0
    text = capsys.readouterr().out
    assert "every tile pass was replayed" in text
    assert "Serial operand, and how many layers took it: forward W 2; " in text
    assert "  waiting: the row had finished, or there was no row" in text
    assert picture.stat().st_size > 10_000
    assert "no_bit" in table.read_text().splitlines()[0]
    wanted = ["--timeline", str(wave), "--timeline-layer", "fc", "--timeline-operation", "forward"]
    assert main(["run", "--trace", str(trace), "--pe", "bitserial", *wanted]) == 0
    # Row 0 of the tile takes the first row of W, set after set.
    file = VCDVCD(str(wave))
    (name,) = (name for name in file.signals if name.startswith("tile.row_0.set"))
    assert [int(value, 2) for _, value in file[name].tv] == [0, 1, 2, 3, 4]


def test_compare_puts_it_beside_others(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture = tmp_path / "a.svg"
    machines = ["--pe", "bitserial", "--pe", "bitserial:lanes=4", "--pe", "fpraker", "--pe", "tensordash"]
    assert main(["compare", "--trace", str(trace), *machines, "--plot", str(picture)]) == 0
    assert "bitserial:pe.lanes=4" in capsys.readouterr().out
    assert picture.stat().st_size > 10_000


def test_another_machine_can_have_it_as_its_baseline(trace: Path):
    results = simulate(trace, "fpraker", baseline="bitserial", progress=False)
    alone = simulate(trace, "bitserial", progress=False)
    assert [item.baseline_cycles for item in results.operations] == [item.cycles for item in alone.operations]


def test_a_wrong_kernel_is_caught(trace: Path, monkeypatch: pytest.MonkeyPatch):
    tile = type(load_machine("bitserial").tile)
    right = tile.run

    def wrong(*arguments: object, **options: object) -> TilePasses:
        passes = right(*arguments, **options)
        return TilePasses(passes.durations + 1, passes.counters, passes.outputs)

    monkeypatch.setattr(tile, "run", wrong)
    with pytest.raises(CheckError, match=r"operation forward: tile pass 0 took \d+ cycles, replayed it takes \d+"):
        simulate(trace, "bitserial", progress=False, check=True)


def test_its_machine_can_be_pickled_and_sent_to_a_new_process():
    machine = load_machine("bitserial", **{"tile.rows": 4})
    assert pickle.loads(pickle.dumps(machine)) == machine
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(pickle.loads, (pickle.dumps(machine),)).content_hash == machine.content_hash


def test_a_new_process_knows_it_and_caches_its_kernel_apart(trace: Path, tmp_path: Path):
    paths = os.pathsep.join([str(BITSERIAL), str(ROOT), str(ROOT / "workloads")])
    environment = os.environ | {"PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "simhw", "run", "--trace", str(trace), "--pe", "bitserial:memory.model=ideal"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    folders = [path.parent.name for path in (tmp_path / "cache").rglob("*.nbi") if "set_cycles" in path.name]
    others = [path.parent.name for path in (tmp_path / "cache").rglob("*.nbi") if "set_cycles" not in path.name]
    assert len(folders) == 1
    assert others
    assert folders[0] not in others


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("odd = no_such_module:Odd", "no_such_module:Odd of the package other cannot be loaded: No module named"),
        ("odd = bitserial_pe.element:Odd", "bitserial_pe.element:Odd of the package other cannot be loaded: "),
        (
            "odd = bitserial_pe.element:BitSerialTile",
            "bitserial_pe.element:BitSerialTile of the package other is no class derived from ProcessingEl",
        ),
        ("odd = simhw.pe.protocol:ProcessingElement", "of the package other does not define replay, signals"),
        (
            "odd = bitserial_pe.element:BitSerial",
            "bitserial_pe.element:BitSerial of the package other is of the kind 'bitserial'",
        ),
    ],
)
def test_a_package_that_does_not_keep_its_word_is_named(entry, problem, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(plug(tmp_path, entry))
    with pytest.raises(MachineError) as raised:
        processing_element("odd")
    assert problem in str(raised.value)


def test_two_packages_of_one_kind_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(plug(tmp_path, "bitserial = bitserial_pe.element:BitSerial"))
    line = fails(capsys, "machine", "show", "bitserial")
    assert "bitserial: pe.kind bitserial: " in line
    assert "of the package other" in line
    assert "of the package simhw-bitserial" in line
    assert load_machine("fpraker").pe.kind == "fpraker"


def test_simhws_own_kinds_cannot_be_replaced(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(plug(tmp_path, "fpraker = bitserial_pe.element:BitSerial"))
    assert processing_element("fpraker").__module__ == "simhw.pe.fpraker.element"
    assert kinds() == [*OWN, "bitserial"]


def test_an_unknown_kind_is_an_error_that_lists_all(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: bitserial\npe: {kind: systolic}\n")
    with pytest.raises(
        MachineError, match=r"pe.kind is 'systolic'; known are bitparallel, fpraker, tensordash, bitserial"
    ):
        load_machine(file)


def test_a_missing_folder_of_machines_is_named_and_harms_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(plug(tmp_path, "mine = nowhere.machines", "simhw.machines"))
    told = (
        "plug-in simhw.machines mine: nowhere.machines of the package other cannot be found: No module named 'nowhere'"
    )
    assert load_machine("fpraker").name == "fpraker"
    assert load_machine("bitserial").name == "bitserial"
    assert told in fails(capsys, "machine", "show", "mine")
    assert main(["machine", "list"]) == 0
    listed = capsys.readouterr()
    assert listed.err.splitlines() == [f"simhw: {told}"]
    assert "bitserial" in listed.out


def test_a_package_that_cannot_be_run_is_one_line_and_the_list_has_all_others(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(plug(tmp_path / "kind", "odd = odd_pe:Odd", name="odd"))
    monkeypatch.syspath_prepend(plug(tmp_path / "file", "odd = odd_machines", "simhw.machines", "odd_machines"))
    (tmp_path / "kind" / "odd_pe.py").write_text("1 / 0\n")
    (tmp_path / "file" / "odd_machines").mkdir()
    (tmp_path / "file" / "odd_machines" / "odd.yaml").write_text("extends: bitserial\npe: {kind: odd}\n")
    line = "odd: pe.kind odd: odd_pe:Odd of the package odd cannot be loaded: ZeroDivisionError: division by zero"
    assert line in fails(capsys, "machine", "show", "odd")
    assert main(["machine", "list"]) == 0
    assert capsys.readouterr().err.splitlines() == [f"simhw: {line}"]


def test_two_packages_with_machines_of_one_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(plug(tmp_path, "mine = mine_pe.machines", "simhw.machines", "mine"))
    (tmp_path / "mine_pe" / "machines").mkdir(parents=True)
    (tmp_path / "mine_pe" / "__init__.py").touch()
    (tmp_path / "mine_pe" / "machines" / "bitserial.yaml").write_text("extends: bitparallel\n")
    both = "bitserial_pe.machines of the package simhw-bitserial and mine_pe.machines of the package mine both have one"
    with pytest.raises(MachineError, match=f"simhw.machines bitserial: {both}"):
        load_machine("bitserial")


def test_its_device_has_a_name(capsys):
    assert main(["roofline", "--model", "alexnet", "--device", "half-v100", "--compare", "v100"]) == 0
    assert "half-v100" in capsys.readouterr().out
    assert load_device("half-v100").values.hardware.sms == 40
    assert main(["machine", "show", "half-v100"]) == 0
    assert "a wish" in capsys.readouterr().out
    assert "half-v100, v100" in fails(capsys, "roofline", "--model", "alexnet", "--device", "v99")


def test_its_technique_has_a_name_and_one_that_cannot_be_loaded_harms_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(plug(tmp_path, "odd = bitserial_pe.short_weights:BITS", "simhw.workloads"))
    assert workload("short-weights").technique == "short weights"
    line = fails(capsys, "workloads", "show", "odd")
    assert "workload odd: bitserial_pe.short_weights:BITS of the package other is no Workload of this name" in line
    assert main(["workloads", "list"]) == 0
    listed = capsys.readouterr()
    assert re.search("  short-weights +weights of three significand bits", listed.out)
    assert len(listed.err.splitlines()) == 1
    assert "short-weights" in fails(capsys, "workloads", "show", "nothing")


@pytest.mark.slow
def test_its_technique_pays_on_its_machine(tmp_path, capsys):
    files = {name: str(tmp_path / f"{name}.npz") for name in ("small-cnn-digits", "short-weights")}
    for name, file in files.items():
        assert main(["workloads", "run", name, "--scale", "smoke", "--max-steps", "5", "--capture", file]) == 0
    capsys.readouterr()
    dense, short = (
        simulate(file, load_machine("bitserial", **{"memory.model": "ideal"}), progress=False)
        for file in files.values()
    )
    # Three bits of eight in two of three operations; random weights have seven to eight in a set of eight.
    for operation in ("forward", "input_grad"):
        assert short.by_operation()[operation].cycles.value < 0.5 * dense.by_operation()[operation].cycles.value


def test_the_project_file_and_what_pip_makes_of_it_agree():
    project = tomllib.loads((BITSERIAL / "pyproject.toml").read_text())["project"]
    lines = (BITSERIAL / "simhw_bitserial-1.0.dist-info" / "entry_points.txt").read_text().split("\n\n")
    installed = {
        group.strip("[]"): dict([entry.split(" = ") for entry in entries])
        for group, *entries in (part.split("\n") for part in map(str.strip, lines))
    }
    assert project["entry-points"] == installed


def test_the_processing_element_is_short():
    lines = [(BITSERIAL / "bitserial_pe" / name).read_text().splitlines() for name in ("element.py", "kernel.py")]
    assert sum(map(len, lines)) < 150


@pytest.mark.slow
def test_pip_installs_it(tmp_path):
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*install, str(tmp_path / "site"), str(BITSERIAL)], check=True, timeout=300)
    paths = os.pathsep.join([str(tmp_path / "site"), str(ROOT), str(ROOT / "workloads")])
    command = [
        sys.executable,
        "-m",
        "simhw",
        "run",
        "--trace",
        "small_cnn",
        "--pe",
        "bitserial",
        "--check",
        "--details",
    ]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "every tile pass was replayed" in done.stdout
