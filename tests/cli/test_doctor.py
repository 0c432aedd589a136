"""`simhw doctor`: what it finds is what is there, and it needs no PyTorch to say so."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from simhw.cli import main
from simhw.installation import data_sets, libraries, processor
from simhw.installation.kernels import kernel_cache
from simhw.kernel_cache import cache_folder
from tests.plugged import plug


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever imports PyTorch fails, and so does who imports the workloads, which need it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "simhw_workloads", None)


def found(capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(["doctor", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_fits_a_screen_and_names_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    starts = {line.split("  ")[0] for line in lines}
    assert {"simhw", "libraries", "processor", "SIMD in use", "kernel cache", "data sets", "plug-ins"} <= starts


def test_versions_are_those_of_the_metadata_and_torch_is_told_without_being_imported(capsys) -> None:
    told = found(capsys)
    for name in ("numpy", "numba", "torch"):
        assert told["libraries"][name]["installed"] == version(name)
    assert told["extras"]["capture"] == []
    assert "small_cnn" in told["bundled_traces"]


def test_a_missing_or_unfit_library_is_told_with_how_to_get_it(monkeypatch, capsys) -> None:
    wanted = ["numpy>=2", "scipy>=99", "nowhere>=1", "nothing>=3; extra == 'gpu'", "never; sys_platform == 'none'"]
    monkeypatch.setattr(libraries, "requires", lambda _: wanted)
    told = found(capsys)
    assert told["extras"] == {"gpu": ["nothing"]}
    assert told["problems"] == [
        "nowhere is missing: pip install 'nowhere>=1'",
        f"scipy {version('scipy')} is not >=99: pip install 'scipy>=99'",
    ]
    assert main(["doctor"]) == 0
    assert "missing nothing: pip install 'simhw[gpu]'" in capsys.readouterr().out


def test_the_simd_width_is_that_of_the_code_that_llvm_makes() -> None:
    # A processor of the instruction set's first days has registers of 128 bits only, a later one 256 or 512.
    triple = "x86_64-unknown-linux-gnu"
    widths = [processor._simd_bits(triple, name, "") for name in ("x86-64", "haswell", "znver4")]
    assert widths == [128, 256, 512]


def test_the_kernel_cache_is_counted_with_what_is_stale(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    cache_folder.cache_clear()
    try:
        folder = Path(str(cache_folder()))
        (folder / "kernel.nbi").write_bytes(bytes(10))
        (folder.parent / "old").mkdir()
        (folder.parent / "old" / "kernel.nbi").write_bytes(bytes(7))
        cache = kernel_cache()
    finally:
        cache_folder.cache_clear()
    assert (cache.folder, cache.files, cache.size_bytes, cache.stale_bytes) == (str(folder), 1, 10, 7)


def test_a_cache_that_cannot_be_written_is_a_problem(monkeypatch, capsys) -> None:
    monkeypatch.setattr("simhw.installation.kernels.cache_folder", lambda: None)
    assert any(line.startswith("kernel cache: none can be written") for line in found(capsys)["problems"])


def test_a_data_set_that_is_not_there_says_how_to_get_it(monkeypatch, capsys) -> None:
    monkeypatch.setitem(data_sets._SETS, "digits", (lambda: False, "pip install 'simhw[workloads]'"))
    assert main(["doctor"]) == 0
    assert "no digits: pip install 'simhw[workloads]'" in capsys.readouterr().out


def test_plugins_are_listed_and_a_broken_one_is_a_problem_that_names_its_package(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(plug(tmp_path / "good", "fine = json.decoder:JSONDecoder", name="good"))
    monkeypatch.syspath_prepend(plug(tmp_path / "bad", "odd = no_such_module:Odd", name="bad"))
    told = found(capsys)
    listed = {each["name"]: each for each in told["plugins"]}
    assert listed["fine"] == {"group": "simhw.pe", "name": "fine", "package": "good", "problem": None}
    (problem,) = told["problems"]
    assert (
        problem
        == "plug-in simhw.pe odd: no_such_module:Odd of the package bad cannot be found: no module no_such_module"
    )
