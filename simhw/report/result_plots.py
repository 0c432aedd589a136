"""Pictures of results: where the lane-cycles went, and speed-ups with their intervals, in total and layer by layer."""

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import PercentFormatter

from simhw.quantities import ratio, short
from simhw.report.bars import draw_ratios, ends, error, label, legend, name_rows, named, plain
from simhw.report.memory_plots import draw_energy, draw_time
from simhw.report.memory_tables import sides
from simhw.report.picture import Picture
from simhw.report.result_tables import has_memories, labels, title
from simhw.results.step import Results
from simhw.results.totals import Totals
from simhw.trace.layer import OPERATIONS

# Okabe and Ito's palette: told apart by colour-blind readers too.
OPERATION_STYLE: dict[str, tuple[str, str]] = {
    "forward": ("#0072B2", "o"),
    "input_grad": ("#D55E00", "^"),
    "weight_grad": ("#009E73", "s"),
}
MACHINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
LAYER_INCHES = 0.2
WIDTH_INCHES = 12.0
# A share below this has no room for its number.
SMALLEST_LABELLED = 0.045
MOST_NAMED_LAYERS = 200
# A layer's interval beyond this share of its speed-up says no more than that it is uncertain.
WIDEST_DRAWN = 0.5
MOST_LABELLED_VARIANTS = 6


def results_figure(results: Sequence[Results]) -> Figure:
    """A block per machine: lane-cycles by class, speed-ups, time and energy with memories, and the speed-up of every
    layer.

    The error bars are 95% confidence intervals.  In the lower panel a marker's area grows with the share of the
    machine's time that the layer and operation take; it is hollow and without its bar where the interval is too wide to
    draw.
    """
    layers = _layer_names(results[0])
    width = max(WIDTH_INCHES, 2.0 + LAYER_INCHES * min(len(layers), MOST_NAMED_LAYERS))
    # One layer, or no baseline, leaves the lower panel nothing to show.
    heights = [
        [2.6, *([1.8] if has_memories(each) else []), *([3.4] if len(layers) > 1 and each.baseline else [])]
        for each in results
    ]
    totals = [sum(each) + 0.4 for each in heights]
    figure = Picture(figsize=(width, 0.5 + sum(totals)), layout="constrained")
    figure.suptitle(plain(title(results[0].provenance)), fontsize=11)
    blocks = figure.subfigures(len(results), 1, squeeze=False, height_ratios=totals)[:, 0]
    for block, name, each, parts in zip(blocks, labels(results), results, heights, strict=True):
        _draw_machine(block, name, each, layers, parts)
    return figure


def _draw_machine(block: SubFigure, name: str, results: Results, layers: list[str], heights: list[float]) -> None:
    baseline = results.baseline
    block.suptitle(plain(f"{name}{f', against {baseline.label}' if baseline else ''}"), fontsize=10, fontweight="bold")
    grid = block.add_gridspec(len(heights), 2, height_ratios=heights)
    summaries = {**results.by_operation(), "total": results.total}
    classes = block.add_subplot(grid[0, 0])
    _draw_classes(classes, summaries, [results])
    speedups = block.add_subplot(grid[0, 1], sharey=classes)
    _draw_speedups(speedups, summaries, has_memories(results))
    speedups.tick_params(axis="y", labelleft=False)
    if has_memories(results):
        bars = dict(sides(results))
        draw_time(block.add_subplot(grid[1, 0]), bars)
        draw_energy(block.add_subplot(grid[1, 1]), bars)
    if len(layers) > 1 and baseline:
        _draw_layers(block.add_subplot(grid[-1, :]), results, layers)


def _draw_classes(axes: Axes, summaries: dict[str, Totals], results: Sequence[Results]) -> None:
    """A stacked bar per summary, from top to bottom."""
    colors = {lane.name: lane.color for each in results for lane in each.machine.pe.lane_classes}
    names = list(summaries)
    starts = np.zeros(len(names))
    for each in dict.fromkeys(name for summary in summaries.values() for name in summary.classes):
        shares = np.array([summary.class_shares.get(each, 0.0) for summary in summaries.values()])
        bars = axes.barh(range(len(names)), shares, left=starts, color=colors[each], label=each, height=0.7)
        axes.bar_label(
            bars,
            [f"{share:.0%}" if share >= SMALLEST_LABELLED else "" for share in shares],
            label_type="center",
            fontsize=7,
        )
        starts += np.nan_to_num(shares)
    name_rows(axes, names)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("lane-cycles of the tile passes", fontsize=8)
    legend(axes, 6)


