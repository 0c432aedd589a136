"""Results as text: the tables that a command prints.

Nothing here knows a terminal: a `Sheet` is headings and cells, facts are names and values.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simhw.memory.parameters import Compression
from simhw.quantities import count, percent, ratio
from simhw.report.sheet import Sheet
from simhw.report.tile_costs import scaled_costs
from simhw.results.comparison import labels as labels
from simhw.results.operation import OperationResult
from simhw.results.step import Results
from simhw.results.totals import Totals
from simhw.trace.recomputation import recomputed_share
from simhw.trace.trace import Trace

BOUND_NAMES = {"compute": "compute", "dram": "DRAM", "buffer": "buffers", "transposer": "transposers"}
"""What bounds an operation, as tables say it."""

COMPRESSION_NAMES: dict[Compression, str] = {
    "none": "no compression",
    "bdc": "base-delta compression",
    "zero": "zero compression",
}
"""How what goes off chip is packed, as facts say it."""


def simulated_share(results: Results) -> float:
    """Share of the tile passes that was simulated."""
    passes = sum(item.passes for item in results.operations)
    return sum(item.passes * item.simulated for item in results.operations) / passes if passes else 1.0


def has_memories(results: Results) -> bool:
    """True where the memories of the machine or of its baseline are modelled."""
    costs = [cost for item in results.operations for cost in (item.cost, item.baseline) if cost is not None]
    return any(cost.memory is not None for cost in costs)


# Cells


def operand_counts(operations: Sequence[OperationResult]) -> str:
    """How many layers took which operand, most frequent first."""
    chosen = Counter(item.operand for item in operations)
    return ", ".join(f"{name if name == 'mixed' else name.upper()} {number}" for name, number in chosen.most_common())


# Tables


def trace_facts(trace: Trace, results: Results) -> list[tuple[str, str]]:
    """Where the values come from, and what they were simulated with."""
    metadata, provenance = trace.metadata, results.provenance
    origin = [metadata.model, metadata.dataset, metadata.technique]
    origin += [
        f"{name} {value}" for name, value in (("step", metadata.step), ("batch", metadata.batch)) if value is not None
    ]
    held = "a sample of random blocks" if trace.sampled else "whole tensors"
    lines = [
        ("trace", f"{trace.path or 'in memory'}{f', hash {digest}' if (digest := provenance['trace_hash']) else ''}")
    ]
    if any(origin):
        lines.append(("training", ", ".join(part for part in origin if part)))
    lines.append(("holds", f"{len(trace.layers)} layers, {len(results.operations)} operations, {held}"))
    if again := recomputed_share(trace, {(item.layer, item.operation): item.macs for item in results.operations}):
        lines.append(("recomputed", again))
    lines.append(("versions", f"simhw {provenance['simhw']}, NumPy {provenance['numpy']}"))
    return lines


def machine_facts(results: Results, label: str) -> list[tuple[str, str]]:
    """Which machine, against which, and how it was simulated."""
    provenance, machine, baseline = results.provenance, results.machine, results.baseline
    lines = [("machine", f"{label}, hash {machine.content_hash}: {machine.values.description}")]
    if machine.overrides:
        lines.append(("overrides", ", ".join(f"{name} = {value}" for name, value in machine.overrides.items())))
    against = (
        f"{baseline.label}, hash {baseline.content_hash}: {baseline.values.description}"
        if baseline
        else "none; --baseline names one"
    )
    lines.append(("baseline", against))
    lines += [("tile costs", costs) for costs in scaled_costs((machine, baseline)).values()]
    if has_memories(results):
        lines.append(("off chip", _off_chip(results)))
    lines.append(("simulated", _simulated(results)))
    if provenance["grown_to"]:
        lines.append(
            (
                "grown to",
                f"{provenance['grown_to']} images, whose values are those of the captured ones again and again",
            )
        )
    if provenance["checked"]:
        lines.append(("checked", "every tile pass was replayed step by step: cycles, counters and output bits agree"))
    return lines


def _off_chip(results: Results) -> str:
    """How both sides pack what they move off chip."""
    sides = [
        (COMPRESSION_NAMES[memory.compression], side)
        for side, each in (("machine", results.machine), ("baseline", results.baseline))
        if each is not None and (memory := each.modelled_memory) is not None
    ]
    if len(sides) == 2 and sides[0][0] == sides[1][0]:
        return f"{sides[0][0]}, of the machine and its baseline"
    return ", ".join(f"{how} of the {side}" for how, side in sides)


def _simulated(results: Results) -> str:
    provenance = results.provenance
    if provenance["sampling"] == "exact":
        return f"exactly, every tile pass, in {provenance['seconds']:.1f} s"
    share = f"{simulated_share(results):.2%} of the tile passes"
    if provenance["sampling"] == "of the trace":
        return f"the blocks that the trace holds, {share}, in {provenance['seconds']:.1f} s"
    return f"{provenance['sampling']}, seed {provenance['seed']}: {share}, in {provenance['seconds']:.1f} s"


def _groups(results: Results) -> dict[str, Totals]:
    return {**results.by_operation(), "total": results.total}


def performance_sheet(results: Results) -> Sheet:
    """Per operation and total: work, speed-up, energy, both with memories beside, cycles per set, and how full the
    machine is.
    """
    modelled = has_memories(results)
    headings = [
        "MACs",
        "speed-up",
        *(["overall speed-up"] if modelled else []),
        "energy eff.",
        *(["overall eff."] if modelled else []),
    ]
    columns = [("operation", False), *((heading, True) for heading in [*headings, "cycles/set", "busy", "occupancy"])]
    if modelled:
        columns.append(("bound by", False))
    rows = []
    for name, summary in _groups(results).items():
        row = [name, count(summary.macs), ratio(summary.speedup, summary.speedup_half_width)]
        if modelled:
            row.append(ratio(summary.overall_speedup, summary.overall_speedup_half_width))
        row.append(ratio(summary.energy_efficiency))
        if modelled:
            row.append(ratio(summary.overall_energy_efficiency))
        row += [ratio(summary.cycles_per_set), percent(summary.busy), percent(summary.occupancy)]
        rows.append([*row, BOUND_NAMES[summary.overall.bound_by]] if modelled else row)
    return Sheet(columns, rows, total_last=True, name=f"performance of {results.machine.label}")


def lane_cycle_sheet(results: Results) -> Sheet:
    """Per operation and total: lane-cycles, and the share of each class."""
    columns = [("operation", False), ("lane-cycles", True), *((name, True) for name in results.classes)]
    rows = []
    for name, summary in _groups(results).items():
        cycles = sum(summary.counters[each].value for each in results.classes)
        rows.append([name, count(cycles), *(percent(share) for share in summary.class_shares.values())])
    return Sheet(columns, rows, total_last=True, name=f"lane-cycles of {results.machine.label}")


def layer_sheet(results: Results) -> Sheet:
    """Per layer and operation: what the other two tables say, and the share of the total time."""
    role = results.machine.pe.operand_role
    headings = ["MACs", "time", "speed-up", "energy eff.", "cycles/set", "busy", "occupancy"]
    modelled = has_memories(results)
    overall = ["overall speed-up", "bound by", "off-chip MB", "blocking"] if modelled else []
    columns = [
        ("layer", False),
        ("operation", False),
        *((heading, True) for heading in [*headings, *results.classes, *overall]),
    ]
    whole = results.total.time_s
    rows = []
    for item in results.operations:
        row = [
            item.layer,
            item.operation,
            count(item.macs),
            percent(item.cost.time_s / whole if whole else float("nan")),
        ]
        row += [ratio(item.speedup, item.speedup_half_width), ratio(item.energy_efficiency), ratio(item.cycles_per_set)]
        row += [percent(item.cost.busy), percent(item.cost.occupancy)]
        row += [percent(share) for share in Totals.of([item]).class_shares.values()]
        if modelled:
            memory = item.cost.memory
            row += [ratio(item.overall_speedup), BOUND_NAMES[item.cost.bound_by]]
            row += [f"{memory.off_chip_bytes / 1e6:.3g}", str(memory.blocking)] if memory else ["-", "-"]
        rows.append([*row, operand_counts([item]).rpartition(" ")[0]] if role else row)
    if role:
        columns.append((role, False))
    return Sheet(columns, rows, name=f"layers of {results.machine.label}")


def comparison_sheet(results: Sequence[Results]) -> Sheet:
    """A row per machine: speed-up per operation and total, and the totals of the rest."""
    operations = list(dict.fromkeys(name for each in results for name in each.by_operation()))
    headings = [*operations, "total", "energy eff.", "cycles/set", "busy", "occupancy", "useful"]
    columns = [("machine", False), ("baseline", False), *((heading, True) for heading in headings)]
    rows = []
    for label, each in zip(labels(results), results, strict=True):
        parts, total = each.by_operation(), each.total
        found = [parts.get(name) for name in operations]
        cells = [ratio(part.speedup, part.speedup_half_width) if part else "-" for part in [*found, total]]
        cells += [
            ratio(total.energy_efficiency),
            ratio(total.cycles_per_set),
            percent(total.busy),
            percent(total.occupancy),
        ]
        rows.append(
            [label, each.baseline.label if each.baseline else "-", *cells, percent(total.class_shares["useful"])]
        )
    return Sheet(columns, rows, name="comparison")


def layer_comparison_sheet(results: Sequence[Results]) -> Sheet:
    """A row per layer and operation: its work, and each machine's speed-up over its baseline."""
    columns = [("layer", False), ("operation", False), ("MACs", True), *((label, True) for label in labels(results))]
    # All results are of one trace, so their operations are the same ones in the same order.
    rows = [
        [
            items[0].layer,
            items[0].operation,
            count(items[0].macs),
            *(ratio(item.speedup, item.speedup_half_width) for item in items),
        ]
        for items in zip(*(each.operations for each in results), strict=True)
    ]
    return Sheet(columns, rows, name="comparison of layers")


def title(provenance: Mapping[str, Any]) -> str:
    """A trace in a line, as results tell of it: its file, and the training step that it is of."""
    parts = [provenance["model"], provenance["dataset"], provenance["technique"]]
    parts += [f"{name} {provenance[name]}" for name in ("step", "batch") if provenance[name] is not None]
    if provenance["grown_to"]:
        parts.append(f"grown to {provenance['grown_to']} images")
    known = ", ".join(str(part) for part in parts if part)
    return f"{Path(provenance['trace']).name or 'in memory'}{': ' if known else ''}{known}"
