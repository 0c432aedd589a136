"""The limits of machines as a picture: a waterfall from the ideal time down to the measured one, a panel a machine."""

import os
from math import isfinite

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from simhw.files.writing import write_figure
from simhw.quantities import ratio
from simhw.report.bars import label, name_rows, plain
from simhw.report.limit_tables import MEASURED, duration
from simhw.report.picture import Picture
from simhw.report.result_tables import labels, title
from simhw.results.attribution import TOTAL, Attribution, Explanation

# Okabe and Ito's palette: told apart by colour-blind readers too.
WHOLE, COSTS, SAVES = "#444444", "#0072B2", "#009E73"
MOST_ABREAST = 3
PANEL_INCHES = 6.2
ROW_INCHES = 0.3
LEAST_ROOM, ROOM_SHARE = 2.2, 0.75
"""How far beyond the longest bar its label may reach: at least times so much, else so large a share of the bar."""


def plot_limits(explanation: Explanation, path: str | os.PathLike[str], layer: str | None = None) -> None:
    """Draw the limits of machines to a file; see `limits_figure`.

    Parameters
    ----------
    explanation : Explanation
    path : str or path
        Ends in ``.png``, ``.svg`` or ``.pdf``.
    layer : str, optional
        The one that is explained.

    Raises
    ------
    SimhwError
        Another suffix, or a place that cannot be written.
    """
    write_figure(limits_figure(explanation, layer), path)


def limits_figure(explanation: Explanation, layer: str | None = None) -> Picture:
    """A panel per machine: times over the ideal one on a logarithmic axis, so that equal factors are equally long."""
    found = explanation.attributions
    columns = min(len(found), MOST_ABREAST)
    lines = -(-len(found) // columns)
    height = 1.3 + ROW_INCHES * (max(len(each.steps) for each in found) + 1)
    figure = Picture(figsize=(max(PANEL_INCHES * columns, 7.5), 0.5 + height * lines), layout="constrained")
    of = f", layer {layer}" if layer is not None else ""
    figure.suptitle(plain(f"{title(found[0].results.provenance)}{of}"), fontsize=11)
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes in panels.flat[len(found) :]:
        axes.set_axis_off()
    names = labels([each.results for each in found])
    # One scale, so that machines compare at a glance.
    most = max(float(np.nanmax(_over_ideal(each))) for each in found)
    least = min(float(np.nanmin(_over_ideal(each))) for each in found)
    left = 0.9 * min(least, 1.0)
    rows = max(len(each.steps) for each in found) + 1
    for axes, name, each in zip(panels.flat, names, found, strict=False):
        _draw(axes, each)
        # Room for what stands behind the longest bar, on a logarithmic axis a share of its length.
        axes.set_xlim(left, most * max(LEAST_ROOM, (most / left) ** ROOM_SHARE))
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_title(plain(name), fontsize=9, fontweight="bold", loc="left")
    return figure


def _over_ideal(attribution: Attribution) -> npt.NDArray[np.float64]:
    times = attribution.times_s[TOTAL]
    over: npt.NDArray[np.float64] = times / times[0] if times[0] else np.ones_like(times)
    return over


def _draw(axes: Axes, attribution: Attribution) -> None:
    over, factors = _over_ideal(attribution), attribution.factors()
    times, speedups = attribution.times_s[TOTAL].tolist(), attribution.speedups()
    last = len(over)
    axes.set_xscale("log")
    for place in range(1, last):
        before, now = float(over[place - 1]), float(over[place])
        axes.barh(place, now - before, left=before, color=COSTS if now >= before else SAVES, height=0.62)
        label(axes, f"x {factors[place]:.2f}", max(before, now), place)
        axes.plot([before, before], [place - 1, place], color="black", linewidth=0.6)
    axes.plot([over[-1]] * 2, [last - 1, last], color="black", linewidth=0.6)
    start = 0.5 * min(float(over.min()), 1.0)
    for place, number in ((0, 0), (last, last - 1)):
        axes.barh(place, over[number] - start, left=start, color=WHOLE, height=0.62)
        against = f", {ratio(speedups[number])} x baseline" if isfinite(speedups[number]) else ""
        label(axes, f"{duration(times[number])}{against}", float(over[number]), place)
    name_rows(axes, [*(step.limit for step in attribution.steps), MEASURED])
    axes.xaxis.set_major_locator(LogLocator(base=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.grid(axis="x", linewidth=0.3, alpha=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("times the ideal time (blue costs time, green saves it)", fontsize=8)
