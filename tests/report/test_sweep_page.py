"""The page of a sweep: its points, their front and their charts, and why points failed."""

import re
from math import nan
from pathlib import Path

import pandas as pd
import pytest

from simhw.cli import main
from simhw.report.page import sweep as pages
from simhw.report.page.charts import Dot, Scatter, Series
from simhw.report.page.scatter import FOOT_PX, HEIGHT_PX, LEFT, RIGHT, TOP_PX, draw_scatter
from simhw.report.page.sweep import sweep_page
from simhw.report.page.write import page_html
from simhw.sweeps.description import as_file, read_description
from simhw.sweeps.front import pareto_front
from simhw.sweeps.store import canonical
from tests.cli_runs import fails
from tests.report.test_page import Parsed
from tests.report.test_page_in_browser import HOSTILE
from tests.sweeps.runs import sweep, written
from tests.sweeps.test_front import frame

FAILING = """\
traces: some
machines: fpraker
list:
  - {}
  - {tile.rows: 4}
  - {tiles: 100_000_000}
"""


def five() -> pd.DataFrame:
    """Four points of two machines of which the second and the third are on the front, and one that failed."""
    return frame(
        machine=["fpraker:tile.rows=4", "fpraker", HOSTILE, HOSTILE, "fpraker"],
        overall_speedup=[1.0, 2.0, 3.0, nan, nan],
        compute_area_mm2=[5.0, 4.0, 9.0, 1.0, 1.0],
        overall_energy_j=[0.001, 0.001, 0.004, 0.001, nan],
        status=["done"] * 4 + ["failed"],
        error=[None] * 4 + [HOSTILE],
        cautions=["Caution: one.", "Caution: one.", HOSTILE, "", None],
    )


def test_tables_and_charts_hold_the_points() -> None:
    points = five()
    page = sweep_page(points, pareto_front(points), "folder/sweep.db")
    assert [row[:3] for row in page.points.rows] == [
        ["3", "yes", page.points.rows[0][2]],
        ["2", "yes", "fpraker"],
        ["1", "", "fpraker:tile.rows=4"],
        ["4", "", page.points.rows[3][2]],
    ]
    assert page.points.columns[-1] == ("tile.rows", True)
    assert [row[-1] for row in page.points.rows] == ["8", "4", "0", "0"]
    assert [row[0] for row in page.front.rows] == ["3", "2"]
    assert page.failed.rows == [["5", "fpraker", "t$1", HOSTILE]]
    area, energy = page.charts
    assert [(dot.x, dot.y, dot.row) for dot in area.dots] == [
        (5.0, 1.0, "point-1"),
        (4.0, 2.0, "point-2"),
        (9.0, 3.0, "point-3"),
    ]
    assert [dot.x for dot in energy.dots] == [1.0, 1.0, 4.0]
    assert [dot.share for dot in area.dots] == [pages.SMALL, 1.0, 1.0]
    assert [dot.series.name for dot in area.dots] == ["fpraker", "fpraker", HOSTILE.partition(":")[0]]
    html = Parsed(page_html(page))
    rows = set(html.values("id"))
    assert all(dot.row in rows for chart in page.charts for dot in chart.dots)


def test_names_errors_and_the_file_are_text_and_nothing_else() -> None:
    points = five()
    html = page_html(sweep_page(points, pareto_front(points), HOSTILE, HOSTILE, HOSTILE, [HOSTILE]))
    parsed = Parsed(html)
    assert not {"img", "form", "iframe"} & set(parsed.tags)
    assert parsed.tags.count("script") == parsed.tags.count("style") == 1
    assert parsed.texts.count(HOSTILE) >= 5  # command, store, simhw, file and error
    assert not [name for _, name, _ in parsed.attributes if name == "onerror"]


def test_a_scatter_is_linear_and_its_axes_end_at_ticks() -> None:
    series = Series("s", "#000000", "circle")
    dots = tuple(Dot(series, x, y, 1.0, "t", "row") for x, y in ((0.0, 0.0), (2.5, 0.5), (10.0, 1.0)))
    drawn = draw_scatter(Scatter("t", "c", "x", "y", dots))
    places = re.findall(r'<svg x="([\d.]+)%" y="([\d.]+)"', drawn)
    floor = HEIGHT_PX - FOOT_PX
    for (x, y), (share, up) in zip(places, ((0, 0), (0.25, 0.5), (1, 1)), strict=True):
        assert float(x) == pytest.approx(100 * (LEFT + (RIGHT - LEFT) * share), abs=0.01)
        assert float(y) == pytest.approx(floor - (floor - TOP_PX) * up, abs=0.01)


def test_too_many_points_leave_the_front_and_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_POINTS", 3)
    speeds = [1.0, 2.0, 3.0, 4.0, 5.0]
    points = frame(overall_speedup=speeds, compute_area_mm2=[1.0, 9.0, 9.0, 9.0, 8.0])
    page = sweep_page(points, pareto_front(points), "sweep.db")
    # The first and the last are on the front; of the others the fourth is the fastest.
    assert [row[0] for row in page.points.rows] == ["5", "4", "1"]
    assert page.left_out == 2
    assert "2 points of less speed-up are left out" in page_html(page)


def test_points_without_a_figure_leave_charts_alone() -> None:
    points = frame(overall_speedup=[nan, float("inf")])
    page = sweep_page(points, pareto_front(points.head(1)).reindex(points.index, fill_value=False), "sweep.db")
    assert page.charts == ()
    assert len(page.points.rows) == 2
    assert "No point has a speed-up" in page_html(page)


def test_a_stored_description_is_a_sweep_file_again(tmp_path: Path) -> None:
    described = {
        "traces": "some",
        "machines": ["fpraker"],
        "grid": {"batch": [8, None], "baseline_compression": "none"},
        "list": [{}, {"pe.oob": "off", "clock_hz": 6e8}],
        "random": {"points": 3, "ranges": {"tiles": [1, 2], "clock_hz": {"from": 1.0, "to": 2.0, "scale": "log"}}},
    }
    read = read_description(described)
    (tmp_path / "again.yaml").write_text(as_file(canonical(read)))
    assert read_description(tmp_path / "again.yaml") == read
    assert as_file("no description") == "no description"


def test_the_commands_write_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = (str(written(FAILING)), "--jobs", "0", "--html", "ran.html")
    assert sweep(*run) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "page written to ran.html"
    assert sweep("show", "sweep.db", "--html", "shown.html") == 0
    ran, shown = ((folder / name).read_text(encoding="utf-8") for name in ("ran.html", "shown.html"))
    assert ran.replace(" ".join(run), "show sweep.db --html shown.html") == shown
    texts = Parsed(ran).texts
    assert any("less than or equal to 65536" in text for text in texts)
    assert any("tiles: 100000000" in text for text in texts)
    assert "simhw sweep sweep.yaml --jobs 0 --html ran.html" in texts
    capsys.readouterr()
    assert ".html" in fails(capsys, "sweep", "show", "sweep.db", "--html", "page.txt")
    assert main(["sweep", "show", "none.db", "--html", "page.html"]) == 2
    assert not (folder / "page.html").exists()
