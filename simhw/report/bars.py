"""Bars of results: their labels, the names beside them, and figures of the tiles alone beside those with memories."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from simhw.quantities import short

LONGEST_NAME = 36
HATCH = "////"
"""Marks figures with memories; those of the tiles alone are plain."""


def plain(text: str) -> str:
    """Text for matplotlib, to which a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def named(name: str, longest: int = LONGEST_NAME) -> str:
    """A name beside a bar: cut, since it may be of any length."""
    return plain(short(name, longest))


def error(half_width: float) -> float:
    """What an error bar can draw: nothing where the half-width is unknown."""
    return half_width if np.isfinite(half_width) else float("nan")


def ends(values: Sequence[float], errors: Sequence[float]) -> npt.NDArray[np.float64]:
    """Where bars end, their error bars included."""
    found: npt.NDArray[np.float64] = np.nan_to_num(np.asarray(values)) + np.nan_to_num(np.asarray(errors))
    return found


def legend(axes: Axes, columns: int) -> Legend:
    """What the colours mean, above the panel."""
    return axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        fontsize=7,
        frameon=False,
        handlelength=1,
        columnspacing=1,
    )


def label(axes: Axes, text: str, x: float, y: float, above: bool = False) -> None:
    """A number at the end of a bar; white behind it, since it may lie on the line of the baseline."""
    axes.annotate(
        text,
        (x, y),
        xytext=(0, 3) if above else (5, 0),
        textcoords="offset points",
        ha="center" if above else "left",
        va="bottom" if above else "center",
        fontsize=7,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """A row of horizontal bars per name, from top to bottom."""
    axes.set_yticks(range(len(names)), [named(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=7)


def draw_ratios(
    axes: Axes,
    alone: Sequence[float],
    errors: Sequence[float],
    texts: Sequence[str],
    colors: Sequence[str],
    overall: Sequence[tuple[float, float, str]] = (),
) -> None:
    """A row per ratio to the baseline: the tiles alone, and below it, hatched, with memories.

    Parameters
    ----------
    alone, errors : sequence of float
        Ratios and the half-widths of their intervals.
    texts : sequence of str
        What stands at the end of each bar.
    colors : sequence of str
    overall : sequence of (ratio, half-width, text)
        The same with memories; empty where they are ideal.
    """
    height = 0.36 if overall else 0.7
    places = np.arange(len(alone)) - (height / 2 if overall else 0.0)
    farthest = ends(alone, errors)
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    axes.barh(
        places,
        alone,
        xerr=errors if any(errors) else None,
        color=colors,
        height=height,
        capsize=2,
        label="compute only",
    )
    for place, end, text in zip(places, farthest, texts, strict=True):
        label(axes, text, float(end), float(place))
    if overall:
        values, widths = [value for value, _, _ in overall], [width for _, width, _ in overall]
        below = places + height
        axes.barh(
            below,
            values,
            xerr=widths if any(widths) else None,
            color=colors,
            height=height,
            capsize=2,
            hatch=HATCH,
            edgecolor="white",
            linewidth=0,
            label="with memories",
        )
        for place, end, (_, _, text) in zip(below, ends(values, widths), overall, strict=True):
            label(axes, text, float(end), float(place))
        farthest = np.concatenate([farthest, ends(values, widths)])
        for handle in legend(axes, 2).get_patches():
            handle.set_facecolor("#444444")
    axes.set_xlim(0, 1.35 * max(*farthest, 1.0))
    axes.tick_params(axis="x", labelsize=7)
