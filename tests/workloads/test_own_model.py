"""A user's own training script, somewhere else, with three lines of capture: the trace goes through `simhw compare`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import simhw
from simhw.cli import main
from simhw_workloads.train import Run
from tests.places import ROOT

DOCS = ROOT / "docs" / "workloads.md"


def the_script_of_the_docs() -> str:
    """The example stands once, in the docs; this is it."""
    (script,) = re.findall(r"```python\n(# train_mine\.py\n.*?)```", DOCS.read_text(), re.DOTALL)
    return str(script)


def test_the_docs_script_trains_captures_in_three_lines_and_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    script = the_script_of_the_docs()
    assert len([line for line in script.splitlines() if "apture" in line]) == 3
    (tmp_path / "train_mine.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "train_mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-200.npz", "train_mine.py"]
    trace = simhw.load_trace(tmp_path / "mine-200.npz")
    # A dense layer, a factored one, and the classifier, with all operations but the first layer's input gradient.
    assert [(layer.name, layer.operations[-1], len(layer.operations)) for layer in trace.layers] == [
        ("0", "weight_grad", 2),
        ("2.0", "weight_grad", 3),
        ("2.1", "weight_grad", 3),
        ("4", "weight_grad", 3),
    ]
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert (
        main(["compare", "--trace", "mine-200.npz", "--pe", "fpraker", "--pe", "tensordash", "--out", "mine.csv"]) == 0
    )
    printed = capsys.readouterr().out
    assert "fpraker" in printed
    assert "tensordash" in printed
    assert (tmp_path / "mine.csv").exists()


def test_the_docs_technique_of_one_s_own_keeps_its_zeros():
    (example,) = re.findall(r"```python\n(from torch import nn\n.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)  # the example of the docs, as a reader would run it
    run = Run(max_steps=20)
    model = names["masked"](run)  # type: ignore[operator]  # a function of the example
    zeros = float((model.fc1.weight == 0).float().mean())
    assert zeros == pytest.approx(0.5, abs=0.001)
    assert [phase.name for phase in run.record.phases] == ["dense", "masked"]
