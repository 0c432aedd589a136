"""The first screen of training steps beside each other: what each takes on the same hardware, how much faster and
with how much less energy than the first, and where the difference comes from.
"""

from collections.abc import Sequence

from simhw.quantities import Shown, count, figure, percent, ratio
from simhw.report.memory_tables import megabytes, share
from simhw.report.result_tables import BOUND_NAMES, labels, title
from simhw.report.screen import amount, caution_lines
from simhw.report.sheet import Item, Sheet, facts
from simhw.results.matching import Part
from simhw.results.traces import Gain, TraceComparison
from simhw.trace.layer import OPERATIONS

MOST_LAYERS = 4
"""Layers of the first screen: those that make most of the difference."""


def trace_screen(comparison: TraceComparison, most: int | None = MOST_LAYERS) -> list[Item]:
    """The lines and tables of several traces.

    Parameters
    ----------
    comparison : TraceComparison
    most : int or None
        Layers of which the difference is told; None for all layers and operations.
    """
    shown: list[Item] = [*facts(step_facts(comparison)), step_sheet(comparison)]
    _, *others = comparison.comparisons
    for other in others:
        gains = [gain for gain in comparison.gains if gain.other.trace == other]
        on_machines = [gain for gain in gains if gain.other.hardware in comparison.machines]
        shown += [*map(reason, on_machines), difference_sheet(on_machines, most)]
    return [*shown, *trace_cautions(comparison)]


def step_facts(comparison: TraceComparison) -> list[tuple[str, str]]:
    """What each trace is, and how much of it was simulated."""
    told = []
    for name, each in comparison.comparisons.items():
        first = each.results[0]
        told.append((name, f"{title(first.provenance)}, {amount(first)}"))
    return told


def step_sheet(comparison: TraceComparison, repeated: bool = False) -> Sheet:
    """A row per piece of hardware and trace: products, time, energy and bytes, and the gain over the first trace.

    Parameters
    ----------
    comparison : TraceComparison
    repeated : bool
        Name the hardware in each of its rows, for a table that can be sorted.
    """
    gains = {(gain.other.trace, gain.other.hardware): gain for gain in comparison.gains}
    columns = [("hardware", False), ("trace", False), ("MACs", True), ("ms", True), ("mJ", True), ("MB", True)]
    columns += [("times as fast", True), ("less energy", True), ("bound by", False)]
    rows = []
    for hardware, steps in comparison.steps_by_hardware.items():
        for number, step in enumerate(steps):
            overall = step.totals.overall
            row: list[str] = [hardware if number == 0 or repeated else "", step.trace, count(step.macs)]
            row += [figure(overall.time_s * 1e3, ".4g"), figure(overall.energy_j.mid * 1e3, ".4g")]
            row += [megabytes(overall.off_chip_bytes), *_gain(gains.get((step.trace, hardware)))]
            rows.append([*row, BOUND_NAMES[overall.bound_by]])
    return Sheet(columns, rows, name="steps")


def _gain(gain: Gain | None) -> list[Shown]:
    if gain is None:
        return [Shown("1", 1.0), Shown("1", 1.0)]
    return [
        ratio(gain.times_as_fast, gain.times_as_fast_half_width),
        ratio(gain.times_less_energy, gain.times_less_energy_half_width),
    ]


def reason(gain: Gain) -> str:
    """What the gain is made of: products, what the tiles make of them, bytes, and what binds."""
    first, other = gain.first, gain.other
    bytes_before, bytes_after = (step.totals.overall.off_chip_bytes for step in (first, other))
    moved = f", {_fewer(bytes_before, bytes_after)} bytes off chip" if bytes_before and bytes_after else ""
    return (
        f"Why {other.trace} is {gain.times_as_fast:.3f} times as fast on {other.hardware}: "
        f"{_fewer(first.macs, other.macs)} products{moved}; the tiles alone are "
        f"{gain.tiles_times_as_fast:.3f} times as fast, and {BOUND_NAMES[other.totals.overall.bound_by]} binds."
    )


def _fewer(before: float, after: float) -> str:
    factor = share(before, after)
    return f"{factor:.2f} times fewer" if factor >= 1 else f"{1 / factor:.2f} times more"


