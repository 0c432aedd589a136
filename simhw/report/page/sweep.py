"""The page of a sweep: what `model.SweepPage` holds, of the points of a store."""

from collections.abc import Hashable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from simhw.quantities import ratio
from simhw.report.page.charts import Dot, Scatter, Series, Shape
from simhw.report.page.model import SweepPage
from simhw.report.result_plots import MACHINE_COLORS
from simhw.report.sheet import Sheet
from simhw.report.sweep_plots import swept_axes
from simhw.report.sweep_tables import SETTINGS, caution_lines, cell, differing, machine_names, sweep_facts, sweep_sheet

MOST_POINTS = 3000
"""Points that charts and table show, the front and those of most speed-up: a browser has to hold them all."""
SHAPES: tuple[Shape, ...] = ("circle", "triangle", "square")
CAPTION = "Large: on the Pareto front. Dashed: as fast as the baseline. A click on a mark leads to its row."
ROW = "point-"
"""Before the number of a point, the id of its row."""
SMALL = 0.08
"""Share of the area of a mark on the front that the others have."""


def sweep_page(
    frame: pd.DataFrame,
    front: "pd.Series[bool]",
    store: str,
    description: str = "",
    made_by: str = "",
    commands: Sequence[str] = (),
) -> SweepPage:
    """What a page on a sweep shows.

    Parameters
    ----------
    frame : DataFrame
        As `simhw.sweep` gives it.
    front : Series of bool
        As `simhw.sweeps.front.pareto_front` gives it.
    store : str
        The name of its file.
    description : str
        The sweep file.
    made_by : str
        Which simhw ran it.
    commands : sequence of str
        That made it.
    """
    done = frame[frame["status"] == "done"]
    shown = _best(done, front)
    told = sweep_facts(frame, store)
    return SweepPage(
        title=f"Sweep: {Path(store).name}",
        subtitle=f"Points: {dict(told)['points']}; {int(front.sum()):,} on the Pareto front.",
        charts=_charts(shown, front),
        front=_moved(sweep_sheet(done, front, only_front=True), front=False),
        points=_with_axes(_moved(sweep_sheet(shown, front), front=True), shown),
        left_out=len(done) - len(shown),
        failed=_failed(frame),
        cautions=tuple(caution_lines(frame)),
        description=description,
        facts=(*told, *([("run by", made_by)] if made_by else [])),
        commands=tuple(command for command in commands if command),
    )


def _best(done: pd.DataFrame, front: "pd.Series[bool]") -> pd.DataFrame:
    """The points of the front, and of the others so many as find room."""
    if len(done) <= MOST_POINTS:
        return done
    on = front[done.index]
    others = done[~on].nlargest(max(0, MOST_POINTS - int(on.sum())), "overall_speedup")
    return done[on | done.index.isin(others.index)]


def _moved(sheet: Sheet, front: bool) -> Sheet:
    """The sheet with the number of the point first, which names a row; what marks the front stands behind it, or not
    at all.
    """
    marks = [("front", False)] if front else []
    columns = [("point", False), *marks, *sheet.columns[2:]]
    rows = [[number, *([mark and "yes"] if front else []), *rest] for mark, number, *rest in sheet.rows]
    return Sheet(columns, rows)


def _with_axes(sheet: Sheet, shown: pd.DataFrame) -> Sheet:
    """The sheet with a column per value of a machine in which points differ."""
    names = [name for name in differing(shown, swept_axes(shown)) if name not in ("machine", *SETTINGS)]
    values = {str(row["number"]): [cell(row[name]) for name in names] for row in shown.to_dict("records")}
    columns = [(name, all(isinstance(each, int | float) for each in shown[name].dropna())) for name in names]
    return Sheet([*sheet.columns, *columns], [[*row, *values[row[0]]] for row in sheet.rows])


def _failed(frame: pd.DataFrame) -> Sheet:
    """A row per point that failed, with its error."""
    lost = frame[frame["status"] == "failed"].to_dict("records")
    rows = [[str(row["number"]), str(row["machine"]), str(row["trace"]), str(row["error"])] for row in lost]
    return Sheet([("point", False), ("machine", False), ("trace", False), ("error", False)], rows)


def _charts(shown: pd.DataFrame, front: "pd.Series[bool]") -> tuple[Scatter, ...]:
    """Speed-up with memories against area and against energy, as far as points have them."""
    figures = (
        ("Speed-up and area", "compute_area_mm2", "area of the tiles, mm^2", 1.0),
        ("Speed-up and energy", "overall_energy_j", "energy with memories, mJ", 1e3),
    )
    found = []
    for title, name, x_name, scale in figures:
        points = shown[shown["overall_speedup"].map(isfinite) & shown[name].map(isfinite)]
        if len(points):
            dots = _dots(points, front, name, scale)
            found.append(Scatter(title, CAPTION, x_name, "times as fast, with memories", dots, reference=1.0))
    return tuple(found)


def _dots(points: pd.DataFrame, front: "pd.Series[bool]", name: str, scale: float) -> tuple[Dot, ...]:
    """A dot per point, its series the trace where there are several, else the machine."""
    groups = points["trace"] if points["trace"].nunique() > 1 else machine_names(points)
    series = {
        group: Series(str(group), MACHINE_COLORS[number % len(MACHINE_COLORS)], SHAPES[number % len(SHAPES)])
        for number, group in enumerate(groups.unique())
    }
    rows = points.to_dict("records")
    return tuple(
        Dot(
            series[group],
            row[name] * scale,
            row["overall_speedup"],
            1.0 if on else SMALL,
            _text(row, on),
            f"{ROW}{row['number']}",
        )
        for row, group, on in zip(rows, groups, front[points.index], strict=True)
    )


def _text(row: Mapping[Hashable, Any], on: bool) -> str:
    told = f"point {row['number']}: {row['machine']} on {row['trace']}, {ratio(row['overall_speedup'])} times as fast"
    told += f", {row['overall_energy_j'] * 1e3:,.4g} mJ, {row['compute_area_mm2']:,.3f} mm^2"
    return f"{told}; on the Pareto front" if on else told
