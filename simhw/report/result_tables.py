"""Results as text: the tables that a command prints, and the sentences that say why a machine is as fast as it is.

Nothing here knows a terminal: a `Sheet` is headings and cells, an explanation a list of lines.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isinf, isnan
from pathlib import Path

from simhw.machine import Machine
from simhw.pe.tensordash import TensorDashPE
from simhw.results import OperationResult, Results, Summary, summarise
from simhw.tile.fpraker import BIT_SLOTS, FPRakerTileParameters
from simhw.trace.trace import Trace

CLASS_MEANINGS: dict[str, dict[str, str]] = {
    "fpraker": {
        "useful": "a term of the serial value was multiplied and added",
        "shift_range": "a term was ready, but lay beyond this cycle's shift window",
        "no_term": "no term was left in the lane (or its value was zero) while another lane of its PE worked",
        "exponent": "the PE had finished, but a set takes no less than the shared exponent block needs (PEs without rows included)",
        "inter_pe": "the PE had finished and waited for the slowest PE of its tile",
    },
    "tensordash": {
        "useful": "a pair was multiplied (with one-sided scheduling the operand that is not scheduled may be zero)",
        "idle": "nothing to multiply was within the lane's reach, or the PE had no row to work on",
    },
    "bitparallel": {
        "useful": "a pair was multiplied that has no zero",
        "idle": "a value of the pair was zero, or the PE had no row to work on",
    },
}
"""What each class of lane-cycles means, by kind of PE."""

OPERAND_ROLES = {"fpraker": "serial", "tensordash": "scheduled"}
"""What the operand is called that a kind of PE treats apart."""


@dataclass(frozen=True)
class Sheet:
    """A table of text: columns as (heading, is a number), and rows of cells."""

    title: str
    columns: list[tuple[str, bool]]
    rows: list[list[str]]
    total_last: bool = False


def lane_count(machine: Machine) -> int:
    """Lanes of all tiles: the multiply-accumulates a cycle of a machine that takes one cycle a set."""
    return machine.values.tiles * lanes_per_tile(machine)


def lanes_per_tile(machine: Machine) -> int:
    """Lanes of all PEs of a tile."""
    return machine.tile.lanes * machine.tile.tile_x * machine.tile.tile_y


def least_cycles_per_set(machine: Machine) -> float:
    """The fewest cycles that a set can take, whatever the values."""
    values = machine.values
    if isinstance(values.tile, FPRakerTileParameters):
        return float(values.tile.exponent_sharing)
    # All steps of a staging buffer can drain in one cycle.
    return 1 / values.pe.depth if isinstance(values.pe, TensorDashPE) else 1.0


@dataclass(frozen=True)
class Factors:
    """A speed-up as a product: `lanes` * `clock` / `cycles_per_set` * `busy` * `occupancy`.

    Each is the machine's figure over the baseline's, but for `cycles_per_set`, which is the machine's in units of the
    baseline's (1 where the baseline is dense).
    """

    lanes: float
    clock: float
    cycles_per_set: float
    busy: float
    occupancy: float

    @property
    def speedup(self) -> float:
        """The product of all of them."""
        return self.lanes * self.clock / self.cycles_per_set * self.busy * self.occupancy


def factors(results: Results) -> Factors | None:
    """What the total speed-up is made of; None without a baseline or without work."""
    total, base, machine = results.total, results.baseline, results.machine
    if base is None or not total.time_s or not total.baseline_time_s or not total.macs:
        return None
    base_sets, base_occupancy = _baseline_sets(results.operations, base), _baseline_occupancy(results.operations)
    base_tile_cycles = sum(item.baseline.tile_cycles.value for item in results.operations if item.baseline)
    return Factors(
        lanes=lane_count(machine) / lane_count(base),
        clock=machine.values.clock_hz / base.values.clock_hz,
        cycles_per_set=total.cycles_per_set / (base_tile_cycles / base_sets),
        busy=total.busy / total.baseline_busy,
        occupancy=total.occupancy / base_occupancy,
    )


def _baseline_occupancy(operations: Sequence[OperationResult]) -> float:
    worked = [item for item in operations if item.baseline and item.baseline.occupancy]
    return sum(item.macs for item in worked) / sum(item.macs / item.baseline.occupancy for item in worked if item.baseline)


def _baseline_sets(operations: Sequence[OperationResult], baseline: Machine) -> float:
    """Sets of the baseline's tile passes, from the share of their lane slots that the multiply-accumulates fill."""
    slots = sum(item.macs / item.baseline.occupancy for item in operations if item.baseline and item.baseline.occupancy)
    return slots / lanes_per_tile(baseline)


