"""What memories make of a run, as text: where the time and the energy go, machine beside baseline, and why."""

from collections.abc import Sequence

from simhw.energy import GROUPS
from simhw.memory.model import SHARES
from simhw.report.result_tables import percent, ratio
from simhw.report.sheet import Sheet
from simhw.results import OperationResult, Overall, Results, Summary

SHARE_NAMES = {
    "compute": "compute",
    "dram": "DRAM",
    "buffer_conflict": "buffers",
    "transposer": "transposers",
    "fill": "fill",
    "drain": "drain",
}
"""Headings of the shares of time."""
BOUND_NAMES = {"compute": "compute", "dram": "DRAM", "buffer": "buffers", "transposer": "transposers"}
GROUP_NAMES = {"core": "core", "on_chip": "on-chip", "off_chip": "off-chip"}
SMALL_BATCH_SHARE = 0.5
"""Where weights make more of the off-chip traffic than this, the batch decides what the run says."""


def has_memories(results: Results) -> bool:
    """True where memories are modelled."""
    return any(item.cost.memory is not None for item in results.operations)


def megabytes(number: float) -> str:
    """Bytes as MB."""
    return f"{number / 1e6:,.1f}"


def time_sheet(results: Results) -> Sheet:
    """Per operation and total, machine and baseline: the overall time, its causes, and the traffic off chip."""
    columns = [("operation", False), ("on", False), ("ms", True), *((name, True) for name in SHARE_NAMES.values())]
    columns += [("bound by", False), ("off-chip MB", True), ("compressed", True), ("GB/s", True)]
    rows = []
    for name, summary in {**results.by_operation(), "total": results.total}.items():
        rows.append([name, results.machine.name, *_time_cells(summary.overall)])
        if summary.baseline_overall is not None and results.baseline is not None:
            rows.append(["", results.baseline.name, *_time_cells(summary.baseline_overall)])
    return Sheet(columns, rows)


def _time_cells(overall: Overall) -> list[str]:
    shares = [percent(overall.shares[name] / overall.cycles if overall.cycles else float("nan")) for name in SHARES]
    raw = overall.raw_off_chip_bytes
    rate = f"{overall.off_chip_bytes / overall.time_s / 1e9:.1f}" if overall.time_s else "-"
    compressed = percent(overall.off_chip_bytes / raw) if raw else "-"
    return [f"{overall.time_s * 1e3:.4g}", *shares, BOUND_NAMES[overall.bound_by], megabytes(overall.off_chip_bytes), compressed, rate]


def energy_sheet(results: Results) -> Sheet:
    """Energy of the whole run by component, machine beside baseline, and the ends of its uncertainty."""
    total = results.total
    sides = [(results.machine.name, total.overall)]
    if results.baseline is not None and total.baseline_overall is not None:
        sides.append((results.baseline.name, total.baseline_overall))
    columns = [("part", False), ("component", False)]
    for name, _ in sides:
        columns += [(f"{name} mJ", True), ("share", True), ("low to high mJ", True)]
    rows = []
    for group, components in GROUPS.items():
        for number, component in enumerate(components):
            cells = [cell for _, overall in sides for cell in _energy_cells(overall, component)]
            rows.append([GROUP_NAMES[group] if number == 0 else "", component.replace("_", " "), *cells])
    rows.append(["total", "", *(cell for _, overall in sides for cell in _energy_cells(overall, None))])
    return Sheet(columns, rows, total_last=True)


def _energy_cells(overall: Overall, component: str | None) -> list[str]:
    energy = overall.energy_j if component is None else overall.energy[component]
    whole = overall.energy_j.mid
    return [
        f"{energy.mid * 1e3:.4g}",
        percent(energy.mid / whole if whole else float("nan")),
        f"{energy.low * 1e3:.3g} to {energy.high * 1e3:.3g}",
    ]


