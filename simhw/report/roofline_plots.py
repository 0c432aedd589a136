"""The roofline picture: arithmetic intensity against achieved rate, a mark per layer, the device's ceilings
labelled.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from simhw.files.writing import write_figure
from simhw.quantities import short
from simhw.report.bars import plain
from simhw.report.picture import Picture
from simhw.report.roofline_tables import LIMIT_NAMES, by_layer
from simhw.roofline.ceilings import Ceiling, ceilings
from simhw.roofline.estimate import StepEstimate

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito's palette, as in the other plots.
LIMIT_COLORS = {
    "matrix": "#009E73",
    "vector": "#E69F00",
    "dram": "#0072B2",
    "l2": "#56B4E9",
    "buffer": "#CC79A7",
    "launch": "#999999",
}
MOST_NAMED = 8
LONGEST_NAMED = 40
PANEL_INCHES = 8.5, 6.2
DRAWN_SHARE = 0.88
"""Of a panel's width and height, the part inside its axes."""
SMALLEST_MARK, LARGEST_MARK = 8.0, 500.0


def plot_estimates(estimates: Sequence[StepEstimate], path: str | os.PathLike[str]) -> None:
    """Draw the rooflines of predictions to a ``.png``, ``.svg`` or ``.pdf`` file; see `roofline_figure`.

    Raises
    ------
    SimhwError
        Another suffix, or a place that cannot be written.
    """
    write_figure(roofline_figure(estimates), path)


def roofline_figure(estimates: Sequence[StepEstimate]) -> Figure:
    """A log-log panel per prediction: layers by FLOP per off-chip byte and FLOP/s, sized by their share of the time."""
    figure = Picture(figsize=(PANEL_INCHES[0] * len(estimates), PANEL_INCHES[1]), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(estimates)))
    for axes, each in zip(panels, estimates, strict=True):
        _draw(axes, each)
    return figure


def _draw(axes: Axes, estimate: StepEstimate) -> None:
    layers = by_layer(estimate)
    layers = layers[(layers["flops"] > 0) & (layers["dram_bytes"] > 0)]
    intensity, rate = layers["flops"] / layers["dram_bytes"], layers["flops"] / layers["seconds"]
    share = layers["seconds"] / estimate.device_s
    lines = ceilings(estimate.device, estimate.run.numbers.products)
    top = max(line.per_s for line in lines if line.of == "flops")
    slowest = min(line.per_s for line in lines if line.of == "bytes")
    left, right = min(intensity.min(), 0.1) / 1.5, max(intensity.max() * 2, 4 * top / slowest)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(min(rate.min(), slowest * left) / 1.5, top * 3))
    for line in lines:
        _draw_ceiling(axes, line, left, right, top)
    for limit, color in LIMIT_COLORS.items():
        chosen = (layers["limit"] == limit).to_numpy()
        if chosen.any():
            part = float(share[chosen].sum())
            sizes = SMALLEST_MARK + (LARGEST_MARK - SMALLEST_MARK) * share[chosen] / share.max()
            label = f"{LIMIT_NAMES[limit]} ({part:.0%} of the time)"
            axes.scatter(
                intensity[chosen],
                rate[chosen],
                s=sizes,
                color=color,
                alpha=0.55,
                edgecolor="black",
                linewidth=0.4,
                label=label,
            )
    _name_marks(axes, intensity, rate, share)
    run = estimate.run
    title = (
        f"{estimate.network.name} on {estimate.device.label}: {run.mode}, {run.precision}, batch {run.batch}, "
        f"{run.fusion}"
    )
    axes.set_title(
        plain(f"{title}\n{estimate.seconds * 1e3:,.4g} ms a step, {estimate.samples_per_s:,.4g} samples/s"), fontsize=9
    )
    axes.set_xlabel("FLOP per byte of off-chip traffic, all phases of a layer", fontsize=8)
    axes.set_ylabel("FLOP/s", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(which="major", linewidth=0.3)
    legend = axes.legend(
        title="a mark per layer, its area by share of time; bound by", fontsize=7, title_fontsize=7, loc="lower right"
    )
    for handle in legend.legend_handles:
        handle.set_sizes([40])  # type: ignore[union-attr]  # of scatters all


def _name_marks(axes: Axes, intensity: "pd.Series[float]", rate: "pd.Series[float]", share: "pd.Series[float]") -> None:
    """Numbers at the places where most time is spent, and a key to them; layers that lie on one another
    share a number.
    """
    together = share.groupby([np.log10(intensity).round(1), np.log10(rate).round(1)])
    lines = []
    for number, (part, name, alike) in enumerate(
        together.agg(["sum", "idxmax", "count"]).nlargest(MOST_NAMED, "sum").itertuples(index=False), 1
    ):
        others = f" and {alike - 1} close to it" if alike > 1 else ""
        lines.append(plain(f"{number}  {short(str(name), LONGEST_NAMED)}{others}: {part:.0%} of the time"))
        outline = [withStroke(linewidth=2, foreground="white")]
        axes.text(
            intensity[name],
            rate[name],
            str(number),
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold",
            path_effects=outline,
        )
    axes.text(
        0.985,
        0.23,
        "\n".join(lines),
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        multialignment="left",
        fontsize=7,
    )


def _draw_ceiling(axes: Axes, line: Ceiling, left: float, right: float, top: float) -> None:
    """A horizontal line of arithmetic or a slope of traffic, named where it has room."""
    if line.of == "flops":
        axes.plot([left, right], [line.per_s] * 2, color="black", linewidth=1)
        text = f"{line.name} {line.per_s / 1e12:.4g} TFLOP/s"
        axes.annotate(text, (left, line.per_s), xytext=(6, 3), textcoords="offset points", fontsize=7)
        return
    ends = [left, min(right, top / line.per_s)]
    axes.plot(ends, [end * line.per_s for end in ends], color="black", linewidth=1, linestyle="--")
    place = left * (ends[1] / left) ** 0.3
    text, height, angle = f"{line.name} {line.per_s / 1e9:,.4g} GB/s", place * line.per_s, _angle(axes)
    axes.annotate(
        text, (place, height), (-2, 4), textcoords="offset points", rotation=angle, rotation_mode="anchor", fontsize=7
    )


def _angle(axes: Axes) -> float:
    """The angle on paper of a line of slope one [degrees]."""
    decades = [float(np.log10(high / low)) for low, high in (axes.get_xlim(), axes.get_ylim())]
    width, height = (DRAWN_SHARE * inches for inches in PANEL_INCHES)
    return float(np.degrees(np.arctan2(height / decades[1], width / decades[0])))
