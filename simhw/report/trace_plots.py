"""A picture of a trace's values: zeros, terms and exponents of every layer, one line per layer."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from simhw.errors import TraceError
from simhw.files.writing import write_figure
from simhw.report.bars import named, plain
from simhw.report.picture import Picture
from simhw.report.trace_tables import EXPONENT_BIAS, NONFINITE_EXPONENT, trace_statistics
from simhw.trace.layer import TENSORS, TensorName, TensorStatistics
from simhw.trace.trace import Trace

NAMES: dict[TensorName, str] = {"a": "A, activations", "w": "W, weights", "g": "G, gradients"}
# Okabe and Ito's palette: told apart by colour-blind readers too; markers tell them apart in grey.
STYLE: dict[TensorName, tuple[str, str]] = {"a": ("#0072B2", "o"), "w": ("#009E73", "s"), "g": ("#D55E00", "^")}
# Shares below this are drawn as if they did not occur: one value in a million says nothing about a layer.
SMALLEST_SHARE = 1e-6
ROW_INCHES = 0.17


def plot_trace_statistics(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Draw a trace's statistics to a file; see `trace_figure`.

    Parameters
    ----------
    trace : Trace
    path : str or path
        Ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    TraceError
        The trace has no statistics and no whole tensors.
    SimhwError
        Another suffix, or a place that cannot be written.
    """
    write_figure(trace_figure(trace), path)


def trace_figure(trace: Trace) -> Figure:
    """Zero fraction, terms per value and exponent histograms of every layer.

    One line per layer, in the order of the trace, from top to bottom.  The heat maps show the share of each exponent
    among a tensor's finite non-zero values, on a logarithmic scale that all three share.

    Raises
    ------
    TraceError
        The trace has no statistics and no whole tensors.
    """
    found: dict[TensorName, dict[int, TensorStatistics]] = {tensor: {} for tensor in TENSORS}
    places = {layer.name: index for index, layer in enumerate(trace.layers)}
    for layer, tensor, statistics in trace_statistics(trace):
        found[tensor][places[layer.name]] = statistics
    if not any(found.values()):
        raise TraceError(f"{trace.path or 'trace'}: has neither statistics nor whole tensors to draw")
    layers = len(trace.layers)
    figure = Picture(figsize=(15, 2.4 + ROW_INCHES * max(layers, 8)), layout="constrained")
    figure.suptitle(_title(trace), fontsize=11)
    axes = figure.subplots(1, 5, sharey=True, width_ratios=[1.2, 1.2, 1, 1, 1])
    _draw_lines(
        axes[0],
        {t: {i: s.zero_fraction for i, s in rows.items()} for t, rows in found.items()},
        "zeros, share of all values",
    )
    axes[0].set_xlim(-0.02, 1.02)
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    terms = {t: {i: s.terms_per_value() for i, s in rows.items()} for t, rows in found.items()}
    _draw_lines(axes[1], terms, "terms per value (NAF, zeros count 0)")
    largest = max(value for rows in terms.values() for value in rows.values())
    axes[1].set_xlim(0, 1.05 * max(largest, 1.0))
    axes[0].set_yticks(range(layers), [named(layer.name) for layer in trace.layers], fontsize=7)
    axes[0].set_ylim(layers - 0.5, -0.5)
    axes[0].legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        fontsize=7,
        frameon=False,
        handletextpad=0.2,
        columnspacing=0.8,
    )
    _draw_exponents(figure, list(axes[2:]), found, layers)
    return figure


def _title(trace: Trace) -> str:
    metadata = trace.metadata
    parts = [metadata.model, metadata.dataset, metadata.technique]
    parts += [
        f"{what} {value}" for what, value in (("step", metadata.step), ("batch", metadata.batch)) if value is not None
    ]
    known = ", ".join(part for part in parts if part)
    return plain(f"{Path(trace.path).name or 'trace'}{': ' if known else ''}{known}")


def _draw_lines(axes: Axes, values: dict[TensorName, dict[int, float]], label: str) -> None:
    for tensor, rows in values.items():
        color, marker = STYLE[tensor]
        axes.plot(
            list(rows.values()),
            list(rows),
            color=color,
            marker=marker,
            markersize=3.5,
            linewidth=0.7,
            alpha=0.9,
            label=NAMES[tensor],
        )
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(linewidth=0.3, alpha=0.6)


def _shares(rows: dict[int, TensorStatistics], layers: int) -> npt.NDArray[np.float64]:
    """Share of each exponent among the finite non-zero values, (layers, 255); NaN where a layer has none."""
    shares = np.full((layers, NONFINITE_EXPONENT), np.nan)
    for index, statistics in rows.items():
        finite = statistics.exponents[:NONFINITE_EXPONENT].astype(np.float64)
        finite[0] = 0
        if finite.sum():
            shares[index] = finite / finite.sum()
    shares[shares < SMALLEST_SHARE] = np.nan
    return shares


def _draw_exponents(
    figure: Figure, axes: list[Axes], found: dict[TensorName, dict[int, TensorStatistics]], layers: int
) -> None:
    image = None
    for panel, tensor in zip(axes, TENSORS, strict=True):
        shares = _shares(found[tensor], layers)
        panel.set_title(NAMES[tensor], fontsize=8)
        panel.set_xlabel("exponent of non-zero values", fontsize=8)
        panel.tick_params(axis="x", labelsize=7)
        panel.set_facecolor("#EEEEEE")
        seen = np.flatnonzero(~np.isnan(shares).all(axis=0))
        if not seen.size:
            panel.text(0.5, 0.5, "none recorded", transform=panel.transAxes, ha="center", fontsize=8)
            continue
        first, last = int(seen[0]), int(seen[-1])
        image = panel.imshow(
            shares[:, first : last + 1],
            norm=LogNorm(SMALLEST_SHARE, 1),
            cmap="viridis",
            aspect="auto",
            interpolation="nearest",
            extent=(first - 0.5 - EXPONENT_BIAS, last + 0.5 - EXPONENT_BIAS, layers - 0.5, -0.5),
        )
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if image is not None:
        bar = figure.colorbar(image, ax=axes, location="right", fraction=0.03, pad=0.01)
        bar.set_label("share of the tensor's non-zero values", fontsize=8)
        bar.ax.tick_params(labelsize=7)
