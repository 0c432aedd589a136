"""Runs that the cross table keeps: used again only where trace and record belong together and were made with the same
options.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student
from torch import nn

from simhw.cli import main
from simhw.cli.matrix import longest_first
from simhw.trace.reader import trace_hash
from simhw_workloads import matrix
from simhw_workloads.matrix import seeds_of
from simhw_workloads.record import read_record
from simhw_workloads.schedule import Schedule
from simhw_workloads.table import WORKLOADS
from simhw_workloads.task import Task, accuracy, cross_entropy
from simhw_workloads.train import Run
from simhw_workloads.workload import Workload

BATCH = 8


def trained(hidden: int) -> Callable[[Run], nn.Module]:
    def train(run: Run) -> nn.Module:
        random = torch.Generator().manual_seed(0)
        rows = torch.randn(24, 8, generator=random), torch.randint(4, (24,), generator=random)
        task = Task("points", rows, rows, lambda columns: (columns[0], columns[1]), cross_entropy, accuracy)
        run.seeded()
        model = nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, 4))
        run.fit("only", model, task, Schedule(3, 0.1), batch=BATCH)
        run.score("only", model, task)
        return model

    return train


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workloads of three steps, and no picture."""

    def row(name: str, hidden: int, baseline: str | None) -> Workload:
        return Workload(
            name, name, "mlp", "points", trained(hidden), 1, technique=name, phases=("only",), baseline=baseline
        )

    for each in (row("wide", 16, None), row("narrow", 4, "wide")):
        monkeypatch.setitem(WORKLOADS, each.name, each)
    monkeypatch.setattr("simhw.report.matrix_plots.plot_matrix", lambda *_: None)


def table(runs: Path, out: Path, *options: str) -> bytes:
    """The table of the tiny technique, from the runs in a folder."""
    assert (
        main(["workloads", "matrix", "narrow", "--scale", "smoke", "--runs", str(runs), "--out", str(out), *options])
        == 0
    )
    return out.with_suffix(".csv").read_bytes()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    table(tmp_path / "runs", tmp_path / "first")
    return tmp_path / "runs"


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_record_holds_the_hash_of_its_trace_and_the_options_that_shaped_both(runs: Path):
    record = read_record(runs / "narrow.json")
    assert record.traces == {"narrow.npz": trace_hash(runs / "narrow.npz")}
    shaped = {
        "workload": "narrow",
        "scale": "smoke",
        "seed": 0,
        "data": None,
        "capture_batch": 4,
        "max_bytes": 64_000_000,
    }
    assert record.about.items() >= shaped.items()
    assert {"steps", "threads", "max_steps", "device", "nonfinite", "simhw", "torch", "python"} <= record.about.keys()