def difference_sheet(gains: Sequence[Gain], most: int | None) -> Sheet:
    """Where the difference comes from: what the other trace takes less, by operation and by layer.

    Parameters
    ----------
    gains : sequence of Gain
        Of one trace, a column of each per machine.
    most : int or None
        Layers that are shown, those with the largest differences of time; None for every layer and operation.
    """
    parts = [gain.parts() for gain in gains]
    columns = [("saved by " + gains[0].other.trace, False), ("MACs", True)]
    for gain in gains:
        columns += [(f"ms, {gain.other.hardware}", True), ("of its time", True), (f"mJ, {gain.other.hardware}", True)]
    ran = [name for name in OPERATIONS if any(part.operation == name for part in parts[0])]
    # Pairs, not a dictionary: a layer may be called as an operation is.
    groups: list[tuple[str, list[Part]]] = [(name, [_added(each, operation=name) for each in parts]) for name in ran]
    if most is None:
        groups += [
            (f"{part.layer} {part.operation}", [each[index] for each in parts]) for index, part in enumerate(parts[0])
        ]
    else:
        groups += _layers(parts, most)
    groups.append(("total", [_added(each) for each in parts]))
    rows = [_row(name, saved, gains) for name, saved in groups]
    return Sheet(columns, rows, total_last=True, name=f"saved by {gains[0].other.trace}")


def _layers(parts: Sequence[Sequence[Part]], most: int) -> list[tuple[str, list[Part]]]:
    """The layers that make most of the difference on all machines together, and the rest."""
    names = list(dict.fromkeys(part.layer for part in parts[0]))
    saved = {name: [_added(each, layer=name) for each in parts] for name in names}
    ordered = sorted(names, key=lambda name: -sum(abs(part.time_s) for part in saved[name]))
    found = [(name, saved[name]) for name in ordered[:most]]
    rest = set(ordered[most:])
    if rest:
        others = [_added([part for part in each if part.layer in rest]) for each in parts]
        found.append((f"{len(rest)} more", others))
    return found


def _added(parts: Sequence[Part], layer: str | None = None, operation: str | None = None) -> Part:
    """The sum of those parts that are of a layer and operation, where these are named."""
    chosen = [part for part in parts if layer in (None, part.layer) and operation in (None, part.operation)]
    return Part(
        layer or "",
        operation or "",
        sum(part.macs for part in chosen),
        sum(part.time_s for part in chosen),
        sum(part.energy_j for part in chosen),
        sum(part.off_chip_bytes for part in chosen),
    )


def _row(name: str, saved: Sequence[Part], gains: Sequence[Gain]) -> list[str]:
    row: list[str] = [name, _signed_count(saved[0].macs)]
    for part, gain in zip(saved, gains, strict=True):
        whole = gain.first.totals.overall.time_s
        row += [figure(part.time_s * 1e3, ".4g"), percent(share(part.time_s, whole))]
        row.append(figure(part.energy_j * 1e3, ".4g"))
    return row


def _signed_count(value: int) -> Shown:
    return count(value) if value >= 0 else Shown(f"-{count(-value)}", value)


def trace_cautions(comparison: TraceComparison) -> list[str]:
    """What changes how the figures are read, of the traces together and of each on each machine."""
    named = comparison.comparisons.items()
    sources = {name: each.results[0].provenance for name, each in named}
    batches = {name: source["grown_to"] or source["batch"] for name, source in sources.items()}
    lines = []
    if len(set(batches.values())) > 1:
        told = ", ".join(f"{name} {batch or 'unknown'}" for name, batch in batches.items())
        lines.append(f"Caution: the steps have different batches ({told}); figures are of a step, not of a sample.")
    if len({source["model"] for source in sources.values()}) > 1:
        models = ", ".join(f"{name} {source['model'] or 'unknown'}" for name, source in sources.items())
        lines.append(f"Caution: the steps are of different models ({models}).")
    labelled = [f"{label} on {name}" for name, each in named for label in labels(each.results)]
    return [*lines, *caution_lines(comparison.results, labelled)]
