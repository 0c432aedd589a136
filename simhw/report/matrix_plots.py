"""The heat map of the cross table: techniques by machines, speed-up and energy beside each other, with what the models
scored.
"""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from simhw.files.writing import write_figure
from simhw.report.bars import named
from simhw.report.matrix_tables import leading
from simhw.report.picture import Picture
from simhw.report.scores import shown_scores

if TYPE_CHECKING:
    import pandas as pd

    from simhw.report.matrix_tables import Headings

PANELS = (("run_speedup", "times as fast"), ("run_energy_saving", "times less energy"))
STRONGEST = 2.0
"""Colours end at a factor of 4 either way (2 octaves), so that one extreme does not pale the others."""


def plot_matrix(frame: "pd.DataFrame", headings: "Headings", path: str | os.PathLike[str]) -> None:
    """Draw the cross table to a ``.png``, ``.svg`` or ``.pdf`` file.

    Raises
    ------
    SimhwError
        Another suffix, or a place that cannot be written.
    """
    write_figure(matrix_figure(frame, headings), path, dots_per_inch=130)


def matrix_figure(frame: "pd.DataFrame", headings: "Headings") -> Figure:
    """A row per technique, a column per machine, a panel for time and one for energy; 1 is the uncompressed model.

    Steps are full-size; those of the narrow network that was trained, marked so, where a technique has no others.

    Parameters
    ----------
    frame : DataFrame
        As `simhw_workloads.matrix.table` gives it.
    headings : Headings
        What machines are called, and the title.
    """
    frame = leading(frame)
    techniques = list(dict.fromkeys(frame["workload"]))
    machines = list(dict.fromkeys(frame["machine"]))
    figure = Picture(figsize=(6 + 1.45 * len(machines), 1.9 + 0.27 * len(techniques)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (column, title) in zip(panels, PANELS, strict=True):
        cells = frame.pivot(index="workload", columns="machine", values=column).reindex(
            index=techniques, columns=machines
        )
        _heat(axes, cells.to_numpy(dtype=float))
        axes.set_title(title, fontsize=9)
        axes.set_xticks(
            range(len(machines)),
            [headings.machines.get(name, name) for name in machines],
            fontsize=7,
            rotation=35,
            ha="right",
        )
    scores = frame.drop_duplicates("workload").set_index("workload")
    panels[0].set_yticks(range(len(techniques)), [_label(name, scores.loc[name]) for name in techniques], fontsize=7)
    for axes in panels:
        for index in range(1, len(techniques)):
            if scores.loc[techniques[index], "family"] != scores.loc[techniques[index - 1], "family"]:
                axes.axhline(index - 0.5, color="black", linewidth=1)
    figure.suptitle(headings.title, fontsize=10)
    return figure


def _heat(axes: Axes, values: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> None:
    norm = TwoSlopeNorm(0, -STRONGEST, STRONGEST)
    axes.imshow(np.log2(values), cmap="RdBu", norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(column, row, "–", ha="center", va="center", fontsize=7, color="#888888")
            continue
        dark = abs(np.log2(value)) > 0.65 * STRONGEST
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")


def _label(name: str, score: "pd.Series[Any]") -> str:
    return f"{named(name)}{' (narrow)' if score['size'] == 'narrow' else ''}  {shown_scores(score)}"
