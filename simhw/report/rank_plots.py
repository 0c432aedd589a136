"""The picture of a layer's latency against the rank of its factors: the staircase, and the ranks that matter on it."""

import os
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from simhw.files.writing import write_figure
from simhw.report.bars import plain
from simhw.report.picture import Picture
from simhw.roofline.compression.ranks import LayerTimer, RankChoice

if TYPE_CHECKING:
    import pandas as pd


def plot_staircase(frame: "pd.DataFrame", choice: RankChoice, timer: LayerTimer, path: str | os.PathLike[str]) -> None:
    """Draw a layer's latency against rank to a ``.png``, ``.svg`` or ``.pdf`` file.

    Raises
    ------
    SimhwError
        Another suffix, or a place that cannot be written.
    """
    write_figure(staircase_figure(frame, choice, timer), path)


def staircase_figure(frame: "pd.DataFrame", choice: RankChoice, timer: LayerTimer) -> Figure:
    """Latency of every rank, the whole layer's beside it, and the vanilla and the chosen rank marked."""
    figure = Picture(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.step(frame["rank"], frame["seconds"] * 1e3, where="mid", color="#0072B2", linewidth=1.2, label="factors")
    axes.axhline(choice.original_seconds * 1e3, color="black", linewidth=1, linestyle="--", label="the whole layer")
    marks = []
    if choice.vanilla_rank is not None:
        marks.append(("vanilla", choice.vanilla_rank, choice.vanilla_seconds, "#D55E00", "o"))
    if choice.rank is not None:
        marks.append(("chosen", choice.rank, choice.seconds, "#009E73", "s"))
    for name, rank, seconds, color, marker in marks:
        text = f"{name}: rank {rank}, {seconds * 1e3:.4g} ms"
        axes.plot([rank], [seconds * 1e3], marker=marker, color=color, linestyle="", markersize=7, label=text)
    run = timer.run
    how = f"{run.mode}, {run.precision}, batch {run.batch}"
    axes.set_title(plain(f"{choice.layer.name} on {timer.device.label}: {how}"), fontsize=10)
    axes.set_xlabel("rank of the factors")
    axes.set_ylabel("ms, all phases")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, int(frame["rank"].max()) + 1)
    axes.grid(linewidth=0.3)
    axes.legend(fontsize=8, loc="upper left")
    return figure
