"""The charts of results: speed-ups, energy, lane-cycles, time, rooflines and intervals."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan

from simhw.machine.machine import Machine
from simhw.memory.model import SHARES
from simhw.quantities import count, ratio
from simhw.report.memory_plots import COMPONENT_COLORS, SHARE_COLORS
from simhw.report.memory_tables import GROUP_NAMES, SHARE_NAMES, share
from simhw.report.page.charts import (
    Bar,
    Bars,
    Dot,
    Interval,
    IntervalRow,
    Intervals,
    Limit,
    Piece,
    Roofline,
    Series,
)
from simhw.report.page.layers import lane_pieces
from simhw.report.result_plots import MACHINE_COLORS, OPERATION_STYLE
from simhw.report.result_reasons import lane_count
from simhw.report.result_tables import has_memories
from simhw.results.step import Results
from simhw.results.totals import Overall, Totals
from simhw.results.traces import TraceComparison

TOTAL_COLOR = "#777777"
GROUP_COLORS = {"core": "#009E73", "on_chip": "#E69F00", "off_chip": "#0072B2"}
"""Hues of the groups' components in `COMPONENT_COLORS`."""
SERIES = {
    "forward": Series("forward", OPERATION_STYLE["forward"][0], "circle"),
    "input_grad": Series("input_grad", OPERATION_STYLE["input_grad"][0], "triangle"),
    "weight_grad": Series("weight_grad", OPERATION_STYLE["weight_grad"][0], "square"),
}
MOST_INTERVAL_ROWS = 80
"""Layers that the chart of intervals shows, those that take most time; all stand in the layer table."""

assert COMPONENT_COLORS["compute"] == GROUP_COLORS["core"]


def _groups(results: Results) -> dict[str, Totals]:
    return {**results.by_operation(), "total": results.total}


def _ratio_bars(name: str, totals: Totals, color: str, modelled: bool) -> list[Bar]:
    """The speed-up of the tiles alone, and with memories."""
    found = [("tiles alone", name, totals.speedup, totals.speedup_half_width)]
    if modelled:
        found.append(("with memories", "", totals.overall_speedup, totals.overall_speedup_half_width))
    return [
        _ratio_bar(f"{name}, {what}", label, value, half_width, color, what == "with memories")
        for what, label, value, half_width in found
        if isfinite(value)
    ]


def _ratio_bar(name: str, label: str, value: float, half_width: float, color: str, hatched: bool) -> Bar:
    drawn = half_width if half_width and isfinite(half_width) else nan
    text = ratio(value, half_width)
    return Bar(name, label, (Piece(name, value, color, text),), text, value - drawn, value + drawn, hatched)


def speedups(results: Results) -> Bars:
    """Speed-up per operation and total."""
    bars = [
        bar
        for name, totals in _groups(results).items()
        for bar in _ratio_bars(
            name, totals, OPERATION_STYLE[name][0] if name in OPERATION_STYLE else TOTAL_COLOR, has_memories(results)
        )
    ]
    return Bars("Speed-up over the baseline", _ratio_caption(has_memories(results)), tuple(bars), reference=1.0)


def _ratio_caption(modelled: bool) -> str:
    hatch = " Plain: tiles alone. Hatched: with memories." if modelled else ""
    return f"Above 1 the machine does better.{hatch} Whiskers are 95% confidence intervals."


def overview(named: Sequence[tuple[str, Results]]) -> tuple[Bars, ...]:
    """Machines side by side: speed-up, energy efficiency, energy and time."""
    charts = [Bars("Energy", ENERGY_CAPTION, tuple(_energy_bar(label, each) for label, each in _sides(named)))]
    with_memories = [(label, each) for label, each in _sides([pair for pair in named if has_memories(pair[1])])]
    if with_memories:
        charts.append(Bars("Time", TIME_CAPTION, tuple(_time_bar(label, each) for label, each in with_memories)))
    return (*ratios(named), *charts)