def memory_explanation(results: Results) -> list[str]:
    """What bounds the run, and what becomes of the tiles' speed-up."""
    total, overall = results.total, results.total.overall
    waiting = 1 - overall.shares["compute"] / overall.cycles if overall.cycles else 0.0
    bound = ", ".join(f"{share:.0%} by {BOUND_NAMES[name]}" for name, share in sorted(overall.bound.items(), key=lambda item: -item[1]))
    lines = [f"With memories: the tiles wait {waiting:.0%} of the time; operations that take up the time are bound {bound}."]
    if total.baseline_overall is not None:
        base = total.baseline_overall
        base_waiting = 1 - base.shares["compute"] / base.cycles
        lines.append(
            f"Why {total.overall_speedup:.3f}x overall and {total.speedup:.3f}x compute only: both move nearly the same bytes, "
            f"for which the baseline's tiles wait {base_waiting:.0%} of their time."
        )
        lines.append(
            f"Energy overall {total.overall_energy_efficiency:.3f}x: memories take {_memory_share(overall):.0%} of the machine's energy "
            f"and {_memory_share(base):.0%} of the baseline's; costs are uncertain, see low to high."
        )
    return lines


def _memory_share(overall: Overall) -> float:
    return 1 - overall.groups["core"].mid / overall.energy_j.mid if overall.energy_j.mid else 0.0


def memory_cautions(results: Results) -> list[str]:
    """What a reader must know before quoting figures with memories."""
    memory = results.machine.modelled_memory
    lines = []
    share = weight_share(results.operations)
    if share > SMALL_BATCH_SHARE:
        lines.append(
            f"Caution: {share:.0%} of the off-chip bytes are weights and their gradients, which a larger batch would share; "
            "--batch N grows the step to N images."
        )
    if memory is not None and memory.compression != "none":
        lines.append(
            f"Caution: outputs are taken to compress ({memory.compression}) as the operand of their shape; their values are not in a trace."
        )
    return lines


def weight_share(operations: Sequence[OperationResult]) -> float:
    """Share of the off-chip bytes that W has, in or out."""
    memories = [item.cost.memory for item in operations if item.cost.memory]
    everything = sum(memory.off_chip_bytes for memory in memories)
    weights = sum(memory.traffic_bytes["w_in"] + memory.traffic_bytes["w_out"] for memory in memories)
    return weights / everything if everything else 0.0


def memory_legend() -> list[str]:
    """What the words of these tables mean."""
    return [
        "overall: with memories, against the baseline with its memories.  compute: the tiles' own time.  DRAM: tiles wait for blocks "
        "or for room.  buffers, transposers: they cannot feed the tiles.  fill, drain: first blocks in, last outputs out.",
        "compressed: bytes off chip over those before compression.  low to high: all costs at the ends of their uncertainty together.",
    ]


def breakdown_sheet(results: Sequence[Results], names: Sequence[str]) -> Sheet:
    """A row per machine: overall figures, shares of time, and energy by part."""
    columns = [("machine", False), ("overall speed-up", True), ("overall energy eff.", True), ("bound by", False), ("ms", True)]
    columns += [("waits", True), ("off-chip MB", True), ("mJ", True), *((name, True) for name in GROUP_NAMES.values())]
    rows = []
    for name, each in zip(names, results, strict=True):
        rows.append([name, *_breakdown_cells(each.total)])
    return Sheet(columns, rows)


def _breakdown_cells(total: Summary) -> list[str]:
    overall = total.overall
    groups = [percent(part.mid / overall.energy_j.mid if overall.energy_j.mid else float("nan")) for part in overall.groups.values()]
    waits = percent(1 - overall.shares["compute"] / overall.cycles if overall.cycles else float("nan"))
    cells = [
        ratio(total.overall_speedup, total.overall_speedup_half_width),
        ratio(total.overall_energy_efficiency),
        BOUND_NAMES[overall.bound_by],
    ]
    return [*cells, f"{overall.time_s * 1e3:.4g}", waits, megabytes(overall.off_chip_bytes), f"{overall.energy_j.mid * 1e3:.4g}", *groups]