def test_the_same_options_train_nothing_and_say_nothing(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = times(runs)
    assert table(runs, tmp_path / "again") == (tmp_path / "first.csv").read_bytes()
    assert times(runs) == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--seed", "1"], "made with seed 0, not 1"),
        (["--capture-batch", "2"], "made with capture_batch 4, not 2"),
        (["--max-bytes", "6kB"], "made with max_bytes 64000000, not 6000"),
        (["--data", "."], "made with data None, not"),
    ],
)
def test_a_run_made_with_another_option_is_trained_anew_and_that_is_said(
    options: list[str], what: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fresh = table(tmp_path / "fresh", tmp_path / "there", *options)
    capsys.readouterr()
    assert table(runs, tmp_path / "here", *options) == fresh
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    for line, name in zip(told, ("wide", "narrow"), strict=True):
        assert f"{name}.json: it was {what}" in line
        assert line.endswith(f"{name} is trained anew")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (
            lambda runs: shutil.copy(runs / "wide.npz", runs / "narrow.npz"),
            "its trace is not the one that its record tells of",
        ),
        (lambda runs: (runs / "narrow.npz").write_bytes(b"PK\x03\x04"), "its trace cannot be read"),
        (lambda runs: (runs / "narrow.npz").unlink(), "its trace is missing"),
        (
            lambda runs: shutil.copy(runs / "wide.json", runs / "narrow.json"),
            "it was made with workload 'wide', not 'narrow'",
        ),
        (lambda runs: older(runs / "narrow.json"), "its record does not say with which capture_batch it was made"),
    ],
    ids=["another trace", "cut off", "missing", "another record", "older"],
)
def test_a_trace_that_does_not_belong_to_its_record_is_captured_anew(
    damage: Callable[[Path], object], what: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damage(runs)
    kept = (runs / "wide.npz").stat().st_mtime_ns
    assert table(runs, tmp_path / "again") == (tmp_path / "first.csv").read_bytes()
    assert what in capsys.readouterr().err
    assert (runs / "wide.npz").stat().st_mtime_ns == kept


def older(path: Path) -> None:
    """The record as simhw wrote it before it knew of hashes."""
    told = json.loads(path.read_text())
    del told["traces"], told["about"]["capture_batch"]
    path.write_text(json.dumps(told))


class Killed(BaseException):
    """Stands for a signal that no program survives."""


def kill_at(monkeypatch: pytest.MonkeyPatch, point: int, after: bool) -> None:
    """The process ends right before or after it puts its so-manyeth file into place."""
    replace, count = os.replace, iter(range(100))

    def replacing(source: Path, target: Path) -> None:
        here = next(count) == point
        if here and not after:
            raise Killed
        replace(source, target)
        if here:
            raise Killed

    monkeypatch.setattr(os, "replace", replacing)


# Of a table of two trainings: a trace, its record, the other trace, its record.
@pytest.mark.parametrize("point", range(4))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_wherever_a_run_is_killed_no_record_is_paired_with_another_runs_trace(
    point: int, after: bool, runs: Path, tmp_path: Path
):
    seed_1 = table(tmp_path / "fresh", tmp_path / "there", "--seed", "1")
    assert seed_1 != (tmp_path / "first.csv").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, point, after)
        with pytest.raises(Killed):
            table(runs, tmp_path / "killed", "--seed", "1")
    assert not (tmp_path / "killed.csv").exists()
    # What lies there now serves neither seed wrongly: both tables are those of a fresh folder.
    shutil.copytree(runs, tmp_path / "copy")
    assert table(runs, tmp_path / "seed0") == (tmp_path / "first.csv").read_bytes()
    assert table(tmp_path / "copy", tmp_path / "seed1", "--seed", "1") == seed_1


