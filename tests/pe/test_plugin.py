"""A processing element in a package of its own runs through every command, and simhw knows nothing of it."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from vcdvcd import VCDVCD

from simhw import Layer, Trace, load_machine, simulate, simulate_gemm
from simhw.bfloat16 import from_float32
from simhw.cli import main
from simhw.errors import CheckError, MachineError
from simhw.machine.names import machine_names
from simhw.pe.passes import TilePasses
from simhw.pe.registry import OWN, kinds, processing_element
from tests.cli_runs import fails
from tests.places import ROOT
from tests.plugged import plug

TOY = Path(__file__).parent / "toy"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as pip would have installed it: its folder and its entry points are on the path."""
    monkeypatch.syspath_prepend(TOY)
    yield
    processing_element.cache_clear()


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
    assert kinds() == [*OWN, "toy"]
    assert "toy" in machine_names()
    assert processing_element("toy").__module__ == "toy_pe.element"


def test_cycles_are_those_of_the_sets_that_are_not_empty():
    # 12 rows of 10 sets in tiles of 8 rows; sets 1 to 3 are empty in all rows, all sets in row 3.  10 rows of Y make 2
    # tiles: 2 x 2 passes of 7 cycles.
    a = np.ones((12, 40), np.float32)
    a[:, 4:16] = 0
    a[3] = 0
    result = simulate_gemm(a, np.ones((10, 40), np.float32), "toy", output=True, check=True)
    assert (result.passes, result.cycles) == (4, 28)
    assert result.counters["useful"] == 11 * 28 * 10
    assert result.counters["skipped_sets"] == (11 * 3 + 10) * 10
    assert result.output is not None
    assert result.output[0, 0] == 28
    assert simulate_gemm(a, np.ones((10, 40), np.float32), "toy:empty_set_cycles=1").cycles == 40


