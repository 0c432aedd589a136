"""Pictures of what memories make of a run: where the time and the energy go, a bar for each machine."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from simhw.machine.energy import GROUPS
from simhw.memory.model import SHARES
from simhw.report.bars import legend, name_rows
from simhw.report.memory_tables import GROUP_NAMES, SHARE_NAMES, component_name, share
from simhw.results.totals import Overall

# Okabe and Ito's palette, as in the other plots: what the tiles do is green, what they wait for is not.
SHARE_COLORS = {
    "compute": "#009E73",
    "dram": "#D55E00",
    "buffer_conflict": "#E69F00",
    "transposer": "#CC79A7",
    "fill": "#56B4E9",
    "drain": "#0072B2",
}
# A hue per part of the machine: green the tiles, yellow to orange what is on chip, blue what is off it.
COMPONENT_COLORS = {
    "compute": "#009E73",
    "scratchpads": "#F0E442",
    "buffers": "#E69F00",
    "transposers": "#D55E00",
    "leakage": "#A65628",
    "dram_activate": "#003F5C",
    "dram_read": "#0072B2",
    "dram_write": "#56B4E9",
    "dram_refresh": "#8DA0CB",
    "dram_background": "#C6DBEF",
}
SMALLEST_LABELLED, SMALLEST_NAMED = 0.045, 0.13
"""Shares of the axis below which a piece has no room for its number, or for a name beside it."""
WHISKER_OFFSET = 0.26
"""Rows below a bar's middle, where no number stands."""


def draw_time(axes: Axes, bars: Mapping[str, Overall]) -> None:
    """A bar of time per machine, by cause [ms]."""
    starts = np.zeros(len(bars))
    wholes = np.array([overall.time_s * 1e3 for overall in bars.values()])
    for name in SHARES:
        parts = np.nan_to_num(
            [overall.time_s * 1e3 * share(overall.shares[name], overall.cycles) for overall in bars.values()]
        )
        axes.barh(range(len(bars)), parts, left=starts, color=SHARE_COLORS[name], label=SHARE_NAMES[name], height=0.7)
        for row, (start, part, whole) in enumerate(zip(starts, parts, wholes, strict=True)):
            _inside(axes, "", float(start), float(part), float(whole), row, float(wholes.max()))
        starts += parts
    name_rows(axes, list(bars))
    axes.set_xlabel("time with memories [ms]", fontsize=8)
    legend(axes, len(SHARES))


def draw_energy(axes: Axes, bars: Mapping[str, Overall]) -> None:
    """A bar of energy per machine, by component, the shares of its groups, and the ends of its uncertainty [mJ]."""
    starts = np.zeros(len(bars))
    totals = [overall.energy_j.times(1e3) for overall in bars.values()]
    longest = max(total.high for total in totals)
    for group, components in GROUPS.items():
        begins = starts.copy()
        for component in components:
            parts = np.array([overall.energy[component].mid * 1e3 for overall in bars.values()])
            color, text = COMPONENT_COLORS[component], component_name(component)
            axes.barh(
                range(len(bars)),
                parts,
                left=starts,
                color=color,
                label="core: tiles" if group == "core" else text,
                height=0.7,
            )
            starts += parts
        for row, (begin, end, total) in enumerate(zip(begins, starts, totals, strict=True)):
            _inside(axes, f"{GROUP_NAMES[group]} ", float(begin), float(end - begin), total.mid, row, longest)
            axes.vlines(end, row - 0.35, row + 0.35, color="white", linewidth=1.2)
    errors = [[total.mid - total.low for total in totals], [total.high - total.mid for total in totals]]
    axes.errorbar(
        starts,
        np.arange(len(bars)) + WHISKER_OFFSET,
        xerr=errors,
        fmt="|",
        markersize=5,
        color="black",
        elinewidth=0.8,
        capsize=2.5,
    )
    name_rows(axes, list(bars))
    axes.set_xlim(left=0)
    axes.set_xlabel("energy with memories [mJ]; whiskers: all costs at their low, at their high end", fontsize=8)
    legend(axes, 5)


def _inside(axes: Axes, name: str, start: float, part: float, whole: float, row: int, longest: float) -> None:
    """The share of a piece of a bar in its middle, where there is room for it, with its name where there is room for
    both.
    """
    if part < SMALLEST_LABELLED * longest:
        return
    text = f"{name if part >= SMALLEST_NAMED * longest else ''}{share(part, whole):.0%}"
    # Any colour may lie below it.
    outline = [withStroke(linewidth=1.6, foreground="white")]
    axes.text(start + part / 2, row, text, ha="center", va="center", fontsize=7, path_effects=outline)