def _draw_speedups(axes: Axes, summaries: dict[str, Totals], modelled: bool) -> None:
    found = list(summaries.values())
    overall = [(each.overall_speedup, each.overall_speedup_half_width) for each in found] if modelled else []
    draw_ratios(
        axes,
        [each.speedup for each in found],
        [error(each.speedup_half_width) for each in found],
        [ratio(each.speedup, each.speedup_half_width) for each in found],
        [OPERATION_STYLE[name][0] if name in OPERATION_STYLE else "#444444" for name in summaries],
        [(value, error(half_width), ratio(value, half_width)) for value, half_width in overall],
    )
    compared = any(np.isfinite(each.speedup) for each in found)
    axes.set_xlabel("speed-up over the baseline" if compared else "no baseline to compare with", fontsize=8)


def _draw_layers(axes: Axes, results: Results, layers: list[str]) -> None:
    places = {name: index for index, name in enumerate(layers)}
    whole = results.total.time_s
    hollow = False
    for shift, operation in zip((-0.22, 0.0, 0.22), OPERATIONS, strict=True):
        items = [item for item in results.operations if item.operation == operation]
        if not items:
            continue
        color, marker = OPERATION_STYLE[operation]
        x = [places[item.layer] + shift for item in items]
        y = [item.speedup for item in items]
        areas = [10 + 600 * item.cost.time_s / whole for item in items]
        wide = [item.speedup_half_width > WIDEST_DRAWN * item.speedup for item in items]
        faces = ["none" if each else color for each in wide]
        axes.scatter(x, y, areas, facecolors=faces, edgecolors=color, marker=marker, linewidths=0.7, zorder=3)
        # Of its own, since a legend shows a collection's first marker, which may be hollow.
        axes.scatter([], [], 24, color=color, marker=marker, label=operation)
        errors = [float("nan") if each else item.speedup_half_width for each, item in zip(wide, items, strict=True)]
        if any(errors):
            axes.errorbar(x, y, errors, fmt="none", ecolor=color, elinewidth=0.8, capsize=1.5, zorder=2)
        hollow = hollow or any(wide)
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 1.08 * max([*(item.speedup for item in results.operations if np.isfinite(item.speedup)), 1.0]))
    axes.set_xlim(-0.7, len(layers) - 0.3)
    shown = layers if len(layers) <= MOST_NAMED_LAYERS else []
    axes.set_xticks(range(len(shown)), [named(name) for name in shown], rotation=90, fontsize=6.5)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylabel("speed-up, compute only", fontsize=8)
    axes.grid(linewidth=0.3, alpha=0.6)
    note = f"; hollow: 95% confidence interval wider than ±{WIDEST_DRAWN:.0%}" if hollow else ""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=7, frameon=False)
    axes.set_title(f"marker area: share of the machine's time{note}", fontsize=7, loc="right")


