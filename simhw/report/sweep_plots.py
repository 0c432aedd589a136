"""Pictures of a sweep: speed-up against area and energy with the Pareto front, and its axes as parallel coordinates."""

import os
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from simhw.errors import SimhwError
from simhw.files.writing import write_figure
from simhw.quantities import short
from simhw.report.bars import plain
from simhw.report.picture import Picture
from simhw.report.result_plots import MACHINE_COLORS
from simhw.report.sweep_tables import cell, differing, machine_names

FIGURES = {
    "overall_speedup": "overall\nspeed-up",
    "overall_energy_j": "energy with\nmemories",
    "compute_area_mm2": "area of the\ntiles, mm^2",
}
MOST_NAMED = 12
"""Values of an axis that are written beside it."""
LONGEST_NAME = 18
COLORMAP = "viridis"


def plot_sweep(frame: pd.DataFrame, front: "pd.Series[bool]", path: str | os.PathLike[str]) -> None:
    """Draw a sweep to a ``.png``, ``.svg`` or ``.pdf`` file.

    Raises
    ------
    SimhwError
        No point has a speed-up; another suffix, or a place that cannot be written.
    """
    write_figure(sweep_figure(frame, front), path)


def sweep_figure(frame: pd.DataFrame, front: "pd.Series[bool]") -> Figure:
    """Above, speed-up against area and against energy; below, a line per point over all axes in which points differ.

    Parameters
    ----------
    frame : DataFrame
        As `simhw.sweep` gives it; points without a result are left out.
    front : Series of bool
        As `simhw.sweeps.front.pareto_front` gives it.

    Raises
    ------
    SimhwError
        No point has a speed-up.
    """
    done = frame[frame["status"] == "done"].dropna(subset=["overall_speedup"])
    if done.empty:
        raise SimhwError("no point has a speed-up over a baseline, so there is nothing to draw; leave --plot out")
    done = done.assign(machine=machine_names(done))
    axes = [*differing(done, swept_axes(done)), *FIGURES]
    figure = Picture(figsize=(max(11.0, 1.3 * len(axes)), 8.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False)[:, 0]
    left, right = top.subplots(1, 2, sharey=True)
    _draw_scatter(left, done, front, "compute_area_mm2")
    _draw_scatter(right, done, front, "overall_energy_j")
    left.set_ylabel("speed-up with memories", fontsize=8)
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=7, frameon=False)
    _draw_parallel(bottom.subplots(), done, front, axes)
    return figure


def swept_axes(frame: pd.DataFrame) -> list[str]:
    """What points may differ in: the columns before their area, number and hash aside."""
    names = list(frame.columns)
    return [name for name in names[: names.index("compute_area_mm2")] if name not in ("number", "hash", "baseline")]


def _draw_scatter(axes: Axes, done: pd.DataFrame, front: "pd.Series[bool]", name: str) -> None:
    """A mark per point, coloured by trace or machine; the front's are large and joined, work by work."""
    several = done["trace"].nunique() > 1
    groups = done["trace"] if several else done["machine"]
    for number, (group, rows) in enumerate(done.groupby(groups, sort=False)):
        color = MACHINE_COLORS[number % len(MACHINE_COLORS)]
        on = rows[front[rows.index]]
        label = plain(short(str(group), LONGEST_NAME * 2))
        axes.scatter(rows[name], rows["overall_speedup"], 10, color=color, alpha=0.5, linewidths=0, label=label)
        axes.scatter(on[name], on["overall_speedup"], 36, facecolors="none", edgecolors=color, linewidths=1.2)
    axes.scatter([], [], 36, facecolors="none", edgecolors="black", label="on the Pareto front")
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlabel(FIGURES[name].replace("\n", " "), fontsize=8)
    if name == "overall_energy_j":
        axes.xaxis.set_major_formatter(EngFormatter("J"))
    axes.tick_params(labelsize=7)
    axes.grid(linewidth=0.3, alpha=0.6)


def _draw_parallel(axes: Axes, done: pd.DataFrame, front: "pd.Series[bool]", names: Sequence[str]) -> None:
    """A line per point, its colour the speed-up; those beside the front are thin and pale."""
    places, labels = [], []
    for name in names:
        place, told = _axis(done[name], EngFormatter("J", 1) if name == "overall_energy_j" else "{:.4g}".format)
        places.append(place)
        labels.append(told)
    lines = np.array(places).T
    speedups = done["overall_speedup"].to_numpy(dtype=np.float64)
    norm = Normalize(*((speedups.min(), speedups.max()) if len(speedups) else (0.0, 1.0)))
    colors = colormaps[COLORMAP](norm(speedups))
    on_front = front[done.index].to_numpy(dtype=bool)
    for chosen, width, alpha in ((~on_front, 0.5, 0.35), (on_front, 1.6, 1.0)):
        for line, color in zip(lines[chosen], colors[chosen], strict=True):
            axes.plot(range(len(names)), line, color=color, linewidth=width, alpha=alpha)
    for column, told in enumerate(labels):
        axes.axvline(column, color="black", linewidth=0.6)
        for height, text in told:
            axes.annotate(
                plain(short(text, LONGEST_NAME)),
                (column, height),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=6.5,
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8},
            )
    axes.set_xticks(range(len(names)), [plain(short(FIGURES.get(name, name), 28)) for name in names], fontsize=7)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(names) - 0.4)
    axes.set_title("every point over all axes; thick: on the Pareto front", fontsize=8, loc="left")
    bar = axes.figure.colorbar(ScalarMappable(norm, COLORMAP), ax=axes, pad=0.01)
    bar.set_label("speed-up with memories", fontsize=7)
    bar.ax.tick_params(labelsize=6.5)


def _axis(
    values: "pd.Series[Any]", written: Callable[[float], str]
) -> tuple[npt.NDArray[np.float64], list[tuple[float, str]]]:
    """Where values lie on an axis from 0 to 1, and what is written beside it.

    Numbers lie by their size where all are numbers, else all values lie evenly, the default lowest.
    """
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isnan(numbers).any():
        low, high = float(numbers.min()), float(numbers.max())
        distinct = np.unique(numbers)
        shown = distinct if len(distinct) <= MOST_NAMED else np.linspace(low, high, 5)
        span = (high - low) or 1.0
        return (numbers - low) / span, [((each - low) / span, written(float(each))) for each in shown]
    texts = [cell(value) for value in values]
    order = sorted(set(texts), key=_rank)
    place = {text: number / max(1, len(order) - 1) for number, text in enumerate(order)}
    return np.array([place[text] for text in texts]), [
        (place[text], text) for text in (order if len(order) <= MOST_NAMED else [order[0], order[-1]])
    ]


def _rank(text: str) -> tuple[bool, float, str]:
    """Where a value stands among others: the default, then numbers by their size, then names."""
    try:
        return text != "-", float(text), ""
    except ValueError:
        return text != "-", inf, text