def labels(results: Sequence[Results]) -> list[str]:
    """A name for each machine; two files may give the same one, so hashes tell those apart."""
    names = Counter(each.machine.label for each in results)
    return [
        each.machine.label if names[each.machine.label] == 1 else f"{each.machine.label} ({each.machine.content_hash[:8]})"
        for each in results
    ]


def simulated_share(results: Results) -> float:
    """Share of the tile passes that was simulated."""
    passes = sum(item.passes for item in results.operations)
    return sum(item.passes * item.simulated for item in results.operations) / passes if passes else 1.0


# Cells


def count(value: float) -> str:
    """A large number in K, M, G or T."""
    for factor, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " K")):
        if value >= factor:
            return f"{value / factor:.4g}{letter}"
    return f"{value:.0f}"


def ratio(value: float, half_width: float = 0.0) -> str:
    """A ratio and, where it is an estimate, the half-width of its 95% confidence interval; a dash for NaN."""
    if isnan(value):
        return "-"
    error = "unknown" if isinf(half_width) else f"{half_width:.3f}"
    return f"{value:.3f} ± {error}" if half_width else f"{value:.3f}"


def percent(value: float) -> str:
    """A share; a dash for NaN."""
    return "-" if isnan(value) else f"{value:.1%}"


def _operands(operations: Sequence[OperationResult]) -> str:
    """How many layers took which operand, most frequent first."""
    chosen = Counter(item.operand for item in operations)
    return ", ".join(f"{name if name == 'mixed' else name.upper()} {number}" for name, number in chosen.most_common())


# Tables


def trace_facts(trace: Trace, results: Results) -> list[tuple[str, str]]:
    """Where the values come from, and what they were simulated with."""
    metadata, provenance = trace.metadata, results.provenance
    origin = [metadata.model, metadata.dataset, metadata.technique]
    origin += [f"{name} {value}" for name, value in (("step", metadata.step), ("batch", metadata.batch)) if value is not None]
    held = "a sample of random blocks" if trace.sampled else "whole tensors"
    lines = [("trace", f"{trace.path or 'in memory'}{f', hash {digest}' if (digest := provenance['trace_hash']) else ''}")]
    if any(origin):
        lines.append(("training", ", ".join(part for part in origin if part)))
    lines.append(("holds", f"{len(trace.layers)} layers, {len(results.operations)} operations, {held}"))
    lines.append(("versions", f"simhw {provenance['simhw']}, NumPy {provenance['numpy']}"))
    return lines


def machine_facts(results: Results, label: str) -> list[tuple[str, str]]:
    """Which machine, against which, and how it was simulated."""
    provenance, machine, baseline = results.provenance, results.machine, results.baseline
    lines = [("machine", f"{label}, hash {machine.content_hash}: {machine.values.description}")]
    if machine.overrides:
        lines.append(("overrides", ", ".join(f"{name} = {value}" for name, value in machine.overrides.items())))
    against = f"{baseline.label}, hash {baseline.content_hash}: {baseline.values.description}" if baseline else "none; --baseline names one"
    lines.append(("baseline", against))
    lines.append(("simulated", _simulated(results)))
    if provenance["checked"]:
        lines.append(("checked", "every tile pass was replayed step by step: cycles, counters and output bits agree"))
    return lines


def _simulated(results: Results) -> str:
    provenance = results.provenance
    if provenance["sampling"] == "exact":
        return f"exactly, every tile pass, in {provenance['seconds']:.1f} s"
    share = f"{simulated_share(results):.2%} of the tile passes"
    if provenance["sampling"] == "of the trace":
        return f"the blocks that the trace holds, {share}, in {provenance['seconds']:.1f} s"
    return f"{provenance['sampling']}, seed {provenance['seed']}: {share}, in {provenance['seconds']:.1f} s"


def _groups(results: Results) -> list[tuple[str, Summary, list[OperationResult]]]:
    groups = [
        (name, summary, [item for item in results.operations if item.operation == name]) for name, summary in results.by_operation().items()
    ]
    return [*groups, ("total", results.total, results.operations)]


def _kind(results: Results) -> str:
    return results.machine.values.pe.kind


def performance_sheet(results: Results) -> Sheet:
    """Per operation and total: work, speed-up, energy, cycles per set, and how full the machine is."""
    role = OPERAND_ROLES.get(_kind(results))
    headings = ["MACs", "speed-up", "energy eff.", "cycles/set", "tiles busy", "occupancy"]
    columns = [("operation", False), *((heading, True) for heading in headings)]
    rows = []
    for name, summary, operations in _groups(results):
        row = [name, count(summary.macs), ratio(summary.speedup, summary.speedup_half_width), ratio(summary.energy_efficiency)]
        row += [ratio(summary.cycles_per_set), percent(summary.busy), percent(summary.occupancy)]
        rows.append([*row, _operands(operations)] if role else row)
    if role:
        columns.append((f"{role} (layers)", False))
    return Sheet("", columns, rows, total_last=True)


