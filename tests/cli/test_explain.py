"""`simhw explain`: the tables that it prints and the files that it writes."""

from pathlib import Path

import pandas as pd
import pytest

from simhw import explain
from simhw.report.limit_tables import duration
from tests.cli_runs import LONG_NAME, fails, output, rows, some_trace

pytestmark = pytest.mark.usefixtures("folder")


def test_tables_hold_the_factors_and_files_the_cycles(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "explain", "--pe", "fpraker", "--pe", "tensordash", "--out", "f.csv", "--plot", "f.svg")
    expected = explain(some_trace(), ["fpraker", "tensordash"], progress=False)
    fpraker, tensordash = expected.attributions
    (window, beside) = rows(text, "shift window")
    factors = [f"{fpraker.factors(scope)[2]:.3f}" for scope in fpraker.scopes]
    assert [cell for cell in window if cell != "x"][2:6] == factors
    assert beside[-1] == factors[-1]
    measured = [row for row in rows(text, "measured") if len(row) > 5]
    for row, each in zip(measured, expected.attributions, strict=True):
        assert duration(each.times_s["total"][-1]).split()[0] in row
        assert row[-1] == f"{each.results.total.overall_speedup:.3f}"
    assert "look-ahead depth: pairs come from" in text
    assert "Below 1 it saves time: " in text
    table = pd.read_csv(folder / "f.csv")
    assert len(table) == 5 * (len(fpraker.steps) + len(tensordash.steps))
    pd.testing.assert_series_equal(table.cycles, expected.frame.cycles)
    picture = (folder / "f.svg").read_text()
    assert picture.startswith("<?xml")
    assert text.rstrip().endswith("plot written to f.svg")


def test_a_layer_is_explained_alone(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "explain", "--pe", "tensordash", "--layer", LONG_NAME, "--memory", "ideal")
    assert f"layer  {LONG_NAME}" in text
    (header,) = (line for line in text.splitlines() if line.split()[:1] == ["limit"])
    assert "input_grad" not in header  # training ran none of it
    assert "DRAM" not in text


def test_what_cannot_be_used_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    run = ("explain", "--trace", "some", "--pe", "fpraker")
    assert "--layer: " in fails(capsys, *run, "--layer", "cnov")
    assert "near names are conv" in fails(capsys, *run, "--layer", "cnov")
    assert ".svg" in fails(capsys, *run, "--plot", "f.txt")
    assert ".csv" in fails(capsys, *run, "--out", "f.txt")
    assert "--sample 2" in fails(capsys, *run, "--sample", "2")
