"""An accumulator per layer, as wide as its sums need, against one width for all layers."""

from statistics import fmean

from simhw.quantities import ratio
from simhw.reproduce import widths
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.pictures import grouped_bars
from simhw.reproduce.readings import load_readings
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.trace.layer import OPERATIONS

FACTS = {"forward": "widths_forward", "input_grad": "widths_input_grad", "weight_grad": "widths_weight_grad"}
"""Published ratios of an operation's speed to that at the fixed width."""


def _per_layer(bench: Bench) -> list[Simulation]:
    table = load_readings().of_chosen
    return [each for captured in bench.present for each in widths.wanted(captured, table, {})]


def _wanted(bench: Bench) -> list[Simulation]:
    return bench.simulations(load_readings().chosen) + _per_layer(bench)


def _made(bench: Bench) -> Section:
    table = load_readings().of_chosen
    rows, bars = [], {}
    for captured in bench.present:
        own = widths.speedups(bench, captured, table, {})
        measured = bench.measured(captured, table.base)
        fixed = {name: each.speedup for name, each in measured.operations.items()} | {"total": measured.total.speedup}
        needed = [_needed(bench, captured.name, name) for name in OPERATIONS]
        gains = [ratio(own[name] / fixed[name]) if name in own else "-" for name in OPERATIONS]
        total = own["total"]
        rows.append(
            [captured.name, *needed, ratio(fixed["total"]), ratio(total), *gains, ratio(total / fixed["total"])]
        )
        bars[captured.name] = {"one width": fixed["total"], "a width per layer": total}
    facts = bench.facts
    published = ["*published* (ResNet18)", "-", "-", "-", facts["resnet18_fixed"].shown, facts["resnet18_widths"].shown]
    rows.append([*published, *(facts[name].shown for name in FACTS.values()), facts["widths_over_fixed"].shown])
    headings = ["network", *(f"{name}: bits" for name in OPERATIONS), "speed-up, one width", "a width per layer"]
    headings += [*(f"{name}: faster by" for name in OPERATIONS), "faster by"]
    parts: list[str | Table] = [
        "The width of an accumulator follows from how many products a sum has (Sakr et al., ICLR 2019): the fewest "
        f"fraction bits with which sums in chunks of {table.widths.chunk.value:g} keep their variance, at the batch "
        "that trained. The paper took widths that were published for ResNet18; these are found by the first lemma of "
        "that work, as it was recalled. Terms beyond the last bit are out of bounds.",
        Table(headings, rows),
    ]
    picture = grouped_bars(bars, "speed-up over the baseline, tiles alone") if bars else None
    return Section(parts, simulation_frame(bench, _wanted(bench)), picture)


def _needed(bench: Bench, network: str, operation: str) -> str:
    """The least and most bits that an operation needs, and their mean over the layers."""
    found = [
        bits
        for captured in bench.present
        if captured.name == network
        for step in captured.steps
        for (_, name), bits in widths.widths_of(step, load_readings()).items()
        if name == operation
    ]
    return f"{min(found)} to {max(found)}, mean {fmean(found):.1f}" if found else "-"


FIGURE = Figure("widths", "An accumulator per layer", _wanted, _made)
