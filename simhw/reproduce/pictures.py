"""Pictures of sections: bars beside each other, stacked bars, and lines."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import PercentFormatter

from simhw.report.bars import legend, name_rows, named, plain
from simhw.report.result_plots import MACHINE_COLORS, SMALLEST_LABELLED

WIDTH_INCHES = 9.0
ROW_INCHES = 0.34
MARKERS = "os^D"
MANY_COLORS = [colormaps["tab20"](index) for index in (*range(0, 20, 2), *range(1, 20, 2))]
"""For more parts than machines have colours."""
SMALLEST_LOSS = 0.2
"""Points below which a part of a bar has no number."""


def grouped_bars(
    rows: Mapping[str, Mapping[str, float]], heading: str, published: Mapping[str, tuple[float, float]] | None = None
) -> Picture:
    """A group of horizontal bars per row, a colour per series; 1 is the baseline.

    Parameters
    ----------
    rows : mapping of row to mapping of series to float
    heading : str
        Below the axis.
    published : mapping of row to (low, high), optional
        Drawn as a black mark, or a line where the two differ.
    """
    series = list(dict.fromkeys(name for values in rows.values() for name in values))
    picture, axes = _rows(list(rows), 1 + 0.5 * len(series))
    height = 0.8 / len(series)
    for index, name in enumerate(series):
        values = [each.get(name, float("nan")) for each in rows.values()]
        places = np.arange(len(rows)) - 0.4 + (index + 0.5) * height
        bars = axes.barh(places, values, height=height, color=MACHINE_COLORS[index % 8], label=name)
        axes.bar_label(bars, [f"{value:.2f}" if isfinite(value) else "" for value in values], fontsize=6, padding=2)
    for place, name in enumerate(rows):
        if published and name in published:
            low, high = published[name]
            axes.plot([low, high], [place, place], color="black", marker="D", markersize=4, linewidth=1.5, zorder=4)
    if published and set(published) & set(rows):
        axes.plot([], [], color="black", marker="D", markersize=4, linewidth=0, label="published")
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlabel(plain(heading), fontsize=8)
    legend(axes, 6)
    return picture


def stacked_bars(rows: Mapping[str, Mapping[str, float]], heading: str, colors: Mapping[str, str]) -> Picture:
    """A bar of shares per row, which add up to 1."""
    picture, axes = _rows(list(rows), 1)
    _stack(axes, rows, colors, lambda share: f"{share:.0%}" if share >= SMALLEST_LABELLED else "")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(plain(heading), fontsize=8)
    return picture


def stacked_losses(rows: Mapping[str, Mapping[str, float]], heading: str) -> Picture:
    """A bar per row of amounts of any size, which add up to its length."""
    picture, axes = _rows(list(rows), 1)
    _stack(axes, rows, {}, lambda amount: f"{amount:.1f}" if amount >= SMALLEST_LOSS else "")
    axes.set_xlabel(plain(heading), fontsize=8)
    return picture


def _stack(
    axes: Axes, rows: Mapping[str, Mapping[str, float]], colors: Mapping[str, str], text: Callable[[float], str]
) -> None:
    starts = np.zeros(len(rows))
    names = list(dict.fromkeys(name for values in rows.values() for name in values))
    palette = MACHINE_COLORS if len(names) <= len(MACHINE_COLORS) else MANY_COLORS
    for index, name in enumerate(names):
        amounts = np.array([each.get(name, 0.0) for each in rows.values()])
        color = colors.get(name, palette[index % len(palette)])
        bars = axes.barh(range(len(rows)), amounts, left=starts, color=color, label=name, height=0.7)
        axes.bar_label(bars, [text(float(amount)) for amount in amounts], label_type="center", fontsize=6.5)
        starts += np.nan_to_num(amounts)
    legend(axes, 5)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    across: str,
    heading: str,
    apart: Mapping[str, str] | None = None,
) -> Picture:
    """Lines of (x, y) by name; those of `apart` are black, each in a style of its own, such as a mean."""
    picture = Picture(figsize=(WIDTH_INCHES * 0.85, 3.6), layout="constrained")
    axes = picture.subplots()
    for index, (name, (x, y)) in enumerate(series.items()):
        color, style = ("black", apart[name]) if apart and name in apart else (MACHINE_COLORS[index % 7], "-")
        # Colours repeat after seven lines, with another marker.
        marker = MARKERS[index // 7 % len(MARKERS)]
        axes.plot(x, y, marker=marker, markersize=4, label=named(name), color=color, linestyle=style)
    axes.set_xlabel(plain(across), fontsize=8)
    axes.set_ylabel(plain(heading), fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(linewidth=0.3, alpha=0.6)
    # Beside the panel, where it covers no line.
    axes.legend(fontsize=6.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return picture


def _rows(names: Sequence[str], bars: float) -> tuple[Picture, Axes]:
    height = 1.0 + ROW_INCHES * max(1.0, 0.6 * bars) * len(names)
    picture = Picture(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = picture.subplots()
    name_rows(axes, names)
    return picture, axes