def lane_cycle_sheet(results: Results) -> Sheet:
    """Per operation and total: lane-cycles, and the share of each class."""
    columns = [("operation", False), ("lane-cycles", True), *((name, True) for name in results.classes)]
    rows = []
    for name, summary, _ in _groups(results):
        cycles = sum(summary.counters[each].value for each in results.classes)
        rows.append([name, count(cycles), *(percent(share) for share in summary.class_shares.values())])
    return Sheet("", columns, rows, total_last=True)


def layer_sheet(results: Results) -> Sheet:
    """Per layer and operation: what the other two tables say, and the share of the total time."""
    role = OPERAND_ROLES.get(_kind(results))
    headings = ["MACs", "time", "speed-up", "energy eff.", "cycles/set", "busy", "occupancy"]
    columns = [("layer", False), ("operation", False), *((heading, True) for heading in [*headings, *results.classes])]
    whole = results.total.time_s
    rows = []
    for item in results.operations:
        row = [item.layer, item.operation, count(item.macs), percent(item.cost.time_s / whole if whole else float("nan"))]
        row += [ratio(item.speedup, item.speedup_half_width), ratio(item.energy_efficiency), ratio(item.cycles_per_set)]
        row += [percent(item.cost.busy), percent(item.cost.occupancy)]
        row += [percent(share) for share in summarise([item]).class_shares.values()]
        rows.append([*row, _operands([item]).rpartition(" ")[0]] if role else row)
    if role:
        columns.append((role, False))
    return Sheet("", columns, rows)


def comparison_sheet(results: Sequence[Results]) -> Sheet:
    """A row per machine: speed-up per operation and total, and the totals of the rest."""
    operations = list(dict.fromkeys(name for each in results for name in each.by_operation()))
    headings = [*operations, "total", "energy eff.", "cycles/set", "tiles busy", "occupancy", "useful"]
    columns = [("machine", False), ("baseline", False), *((heading, True) for heading in headings)]
    rows = []
    for label, each in zip(labels(results), results, strict=True):
        parts, total = each.by_operation(), each.total
        found = [parts.get(name) for name in operations]
        cells = [ratio(part.speedup, part.speedup_half_width) if part else "-" for part in [*found, total]]
        cells += [ratio(total.energy_efficiency), ratio(total.cycles_per_set), percent(total.busy), percent(total.occupancy)]
        rows.append([label, each.baseline.label if each.baseline else "-", *cells, percent(total.class_shares["useful"])])
    return Sheet("", columns, rows)


def layer_comparison_sheet(results: Sequence[Results]) -> Sheet:
    """A row per layer and operation: its work, and each machine's speed-up over its baseline."""
    columns = [("layer", False), ("operation", False), ("MACs", True), *((label, True) for label in labels(results))]
    # All results are of one trace, so their operations are the same ones in the same order.
    rows = [
        [items[0].layer, items[0].operation, count(items[0].macs), *(ratio(item.speedup, item.speedup_half_width) for item in items)]
        for items in zip(*(each.operations for each in results), strict=True)
    ]
    return Sheet("", columns, rows)


# Sentences


def sampling_error(results: Results) -> str:
    """How far the total may be off."""
    relative = results.total.cycles.relative_half_width
    if relative == 0:
        return "Sampling error of the total: none, all of it was simulated."
    if not isfinite(relative):
        return "Sampling error of the total: unknown, one simulated piece is all there is to judge from; simulate more."
    return f"Sampling error of the total: ±{relative:.2%} of its cycles at 95% confidence; ± in the tables is the same kind of half-width."


def explanation(results: Results) -> list[str]:
    """Why the machine is as fast as it is, from this run's figures and the machine's file."""
    lines = [sampling_error(results)]
    made_of = factors(results)
    if made_of is not None:
        lines += _why(results, made_of)
        lines += _different_lowering(results)
    lines += _of_the_pe(results)
    overflows = results.total.counters.get("overflows")
    if overflows is not None and overflows.value:
        lines.append(f"Overflow: {overflows.value:,.0f} outputs do not fit bfloat16 and read as an infinity.")
    return lines


