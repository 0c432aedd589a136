"""A picture of training steps beside each other: how much faster, and with how much less energy, each runs than the
first.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simhw.quantities import short
from simhw.report.bars import plain
from simhw.report.picture import Picture
from simhw.report.result_plots import MACHINE_COLORS
from simhw.results.traces import Gain, TraceComparison

LONGEST_NAME = 40


def trace_comparison_figure(comparison: TraceComparison) -> Figure:
    """Two panels, times as fast and times less energy: a group of bars per hardware, a bar per trace but the first.

    The error bars are 95% confidence intervals; the line at 1 is the first trace.
    """
    first, *others = comparison.comparisons
    hardware = list(dict.fromkeys(gain.other.hardware for gain in comparison.gains))
    figure = Picture(figsize=(11, 1.2 + 0.35 * len(hardware) * (len(others) + 1)), layout="constrained")
    figure.suptitle(plain(f"{', '.join(others)} against {first}, with memories"), fontsize=11)
    speed, energy = figure.subplots(1, 2, sharey=True)
    for axes, name in ((speed, "times as fast"), (energy, "times less energy")):
        _draw(axes, comparison, name)
    speed.set_yticks(np.arange(len(hardware)), [plain(short(each, LONGEST_NAME)) for each in hardware])
    speed.invert_yaxis()
    if len(others) > 1:
        speed.legend(fontsize=8)
    return figure


def _draw(axes: Axes, comparison: TraceComparison, name: str) -> None:
    _, *others = comparison.comparisons
    height = 0.8 / len(others)
    for number, other in enumerate(others):
        gains = [gain for gain in comparison.gains if gain.other.trace == other]
        values, errors = zip(*(_value(gain, name) for gain in gains), strict=True)
        places = np.arange(len(gains)) + (number - (len(others) - 1) / 2) * height
        color = MACHINE_COLORS[number % len(MACHINE_COLORS)]
        bars = axes.barh(places, values, height, xerr=errors, color=color, label=plain(other))
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_title(name, fontsize=10)
    axes.margins(x=0.12)


def _value(gain: Gain, name: str) -> tuple[float, float]:
    if name == "times as fast":
        return gain.times_as_fast, gain.times_as_fast_half_width
    return gain.times_less_energy, gain.times_less_energy_half_width
