"""Without the extra `rtl` commands that need it say so in a line, and all others work."""

import subprocess
import sys
from pathlib import Path

import pytest

from simhw.cli import main

HOW = "which is not installed: pip install 'simhw[rtl]'\n"


@pytest.fixture(params=["amaranth", "pyosys"])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that cannot be imported, and what imports it has not been imported yet."""
    for name in [name for name in sys.modules if f"{name}.".startswith((f"{request.param}.", "simhw.rtl."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, request.param, None)
    if request.param == "pyosys":
        pytest.importorskip("amaranth", reason="which is looked for before Yosys")
    return str(request.param)


@pytest.mark.parametrize("arguments", [["rtl", "--out", "out"], ["rtl", "area"]], ids=" ".join)
def test_a_line_says_what_is_missing_and_how_to_get_it(arguments, missing, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--pe", "fpraker"]) == 2
    told = {"amaranth": "Amaranth", "pyosys": "Yosys (the package pyosys)"}[missing]
    assert capsys.readouterr().err == f"simhw: hardware needs {told}, {HOW}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor"],
        ["machine", "show", "fpraker:pe.shift_window=6"],
        ["machine", "iso-area", "--pe", "fpraker:pe.oob_threshold=9"],
    ],
    ids=" ".join,
)
def test_other_commands_work(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rtl", "--pe", "fpraker:tile.empty_sets=skip", "--out", "out"], "tile.empty_sets=skip has no hardware"),
        (["rtl", "area", "--pe", "fpraker:pe.oob=off"], "pe.oob=off has no hardware"),
    ],
)
def test_hardware_that_was_begun_in_vain_is_not_told(arguments: list[str], told: str, tmp_path: Path) -> None:
    for name in ("amaranth", "pyosys"):
        pytest.importorskip(name)
    # Amaranth warns when Python ends, which pytest does not see.
    done = subprocess.run(
        [sys.executable, "-m", "simhw", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