def test_a_trace_replaced_while_it_is_used_is_noticed(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from simhw_workloads import matrix

    read = matrix.simulate

    def simulate(trace: Path, *arguments: object, **options: object) -> object:
        shutil.copy(runs / "wide.npz", runs / "narrow.npz")
        return read(trace, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(matrix, "simulate", simulate)
    arguments = [
        "workloads",
        "matrix",
        "narrow",
        "--scale",
        "smoke",
        "--runs",
        str(runs),
        "--out",
        str(tmp_path / "other"),
    ]
    assert main(arguments) == 2
    assert "narrow.npz: was replaced while it was used" in capsys.readouterr().err


def test_folders_that_cannot_be_written_to_are_refused_before_anything_is_trained(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    # Tests may run as root, whom no permission stops: what the system would say is said in its place.
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != runs)
    monkeypatch.setattr("simhw.cli.training.train", lambda *_, **__: pytest.fail("it was trained"))
    arguments = [
        "workloads",
        "matrix",
        "narrow",
        "--scale",
        "smoke",
        "--runs",
        str(runs),
        "--out",
        str(tmp_path / "other"),
    ]
    assert main([*arguments, "--seed", "1"]) == 2
    printed = capsys.readouterr().err
    assert "cannot be written to" in printed
    assert printed.count("\n") == 1
    # To read is enough where all runs are there.
    assert main(arguments) == 0


def test_a_score_over_three_seeds_is_their_mean_with_students_interval(runs: Path, tmp_path: Path):
    table(runs, tmp_path / "three", "--seeds", "3", "--seed", "0")
    values = [read_record(runs / f"narrow{end}.json").result.value for end in ("", ".seed1", ".seed2")]
    assert len(set(values)) > 1
    low, high = student.interval(0.95, 2, np.mean(values), np.std(values, ddof=1) / 3**0.5)
    cells = pd.read_csv(tmp_path / "three.csv").iloc[0]
    assert (cells["seeds"], cells["baseline_seeds"]) == (3, 3)
    assert cells["score"] == pytest.approx(np.mean(values))
    assert cells["score_ci95"] == pytest.approx((high - low) / 2)
    mean = f"{100 * np.mean(values):.1f} ± {50 * (high - low):.1f}%"
    assert f"| narrow | {mean} (" in (tmp_path / "three.md").read_text()
    repeated = read_record(runs / "narrow.json").repeated
    assert repeated is not None
    assert (repeated.mean, repeated.half_width) == (cells["score"], cells["score_ci95"])
    assert repeated.by_seed == {"0": values[0], "1": values[1], "2": values[2]}
    # What lies there is used again, and gives the same table.
    before = times(runs)
    assert table(runs, tmp_path / "again", "--seeds", "3") == (tmp_path / "three.csv").read_bytes()
    assert times(runs) == before


def test_one_seed_has_no_interval(runs: Path, tmp_path: Path):
    cells = pd.read_csv(tmp_path / "first.csv").iloc[0]
    assert (cells["seeds"], cells["baseline_seeds"]) == (1, 1)
    assert np.isnan(cells["score_ci95"])
    assert read_record(runs / "narrow.json").repeated is None


def test_a_run_that_repeats_another_is_the_one_that_its_seed_makes(runs: Path, tmp_path: Path):
    table(runs, tmp_path / "two", "--seeds", "2")
    table(tmp_path / "other", tmp_path / "one", "--seed", "1")
    mine, captured = (read_record(path) for path in (runs / "narrow.seed1.json", tmp_path / "other" / "narrow.json"))
    assert mine.traces == {}
    assert (mine.phases[0].losses, mine.scores) == (captured.phases[0].losses, captured.scores)


def test_an_uncompressed_model_has_the_seeds_of_its_techniques_and_the_longest_training_begins(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(WORKLOADS, "narrow", replace(WORKLOADS["narrow"], seeds=3, budget_s=5))
    assert seeds_of([WORKLOADS["narrow"]], 4, None) == {"wide": [4, 5, 6], "narrow": [4, 5, 6]}
    assert seeds_of([WORKLOADS["narrow"]], 0, 1) == {"wide": [0], "narrow": [0]}
    runs = [("wide", 0), ("wide", 1), ("narrow", 0), ("narrow", 1)]
    assert longest_first(runs, runs[1:]) == [("narrow", 0), ("narrow", 1), ("wide", 1), ("wide", 0)]


def test_a_captured_step_grows_by_whole_ones_to_a_batch_that_is_no_multiple(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    grown: list[int] = []
    real = matrix.simulate

    def simulate(*arguments: Any, batch: int, **options: Any) -> Any:
        grown.append(batch)
        return real(*arguments, batch=batch, **options)

    monkeypatch.setattr(matrix, "simulate", simulate)
    table(runs, tmp_path / "threes", "--capture-batch", "3")
    # Three captured samples of a batch of eight: three such steps, for the technique and for its model.
    assert set(grown) == {9}


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b", "some.txt/runs", "none/runs"])
def test_names_that_no_folder_can_have_are_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "some.txt").write_text("")
    arguments = [
        "workloads",
        "matrix",
        "narrow",
        "--scale",
        "smoke",
        "--runs",
        str(tmp_path / name),
        "--out",
        str(tmp_path / "other"),
    ]
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "cannot be made a folder" in printed
    assert printed.count("\n") == 1
    assert len(printed) <= 400


def test_what_is_no_record_is_refused_and_left_alone(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for content in ("[" * 100_000, '{"phases": 1}', "{}", "text"):
        (runs / "narrow.json").write_text(content)
        arguments = [
            "workloads",
            "matrix",
            "narrow",
            "--scale",
            "smoke",
            "--runs",
            str(runs),
            "--out",
            str(tmp_path / "other"),
        ]
        assert main(arguments) == 2
        printed = capsys.readouterr().err
        assert "narrow.json: not" in printed
        assert printed.count("\n") == 1
        assert (runs / "narrow.json").read_text() == content


def test_what_is_no_record_is_refused_before_pytorch_is_loaded(tmp_path: Path):
    (tmp_path / "vit-dense.json").write_text("[" * 100_000)
    arguments = ["workloads", "matrix", "--runs", str(tmp_path), "--out", str(tmp_path / "table")]
    program = f"import sys; from simhw.cli import main; code = main({arguments!r}); print(code, 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "2 False\n"
    assert "nested too deeply" in ended.stderr
    assert ended.stderr.count("\n") == 1