def test_run_checks_draws_and_writes_with_it(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture, table, wave = tmp_path / "a.png", tmp_path / "a.csv", tmp_path / "a.vcd"
    options = ["--details", "--check", "--plot", str(picture), "--out", str(table), "--per-layer"]
    assert main(["run", "--trace", str(trace), "--pe", "toy", *options]) == 0
    text = capsys.readouterr().out
    assert "every tile pass was replayed" in text
    assert "Sets: " in text
    assert "Skipped operand, and how many layers took it: forward A 2; " in text
    assert "  waiting: the row had finished, or there was no row" in text
    assert picture.stat().st_size > 10_000
    assert "skipped_sets" in table.read_text().splitlines()[0]
    wanted = ["--timeline", str(wave), "--timeline-layer", "fc", "--timeline-operation", "forward"]
    assert main(["run", "--trace", str(trace), "--pe", "toy", *wanted]) == 0
    # Row 0 works on sets 0, 4, 5 ... 9.
    file = VCDVCD(str(wave))
    (name,) = (name for name in file.signals if name.startswith("tile.row_0.set"))
    shown = file[name].tv
    assert [int(value, 2) for _, value in shown] == [0, 4, 5, 6, 7, 8, 9]


def test_compare_puts_it_beside_others(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture = tmp_path / "a.svg"
    machines = ["--pe", "toy", "--pe", "toy:empty_set_cycles=1", "--pe", "fpraker", "--pe", "tensordash"]
    assert main(["compare", "--trace", str(trace), *machines, "--plot", str(picture)]) == 0
    assert "toy:pe.empty_set_cycles=1" in capsys.readouterr().out
    assert picture.stat().st_size > 10_000


def test_another_machine_can_have_it_as_its_baseline(trace: Path):
    results = simulate(trace, "fpraker", baseline="toy", progress=False)
    alone = simulate(trace, "toy", progress=False)
    assert [item.baseline_cycles for item in results.operations] == [item.cycles for item in alone.operations]


def test_a_wrong_kernel_is_caught(trace: Path, monkeypatch: pytest.MonkeyPatch):
    tile = type(load_machine("toy").tile)
    right = tile.run

    def wrong(*arguments: object, **options: object) -> TilePasses:
        passes = right(*arguments, **options)
        return TilePasses(passes.durations + 1, passes.counters, passes.outputs)

    monkeypatch.setattr(tile, "run", wrong)
    with pytest.raises(CheckError, match=r"operation forward: tile pass 0 took 8 cycles, replayed it takes 7"):
        simulate(trace, "toy", progress=False, check=True)


def test_its_machine_can_be_pickled_and_sent_to_a_new_process():
    machine = load_machine("toy", **{"tile.rows": 4})
    assert pickle.loads(pickle.dumps(machine)) == machine
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(pickle.loads, (pickle.dumps(machine),)).content_hash == machine.content_hash


def test_a_new_process_knows_it_and_caches_its_kernel_apart(trace: Path, tmp_path: Path):
    paths = os.pathsep.join([str(TOY), str(ROOT), str(ROOT / "workloads")])
    environment = os.environ | {"PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "simhw", "run", "--trace", str(trace), "--pe", "toy:memory.model=ideal"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    folders = [path.parent.name for path in (tmp_path / "cache").rglob("*.nbi") if "full_sets" in path.name]
    others = [path.parent.name for path in (tmp_path / "cache").rglob("*.nbi") if "full_sets" not in path.name]
    assert len(folders) == 1
    assert others
    assert folders[0] not in others


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("odd = no_such_module:Odd", "no_such_module:Odd of the package other cannot be loaded: No module named"),
        ("odd = toy_pe.element:Odd", "toy_pe.element:Odd of the package other cannot be loaded: "),
        ("odd = toy_pe.tile:ToyTile", "toy_pe.tile:ToyTile of the package other is no class derived from ProcessingEl"),
        ("odd = simhw.pe.protocol:ProcessingElement", "of the package other does not define replay, signals"),
        ("odd = toy_pe.element:Toy", "toy_pe.element:Toy of the package other is of the kind 'toy'"),
    ],
)
def test_a_package_that_does_not_keep_its_word_is_named(entry, problem, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(plug(tmp_path, entry))
    with pytest.raises(MachineError) as raised:
        processing_element("odd")
    assert problem in str(raised.value)


def test_two_packages_of_one_kind_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(plug(tmp_path, "toy = toy_pe.element:Toy"))
    line = fails(capsys, "machine", "show", "toy")
    assert "toy: pe.kind toy: " in line
    assert "of the package other" in line
    assert "of the package toy-pe" in line
    assert load_machine("fpraker").pe.kind == "fpraker"


def test_simhws_own_kinds_cannot_be_replaced(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(plug(tmp_path, "fpraker = toy_pe.element:Toy"))
    assert processing_element("fpraker").__module__ == "simhw.pe.fpraker.element"
    assert kinds() == [*OWN, "toy"]


def test_an_unknown_kind_is_an_error_that_lists_all(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: toy\npe: {kind: systolic}\n")
    with pytest.raises(MachineError, match=r"pe.kind is 'systolic'; known are bitparallel, fpraker, tensordash, toy"):
        load_machine(file)


def test_a_missing_folder_of_machines_is_named_and_harms_no_other(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(plug(tmp_path, "mine = nowhere.machines", "simhw.machines"))
    assert load_machine("fpraker").name == "fpraker"
    with pytest.raises(MachineError, match=r"the entry point simhw.machines mine = 'nowhere.machines': no such folder"):
        load_machine("toy")


def test_two_packages_with_machines_of_one_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(plug(tmp_path, "mine = mine_pe.machines", "simhw.machines", "mine"))
    (tmp_path / "mine_pe" / "machines").mkdir(parents=True)
    (tmp_path / "mine_pe" / "__init__.py").touch()
    (tmp_path / "mine_pe" / "machines" / "toy.yaml").write_text("extends: bitparallel\n")
    with pytest.raises(MachineError, match=r"machine toy: mine_pe.machines and toy_pe.machines both have one"):
        load_machine("toy")
