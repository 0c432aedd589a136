"""What memories make of a run, as tables: where the time and the energy go, machine beside baseline."""

from collections.abc import Sequence

from simhw.machine.energy import GROUPS
from simhw.memory.model import SHARES
from simhw.quantities import Shown, figure, percent, ratio, short
from simhw.report.result_tables import BOUND_NAMES
from simhw.report.sheet import Sheet
from simhw.results.step import Results
from simhw.results.totals import Overall

SHARE_NAMES = {
    "compute": "compute",
    "dram": "DRAM",
    "buffer_conflict": "buffers",
    "transposer": "transposers",
    "fill": "fill",
    "drain": "drain",
}
"""Headings of the shares of time."""
GROUP_NAMES = {"core": "core", "on_chip": "on-chip", "off_chip": "off-chip"}
LONGEST_HEADING = 20


def component_name(component: str) -> str:
    """A component of the energy, as tables and pictures say it."""
    return component.replace("dram_", "DRAM ").replace("_", " ")


def megabytes(number: float) -> Shown:
    """Bytes as MB."""
    return figure(number / 1e6, ",.1f")


def share(part: float, whole: float) -> float:
    """A part of a whole; NaN where the whole is nothing."""
    return part / whole if whole else float("nan")


def sides(results: Results) -> list[tuple[str, Overall]]:
    """The totals of the machine, and of its baseline if it has one."""
    found = [(results.machine.name, results.total.overall)]
    if results.baseline is not None and results.total.baseline_overall is not None:
        found.append((results.baseline.name, results.total.baseline_overall))
    return found


def time_sheet(results: Results) -> Sheet:
    """Where the time goes: per operation and total, machine and baseline, the time, its causes and the traffic off
    chip.
    """
    columns = [("operation", False), ("on", False), ("ms", True), *((name, True) for name in SHARE_NAMES.values())]
    columns += [("off-chip MB", True), ("compressed", True), ("GB/s", True)]
    rows = []
    for name, summary in {**results.by_operation(), "total": results.total}.items():
        rows.append([name, results.machine.name, *_time_cells(summary.overall), *_traffic_cells(summary.overall)])
        if summary.baseline_overall is not None and results.baseline is not None:
            base = summary.baseline_overall
            rows.append(["", results.baseline.name, *_time_cells(base), *_traffic_cells(base)])
    return Sheet(columns, rows, name=f"time of {results.machine.label}")


def _time_cells(overall: Overall) -> list[str]:
    return [
        figure(overall.time_s * 1e3, ".4g"),
        *(percent(share(overall.shares[name], overall.cycles)) for name in SHARES),
    ]


def _traffic_cells(overall: Overall) -> list[str]:
    rate = f"{overall.off_chip_bytes / overall.time_s / 1e9:.1f}" if overall.time_s else "-"
    return [megabytes(overall.off_chip_bytes), percent(share(overall.off_chip_bytes, overall.raw_off_chip_bytes)), rate]


def energy_sheet(results: Results) -> Sheet:
    """Energy of the whole run by component, machine beside baseline, and the ends of its uncertainty."""
    columns = [("part", False), ("energy, mJ", False)]
    for name, _ in sides(results):
        columns += [(short(name, LONGEST_HEADING), True), ("share", True), ("low to high", True)]
    rows = []
    for group, components in GROUPS.items():
        for number, component in enumerate(components):
            cells = [cell for _, overall in sides(results) for cell in _energy_cells(overall, component)]
            rows.append([GROUP_NAMES[group] if number == 0 else "", component_name(component), *cells])
    rows.append(["total", "", *(cell for _, overall in sides(results) for cell in _energy_cells(overall, None))])
    return Sheet(columns, rows, total_last=True, name=f"energy of {results.machine.label}")


def _energy_cells(overall: Overall, component: str | None) -> list[str]:
    energy = overall.energy_j if component is None else overall.energy[component]
    part = percent(share(energy.mid, overall.energy_j.mid))
    return [f"{energy.mid * 1e3:.4g}", part, f"{energy.low * 1e3:.3g} to {energy.high * 1e3:.3g}"]


def overall_comparison_sheet(results: Sequence[Results], names: Sequence[str]) -> Sheet:
    """A row per machine: speed-up with memories per operation and total, energy efficiency, and what bounds the run."""
    operations = list(dict.fromkeys(name for each in results for name in each.by_operation()))
    columns = [("machine", False), *((name, True) for name in [*operations, "total", "energy eff."])]
    columns += [("bound by", False), ("off-chip MB", True)]
    rows = []
    for name, each in zip(names, results, strict=True):
        parts, total = each.by_operation(), each.total
        found = [parts.get(operation) for operation in operations]
        cells = [
            ratio(part.overall_speedup, part.overall_speedup_half_width) if part else "-" for part in [*found, total]
        ]
        bound = BOUND_NAMES[total.overall.bound_by]
        rows.append(
            [name, *cells, ratio(total.overall_energy_efficiency), bound, megabytes(total.overall.off_chip_bytes)]
        )
    return Sheet(columns, rows, name="comparison with memories")


def breakdown_sheet(results: Sequence[Results], names: Sequence[str]) -> Sheet:
    """A row per machine: its time by cause, and its energy by part of the machine."""
    columns = [("machine", False), ("ms", True), *((name, True) for name in SHARE_NAMES.values())]
    columns += [("mJ", True), *((name, True) for name in GROUP_NAMES.values())]
    rows = []
    for name, each in zip(names, results, strict=True):
        overall = each.total.overall
        energy = overall.energy_j.mid
        groups = [percent(share(part.mid, energy)) for part in overall.groups.values()]
        rows.append([name, *_time_cells(overall), figure(energy * 1e3, ".4g"), *groups])
    return Sheet(columns, rows, name="breakdown")