def _why(results: Results, made_of: Factors) -> list[str]:
    machine, base, total = results.machine, results.baseline, results.total
    assert base is not None
    lanes = f"{lane_count(machine):,} lanes / {lane_count(base):,} of {base.name}"
    if made_of.clock != 1:
        lanes += f" x {machine.values.clock_hz / 1e6:g} MHz / {base.values.clock_hz / 1e6:g} MHz"
    speed = made_of.lanes * made_of.clock
    per_set = "cycles/set" if base.tile.fixed_time else "times the baseline's cycles/set"
    lines = [
        f"Why {total.speedup:.3f}x: {lanes} = {speed:.3f}, / {made_of.cycles_per_set:.3f} {per_set}, "
        f"x {made_of.busy:.3f} for busy tiles and x {made_of.occupancy:.3f} for filled lanes (each against the baseline).",
    ]
    if base.tile.fixed_time:
        least = least_cycles_per_set(machine)
        lines.append(
            f"Bound: a set takes at least {least:.3g} cycles, so at most {speed:.3f} / {least:.3g} = {speed / least:.3f}x where tiles are "
            f"as busy and filled as the baseline's; break-even is at {speed:.3f} cycles/set."
        )
    if total.speedup < 1:
        shares = {name: share for name, share in total.class_shares.items() if name != "useful"}
        worst = max(shares, key=lambda name: shares[name])
        lines.append(
            f"SLOWER than its baseline on this trace: {total.class_shares['useful']:.1%} of the lane-cycles are useful, "
            f"most of the others ({shares[worst]:.1%} of all) go to {worst}: {CLASS_MEANINGS[_kind(results)][worst]}."
        )
    power, base_power = total.energy_j / total.time_s, total.baseline_energy_j / total.baseline_time_s
    lines.append(
        f"Energy efficiency {total.energy_efficiency:.3f}x = speed-up / {power / base_power:.4f}: compute power {power:.4g} W "
        f"against {base_power:.4g} W; memory is not included."
    )
    return lines


def _different_lowering(results: Results) -> list[str]:
    machine, base = results.machine, results.baseline
    assert base is not None
    ours, theirs = machine.values.lowering, base.values.lowering
    differing = [
        f"{name} {getattr(ours, name)} against {getattr(theirs, name)}"
        for name in ("padding", "lane_padding", "fc_windows")
        if getattr(ours, name) != getattr(theirs, name)
    ]
    if not differing:
        return []
    return [
        f"Caution: machine and baseline lower layers differently ({', '.join(differing)}); overrides of --baseline can make them alike."
    ]


def _of_the_pe(results: Results) -> list[str]:
    """What the PE's own counters say."""
    counters = {name: estimate.value for name, estimate in results.total.counters.items()}
    if "skipped_oob" in counters:
        kinds = {"processed": "were processed", "skipped_zero": "skipped as zeros", "skipped_oob": "skipped as out of bounds"}
        slots = sum(counters[name] for name in kinds)
        if not slots:
            return []
        parts = ", ".join(f"{BIT_SLOTS * counters[name] / slots:.3f} {what}" for name, what in kinds.items())
        return [f"Terms: of {BIT_SLOTS} bit slots a serial value, {parts}."]
    if "row_sync_steps" in counters:
        skipped, kept = counters["skipped_steps"], counters["row_sync_steps"]
        return [
            f"Steps: rows of a tile skipped {count(skipped)} steps together; rows had drained another {count(kept)} "
            f"(counted in each cycle that they had to keep them for their neighbours)."
        ]
    return []


def legend(results: Sequence[Results]) -> list[str]:
    """What columns and lane-cycle classes mean."""
    lines = [
        "speed-up, energy eff.: time and compute energy of the baseline over the machine's.  cycles/set: tile cycles per set (or step) of "
        "dense work.",
        "tiles busy: share of the tiles' time in which they run a pass.  occupancy: share of the lane slots of dense passes that hold a "
        "multiply-accumulate; the rest is partial tiles and sets.",
    ]
    for kind in dict.fromkeys(_kind(each) for each in results):
        lines.append(f"Lane-cycles of {kind} (every lane is in one class in every cycle of a tile pass):")
        lines += [f"  {name}: {meaning}" for name, meaning in CLASS_MEANINGS[kind].items()]
    return lines


def title(trace: Trace) -> str:
    """A trace in a line, for a figure."""
    metadata = trace.metadata
    parts = [metadata.model, metadata.dataset, metadata.technique]
    parts += [f"{name} {value}" for name, value in (("step", metadata.step), ("batch", metadata.batch)) if value is not None]
    known = ", ".join(part for part in parts if part)
    return f"{Path(trace.path).name or 'trace'}{': ' if known else ''}{known}"