def ratios(named: Sequence[tuple[str, Results]]) -> tuple[Bars, ...]:
    """Machines side by side, each beside its baseline: speed-up and energy efficiency."""
    fast, saving = [], []
    for number, (name, each) in enumerate(named):
        color, modelled, total = MACHINE_COLORS[number % len(MACHINE_COLORS)], has_memories(each), each.total
        fast += _ratio_bars(name, total, color, modelled)
        if isfinite(total.energy_efficiency):
            saving.append(_ratio_bar(f"{name}, tiles alone", name, total.energy_efficiency, 0.0, color, False))
        if modelled and isfinite(total.overall_energy_efficiency):
            overall = total.overall_energy_efficiency
            saving.append(_ratio_bar(f"{name}, with memories", "", overall, 0.0, color, True))
    any_memories = any(has_memories(each) for _, each in named)
    charts = [
        Bars("Speed-up", f"Over each machine's baseline. {_ratio_caption(any_memories)}", tuple(fast), reference=1.0),
        Bars(
            "Energy efficiency",
            f"The baseline's energy over the machine's. {_ratio_caption(any_memories).partition(' Whiskers')[0]}",
            tuple(saving),
            reference=1.0,
        ),
    ]
    return tuple(chart for chart in charts if chart.bars)


def _sides(named: Sequence[tuple[str, Results]]) -> list[tuple[str, Overall]]:
    """Every machine, and every baseline once."""
    found: dict[tuple[str, str, object], tuple[str, Overall]] = {}
    for name, each in named:
        trace = each.provenance["trace_hash"]

        def add(label: str, machine: Machine, overall: Overall, trace: object = trace) -> None:
            found.setdefault((label, machine.content_hash, trace), (label, overall))

        add(name, each.machine, each.total.overall)
        if each.baseline is not None and each.total.baseline_overall is not None:
            on = name.rpartition(" on ")
            label = f"baseline {each.baseline.label}{f' on {on[2]}' if on[1] else ''}"
            add(label, each.baseline, each.total.baseline_overall)
    return list(found.values())


ENERGY_CAPTION = (
    "Core: the tiles. On-chip: scratchpads, buffers, transposers. Off-chip: the DRAM. Whiskers: all costs at their low "
    "ends, and at their high ends. Ideal memories cost nothing."
)
TIME_CAPTION = (
    "Compute: what the tiles need. DRAM: they wait for blocks. Buffers, transposers: these cannot feed them. Fill, "
    "drain: first blocks in, last outputs out."
)


def _energy_bar(label: str, overall: Overall) -> Bar:
    pieces = tuple(
        Piece(GROUP_NAMES[name], part.mid, GROUP_COLORS[name], f"{part.mid * 1e3:.4g} mJ")
        for name, part in overall.groups.items()
    )
    whole = overall.energy_j
    ends = (whole.low, whole.high) if whole.high > whole.low else (nan, nan)
    text = f"{whole.mid * 1e3:.4g} mJ"
    if isfinite(ends[0]):
        text += f" ({whole.low * 1e3:.3g} to {whole.high * 1e3:.3g})"
    return Bar(label, label, pieces, text, *ends)


def _time_bar(label: str, overall: Overall) -> Bar:
    scale = share(overall.time_s, overall.cycles)
    pieces = tuple(
        Piece(
            SHARE_NAMES[name],
            max(0.0, overall.shares[name]) * scale if overall.cycles else 0.0,
            SHARE_COLORS[name],
            f"{share(overall.shares[name], overall.cycles):.1%}",
        )
        for name in SHARES
    )
    return Bar(label, label, pieces, f"{overall.time_s * 1e3:.4g} ms")


def steps(comparison: TraceComparison) -> tuple[Bars, ...]:
    """Time and energy of each training step on each piece of hardware."""
    named = [
        (f"{hardware}, {step.trace}", step.totals.overall)
        for hardware, found in comparison.steps_by_hardware.items()
        for step in found
    ]
    return (
        Bars("Time of each step", TIME_CAPTION, tuple(_time_bar(label, each) for label, each in named)),
        Bars("Energy of each step", ENERGY_CAPTION, tuple(_energy_bar(label, each) for label, each in named)),
    )


def _both(results: Results) -> list[tuple[str, Overall]]:
    """Per operation and total, the machine and below it its baseline."""
    found = []
    for name, totals in _groups(results).items():
        found.append((f"{name}, {results.machine.name}", totals.overall))
        if results.baseline is not None and totals.baseline_overall is not None:
            found.append((f"{name}, {results.baseline.name}", totals.baseline_overall))
    return found


