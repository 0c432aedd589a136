"""Pictures of what memories make of a run: where the time and the energy go, machine beside baseline."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from simhw.energy import GROUPS
from simhw.memory.model import SHARES
from simhw.report.memory_tables import GROUP_NAMES, SHARE_NAMES
from simhw.results import Overall, Results, Summary

# Okabe and Ito's palette, as in the other plots: what the tiles do is green, what they wait for is not.
SHARE_COLORS = {
    "compute": "#009E73",
    "dram": "#D55E00",
    "buffer_conflict": "#E69F00",
    "transposer": "#CC79A7",
    "fill": "#56B4E9",
    "drain": "#0072B2",
}
COMPONENT_COLORS = {
    "compute": "#009E73",
    "scratchpads": "#F0E442",
    "buffers": "#E69F00",
    "transposers": "#CC79A7",
    "leakage": "#999999",
    "dram_activate": "#003F5C",
    "dram_read": "#0072B2",
    "dram_write": "#56B4E9",
    "dram_refresh": "#8DA0CB",
    "dram_background": "#C6DBEF",
}
SMALLEST_LABELLED = 0.05
LONGEST_NAME = 24


def overall_bars(results: Results) -> dict[str, Overall]:
    """What gets a bar of its own: the machine, and its baseline, in total."""
    total = results.total
    bars = {_short(results.machine.label): total.overall}
    if results.baseline is not None and total.baseline_overall is not None:
        bars[_short(results.baseline.label)] = total.baseline_overall
    return bars


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def draw_time(axes: Axes, bars: Mapping[str, Overall]) -> None:
    """A bar of time per machine, by cause [ms]."""
    starts = np.zeros(len(bars))
    longest = max(overall.time_s for overall in bars.values()) * 1e3
    for name in SHARES:
        parts = np.array([1e3 * overall.time_s * overall.shares[name] / max(overall.cycles, 1e-300) for overall in bars.values()])
        drawn = axes.barh(range(len(bars)), parts, left=starts, color=SHARE_COLORS[name], label=SHARE_NAMES[name], height=0.7)
        axes.bar_label(
            drawn, _labels(parts.tolist(), [overall.time_s * 1e3 for overall in bars.values()], longest), label_type="center", fontsize=7
        )
        starts += parts
    _finish(axes, list(bars), "time with memories [ms]")


def draw_energy(axes: Axes, bars: Mapping[str, Overall]) -> None:
    """A bar of energy per machine, by component, and the ends of its uncertainty [mJ]."""
    starts = np.zeros(len(bars))
    totals = [overall.energy_j for overall in bars.values()]
    longest = max(total.mid for total in totals) * 1e3
    for group, components in GROUPS.items():
        for component in components:
            parts = np.array([overall.energy[component].mid * 1e3 for overall in bars.values()])
            text = component.replace("dram_", "DRAM ").replace("_", " ")
            label = text if group == "core" else f"{GROUP_NAMES[group]}: {text}"
            drawn = axes.barh(range(len(bars)), parts, left=starts, color=COMPONENT_COLORS[component], label=label, height=0.7)
            axes.bar_label(drawn, _labels(parts.tolist(), [total.mid * 1e3 for total in totals], longest), label_type="center", fontsize=7)
            starts += parts
    errors = [[(total.mid - total.low) * 1e3 for total in totals], [(total.high - total.mid) * 1e3 for total in totals]]
    axes.errorbar(starts, range(len(bars)), xerr=errors, fmt="none", ecolor="black", elinewidth=0.8, capsize=3)
    _finish(axes, list(bars), "energy with memories [mJ], whiskers: all costs low, all high")


def draw_ratios(axes: Axes, variants: Sequence[str], totals: Sequence[Summary]) -> None:
    """Speed-up and energy efficiency of each variant, compute only and with memories."""
    kinds = {
        "speed-up, compute only": ("#999999", [total.speedup for total in totals]),
        "speed-up with memories": ("#0072B2", [total.overall_speedup for total in totals]),
        "energy efficiency, compute only": ("#DDDDDD", [total.energy_efficiency for total in totals]),
        "energy efficiency with memories": ("#56B4E9", [total.overall_energy_efficiency for total in totals]),
    }
    for index, (label, (color, values)) in enumerate(kinds.items()):
        places = np.arange(len(variants)) + 0.2 * (index - 1.5)
        drawn = axes.barh(places, values, 0.19, color=color, label=label)
        axes.bar_label(drawn, [f"{value:.2f}" if np.isfinite(value) else "" for value in values], fontsize=6.5, padding=2)
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    _finish(axes, variants, "over the baseline")
    axes.margins(x=0.12)


def _labels(parts: Sequence[float], wholes: Sequence[float], longest: float) -> list[str]:
    """Shares of a bar, where the piece is long enough for a number."""
    return [
        f"{part / whole:.0%}" if whole and part >= SMALLEST_LABELLED * longest else "" for part, whole in zip(parts, wholes, strict=True)
    ]


def _finish(axes: Axes, names: Sequence[str], label: str) -> None:
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(label, fontsize=8)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=6.5, frameon=False, handlelength=1, columnspacing=1)