def comparison_figure(results: Sequence[Results]) -> Figure:
    """Machines side by side: speed-ups per operation and total, lane-cycles, energy efficiency, and where time and
    energy go.

    Speed-ups with memories, time and energy are of those machines whose memories are modelled.
    """
    names = [*dict.fromkeys(name for each in results for name in each.by_operation()), "total"]
    summaries = [{**each.by_operation(), "total": each.total} for each in results]
    variants = labels(results)
    several = len({each.baseline.content_hash if each.baseline else "" for each in results}) > 1
    modelled = {name: each.total for name, each in zip(variants, results, strict=True) if has_memories(each)}
    groups = 3.2 if modelled else 3.8
    heights = [
        groups,
        *([groups] if modelled else []),
        1.1 + 0.32 * len(results),
        *([1.1 + 0.42 * len(modelled)] if modelled else []),
    ]
    width = max(WIDTH_INCHES, 2 + 0.28 * len(results) * len(names))
    figure = Picture(figsize=(width, 0.8 + sum(heights) + 0.16 * len(results)), layout="constrained")
    figure.suptitle(plain(title(results[0].provenance)), fontsize=11)
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[2, 1])
    first = figure.add_subplot(grid[0, :])
    _draw_groups(first, names, variants, summaries, [_against(each) if several else "" for each in results])
    totals = {name: each.total for name, each in zip(variants, results, strict=True)}
    classes = figure.add_subplot(grid[2 if modelled else 1, 0])
    _draw_classes(classes, totals, results)
    _draw_efficiency(figure.add_subplot(grid[2 if modelled else 1, 1], sharey=classes), totals, modelled)
    if modelled:
        second = figure.add_subplot(grid[1, :], sharey=first)
        _draw_groups(second, names, variants, summaries, [], [name in modelled for name in variants])
        below = grid[3, :].subgridspec(1, 2)
        bars = {name: total.overall for name, total in modelled.items()}
        times = figure.add_subplot(below[0])
        draw_time(times, bars)
        energies = figure.add_subplot(below[1], sharey=times)
        draw_energy(energies, bars)
        energies.tick_params(axis="y", labelleft=False)
    return figure


def _against(results: Results) -> str:
    return f" (against {results.baseline.label if results.baseline else 'nothing'})"


def _draw_groups(
    axes: Axes,
    names: list[str],
    variants: list[str],
    summaries: Sequence[dict[str, Totals]],
    against: Sequence[str],
    modelled: Sequence[bool] = (),
) -> None:
    """A group per operation and the total, in it a bar per machine: compute only, or with the memories of those that
    model them.
    """
    width = 0.8 / len(variants)
    for index, (variant, parts) in enumerate(zip(variants, summaries, strict=True)):
        if modelled and not modelled[index]:
            continue
        x = [group + (index - (len(variants) - 1) / 2) * width for group, name in enumerate(names) if name in parts]
        found = [parts[name] for name in names if name in parts]
        errors = [error(each.overall_speedup_half_width if modelled else each.speedup_half_width) for each in found]
        values = [each.overall_speedup if modelled else each.speedup for each in found]
        axes.bar(
            x,
            values,
            width,
            yerr=errors if any(errors) else None,
            capsize=2,
            color=MACHINE_COLORS[index % len(MACHINE_COLORS)],
            hatch="//" * (index // len(MACHINE_COLORS)),
            edgecolor="white",
            linewidth=0.4,
            label="" if modelled else plain(short(variant, 60) + against[index]),
        )
        if len(variants) <= MOST_LABELLED_VARIANTS:
            for place, end, value in zip(x, ends(values, errors), values, strict=True):
                label(axes, f"{value:.2f}", place, float(end), above=True)
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.margins(y=0.1)
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylabel(f"speed-up, {'with memories' if modelled else 'compute only'}", fontsize=8)
    if not modelled:
        legend(axes, 2)


def _draw_efficiency(axes: Axes, totals: dict[str, Totals], modelled: Collection[str]) -> None:
    """A row per machine: energy efficiency of the tiles alone, and with memories for machines that model them."""
    found = list(totals.values())
    overall = [each.overall_energy_efficiency if name in modelled else float("nan") for name, each in totals.items()]
    draw_ratios(
        axes,
        [each.energy_efficiency for each in found],
        [0.0] * len(found),
        [ratio(each.energy_efficiency) for each in found],
        [MACHINE_COLORS[index % len(MACHINE_COLORS)] for index in range(len(found))],
        [(value, 0.0, ratio(value)) for value in overall] if modelled else [],
    )
    axes.tick_params(axis="y", labelleft=False)
    axes.set_xlabel(
        "energy efficiency over the baseline, total" if modelled else "compute energy efficiency, total", fontsize=8
    )


def _layer_names(results: Results) -> list[str]:
    return list(dict.fromkeys(item.layer for item in results.operations))