def time(results: Results) -> Bars:
    """Where the time goes, per operation and total, machine beside baseline."""
    bars = tuple(_time_bar(label, overall) for label, overall in _both(results))
    return Bars("Time with memories", TIME_CAPTION, bars)


def energies(results: Results) -> Bars:
    """Where the energy goes, per operation and total, machine beside baseline."""
    bars = tuple(_energy_bar(label, overall) for label, overall in _both(results))
    return Bars("Energy", ENERGY_CAPTION, bars)


def lanes(results: Results) -> Bars:
    """Lane-cycles by class, per operation and total."""
    bars = []
    for name, totals in _groups(results).items():
        cycles = sum(totals.counters[each].value for each in totals.classes)
        bars.append(Bar(name, name, lane_pieces(results, totals), f"{count(cycles)} lane-cycles"))
    caption = "What the lanes did in the cycles of all tile passes. Only useful ones add to the result."
    return Bars("Lane-cycles by class", caption, tuple(bars), whole=1.0)


def roofline(results: Results, rows: Mapping[tuple[str, str], str]) -> Roofline | None:
    """A dot per layer and operation; `rows` is where each stands in the layer table."""
    machine, whole = results.machine, results.total.overall.time_s
    dots = []
    for item in results.operations:
        memory, seconds = item.cost.memory, item.cost.overall_time_s
        if memory is None or not memory.off_chip_bytes or not seconds or not item.macs:
            continue
        intensity, rate = item.macs / memory.off_chip_bytes, item.macs / seconds
        part = share(seconds, whole)
        text = (
            f"{item.layer}, {item.operation}: {intensity:.3g} MAC/byte, {count(rate)} MAC/s, {part:.1%} of the time, "
            f"speed-up {ratio(item.overall_speedup)}"
        )
        dots.append(Dot(SERIES[item.operation], intensity, rate, part, text, rows[item.layer, item.operation]))
    if not dots:
        return None
    limits = _limits(machine, "") + (_limits(results.baseline, "baseline: ") if results.baseline else [])
    # Both sides often share the DRAM.
    unlike = {(limit.per_s, limit.of): limit for limit in reversed(limits)}
    caption = (
        "A mark per layer and operation: multiply-accumulates per byte off chip and per second, memories included. Its "
        "area grows with its share of the time. Lines: the DRAM's bandwidth, and the rate where all lanes are busy and "
        "every set is as short as a set can be."
    )
    return Roofline("Roofline of the layers", caption, tuple(dots), tuple(unlike.values()))


def _limits(machine: Machine, prefix: str) -> list[Limit]:
    """The peaks of a machine, as far as they do not depend on the values."""
    found = []
    least = 1.0 if machine.tile.fixed_time else machine.pe.least_cycles_per_set
    if least:
        peak = lane_count(machine) * machine.values.clock_hz / least
        found.append(Limit(f"{prefix}peak {count(peak)} MAC/s", peak, "macs"))
    memory = machine.modelled_memory
    if memory is not None:
        dram = memory.dram
        per_s = dram.channels * dram.channel_bits / 8 * dram.transfers_per_s
        found.append(Limit(f"{prefix}DRAM {per_s / 1e9:,.4g} GB/s", per_s, "bytes"))
    return found


def intervals(results: Results) -> Intervals | None:
    """The estimates of layers with their intervals; None where all of it was simulated or nothing is compared with."""
    sampled = any(item.half_width for item in results.operations)
    by_layer: dict[str, list[Interval]] = {}
    time_s: dict[str, float] = {}
    for item in results.operations:
        if isfinite(item.speedup):
            found = Interval(SERIES[item.operation], item.speedup, item.speedup_half_width)
            by_layer.setdefault(item.layer, []).append(found)
            time_s[item.layer] = time_s.get(item.layer, 0.0) + item.cost.time_s
    if not by_layer or not sampled:
        return None
    longest = set(sorted(time_s, key=lambda name: -time_s[name])[:MOST_INTERVAL_ROWS])
    rows = tuple(IntervalRow(name, tuple(found)) for name, found in by_layer.items() if name in longest)
    cut = "" if len(rows) == len(by_layer) else f" The {len(rows)} layers that take longest."
    caption = f"Speed-up of the tiles alone with 95% confidence intervals.{cut}"
    return Intervals("Intervals of the layers", caption, rows)
