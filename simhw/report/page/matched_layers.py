"""The layers of two training steps side by side, matched by name; below each layer its operations."""

from collections.abc import Sequence
from dataclasses import replace
from math import nan

from simhw.quantities import Shown, count, figure, percent, ratio
from simhw.report.memory_tables import share
from simhw.report.page.layers import Cell, LayerRow, LayerTable
from simhw.report.result_tables import BOUND_NAMES
from simhw.results.matching import Costs, Pair
from simhw.results.operation import OperationCost, OperationResult
from simhw.results.totals import MachineTotals
from simhw.results.traces import Gain, StepCost
from simhw.trace.layer import OPERATIONS


def matched_table(gain: Gain, prefix: str) -> LayerTable:
    """The layer table of two steps on one machine; `prefix` begins the anchors of its rows."""
    pairs = gain.pairs()
    by_layer: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_layer.setdefault(pair.layer, []).append(pair)
    layers = tuple(
        _row(
            gain,
            name,
            f"{prefix}-{number}",
            found,
            operations=tuple(
                _row(gain, pair.operation, f"{prefix}-{number}-{pair.operation}", [pair], details=_details(gain, pair))
                for pair in found
            ),
        )
        for number, (name, found) in enumerate(by_layer.items())
    )
    rows = [row for layer in layers for row in layer.operations]
    ran = {pair.operation for pair in pairs}
    return LayerTable(
        columns=_columns(gain.first.trace, gain.other.trace),
        total=_row(gain, "total", f"{prefix}-total", pairs),
        layers=layers,
        bounds=tuple(dict.fromkeys(row.bound_by for row in rows)),
        operations=tuple(name for name in OPERATIONS if name in ran),
        with_memories=gain.with_memories,
        with_shares=False,
    )


def _columns(first: str, other: str) -> tuple[tuple[str, str], ...]:
    def both(unit: str, meaning: str) -> list[tuple[str, str]]:
        return [(f"{unit}, {name}", f"{meaning} of {name}") for name in (first, other)]

    return (
        ("saved", f"time that {other} takes less, over the whole time of {first}"),
        ("times as fast", f"time of {first} over that of {other}, memories included where they are modelled"),
        *both("ms", "time"),
        ("less energy", f"energy of {first} over that of {other}, memories included where they are modelled"),
        *both("mJ", "energy"),
        *both("MACs", "multiply-accumulates"),
        *both("off-chip MB", "bytes between memory and chip"),
    )


def _row(
    gain: Gain,
    name: str,
    anchor: str,
    pairs: Sequence[Pair],
    details: tuple[tuple[str, str], ...] = (),
    operations: tuple[LayerRow, ...] = (),
) -> LayerRow:
    first = _of(gain.first, [each for pair in pairs for each in pair.first])
    other = _of(gain.other, [each for pair in pairs for each in pair.other])
    saved = share(first.totals.overall.time_s - other.totals.overall.time_s, gain.first.totals.overall.time_s)
    fast = less = ratio(nan)
    if first.costs and other.costs:
        between = Gain(first, other)
        fast = ratio(between.times_as_fast, between.times_as_fast_half_width)
        less = ratio(between.times_less_energy, between.times_less_energy_half_width)
    steps = (first, other)
    figures = [
        percent(saved),
        fast,
        *(_figure(step, step.totals.overall.time_s * 1e3) for step in steps),
        less,
        *(_figure(step, step.totals.overall.energy_j.mid * 1e3) for step in steps),
        *(count(step.macs) if step.costs else ratio(nan) for step in steps),
        *(_figure(step, step.totals.overall.off_chip_bytes / 1e6) for step in steps),
    ]
    return LayerRow(
        name=name,
        anchor=anchor,
        cells=tuple(Cell(shown, shown.value) for shown in figures),
        lanes=(),
        time=(),
        bound_by=" → ".join(dict.fromkeys(BOUND_NAMES[step.totals.overall.bound_by] for step in steps if step.costs)),
        details=details,
        operations=operations,
    )


def _of(step: StepCost, costs: Costs) -> StepCost:
    """The step as if it were of these operations alone."""
    totals = MachineTotals.of([cost for _, cost in costs])
    return replace(step, macs=sum(item.macs for item, _ in costs), totals=totals, costs=list(costs))


def _figure(step: StepCost, value: float) -> Shown:
    return figure(value, ".4g") if step.costs else ratio(nan)


def _details(gain: Gain, pair: Pair) -> tuple[tuple[str, str], ...]:
    """Which layers of each step are matched, and what the tiles alone take."""
    return tuple(
        (step.trace, "; ".join(_detail(item, cost) for item, cost in costs) or "no such layer, or not run by training")
        for step, costs in ((gain.first, pair.first), (gain.other, pair.other))
    )


def _detail(item: OperationResult, cost: OperationCost) -> str:
    moved = f", {cost.memory.off_chip_bytes:,} bytes off chip" if cost.memory else ""
    return (
        f"{item.layer} ({item.kind}): {item.macs:,} multiply-accumulates, {cost.time_s * 1e3:.4g} ms of the tiles "
        f"alone{moved}, bound by {BOUND_NAMES[cost.bound_by]}"
    )
