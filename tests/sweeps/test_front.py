"""The Pareto front, and how it is drawn and told."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simhw.files.writing import write_figure
from simhw.report.sweep_plots import sweep_figure, swept_axes
from simhw.report.sweep_tables import caution_lines, differing, error_lines, sweep_sheet
from simhw.sweeps.front import WANTED, pareto_front


def frame(**columns: list[object]) -> pd.DataFrame:
    """Points with these columns, and others that are alike."""
    number = len(next(iter(columns.values())))
    alike = {
        "number": list(range(1, number + 1)),
        "hash": [f"{index:x}" for index in range(number)],
        "trace": ["t$1"] * number,
        "machine": ["fpraker"] * number,
        "baseline": ["bf16"] * number,
        "tile.rows": [4 * (index % 3) for index in range(number)],
        "memory": ["modelled"] * number,
        "baseline_compression": ["none"] * number,
        "batch": [None] * number,
        "sample": [None] * number,
        "seed": [0] * number,
        "compute_area_mm2": [1.0] * number,
        "status": ["done"] * number,
        "speedup": [1.0] * number,
        "overall_speedup": [1.0] * number,
        "overall_energy_efficiency": [1.0] * number,
        "overall_energy_j": [1.0] * number,
        "bound_by": ["dram"] * number,
        "error": [None] * number,
        "cautions": ["Caution: one."] * number,
    }
    return pd.DataFrame(alike | columns)


def test_a_point_that_another_one_beats_is_not_on_the_front() -> None:
    points = frame(
        overall_speedup=[2.0, 2.0, 1.0, 2.0, 3.0, float("nan")],
        overall_energy_j=[1.0, 1.0, 0.5, 1.0, 9.0, 0.1],
        compute_area_mm2=[5.0, 6.0, 9.0, 5.0, 9.0, 0.1],
    )
    # The second has more area than the first for the same; the fourth equals the first; the last has no speed-up.
    assert list(pareto_front(points)) == [True, False, True, True, True, False]


def test_each_trace_and_batch_has_a_front() -> None:
    points = frame(overall_speedup=[1.0, 2.0, 3.0, 4.0], trace=["a", "a", "b", "b"], batch=[None, None, 8, 16])
    assert list(pareto_front(points)) == [False, True, True, True]


def test_the_front_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    points = frame(**{name: rng.integers(0, 6, 200).astype(float) for name in WANTED})  # many ties
    good = points[list(WANTED)].to_numpy() * np.array(list(WANTED.values()))
    beaten = [any((other >= own).all() and (other > own).any() for other in good) for own in good]
    assert list(pareto_front(points)) == [not each for each in beaten]
    assert 0 < sum(beaten) < 200


def test_a_table_has_what_differs() -> None:
    points = frame(
        machine=["fpraker", "tensordash", "fpraker:tiles=9"],
        memory=["modelled", "ideal", "modelled"],
        batch=[8, 16, 8],
        overall_speedup=[1.0, 3.0, 2.0],
    )
    # Memories differ between the machines alone.
    assert differing(points, ("trace", "batch", "memory")) == ["batch"]
    front = pareto_front(points)
    sheet = sweep_sheet(points, front)
    assert [heading for heading, _ in sheet.columns][:4] == ["", "point", "machine", "batch"]
    assert [row[:3] for row in sheet.rows] == [
        ["*", "2", "tensordash"],
        ["*", "3", "fpraker:tiles=9"],
        ["", "1", "fpraker"],
    ]
    assert len(sweep_sheet(points, front, only_front=True).rows) == 2


def test_errors_and_cautions_are_told_once() -> None:
    points = frame(
        status=["failed", "failed", "done", "done", "failed"],
        error=["bad", "bad", None, None, "worse"],
        cautions=["", "", "Caution: one.", "Caution: one.\nCaution: two.", ""],
    )
    assert error_lines(points) == ["2 points failed: bad", "1 point failed: worse"]
    assert caution_lines(points) == ["Caution: one.", "Caution: two. (1 of 2 points)"]


def test_values_of_an_axis_lie_by_size_and_the_default_lowest() -> None:
    points = frame(**{"tile.rows": [16.0, 4.0, None, 8.0]})
    axis = sweep_figure(points, pareto_front(points)).axes[2]
    assert axis.get_xticklabels()[0].get_text() == "tile.rows"
    heights = {text.get_text(): text.xy[1] for text in axis.texts if text.xy[0] == 0}
    assert heights == {"-": 0.0, "4": pytest.approx(1 / 3), "8": pytest.approx(2 / 3), "16": 1.0}


@pytest.mark.parametrize("number", [1, 5])
def test_a_sweep_is_drawn_with_names_of_any_kind(tmp_path: Path, number: int) -> None:
    columns = {"overall_speedup": [1.0 + index for index in range(number)], "trace": ["$a", "b$", "c"][:1] * number}
    points = frame(**columns).assign(machine=["$m:tiles=3"] * number)
    assert swept_axes(points)[:3] == ["trace", "machine", "tile.rows"]
    write_figure(sweep_figure(points, pareto_front(points)), tmp_path / "sweep.png", 40)
    assert (tmp_path / "sweep.png").stat().st_size
    figure = sweep_figure(points, pareto_front(points))
    # A line per point in the lowest panel, besides those that are its axes.
    parallel = figure.axes[2]
    lines = [line for line in parallel.lines if len(line.get_xdata()) > 2]
    assert len(lines) == number
