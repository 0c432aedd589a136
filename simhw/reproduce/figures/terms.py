"""Zeros and terms of the networks' tensors, and the share of terms that FPRaker skips as out of bounds."""

from statistics import fmean

from simhw.quantities import percent
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.measures import oob_share
from simhw.reproduce.pictures import stacked_bars
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.reproduce.tensors import tensor_sums
from simhw.trace.layer import TENSORS

MACHINE = "fpraker"
TERMS = {"processed": "#009E73", "skipped_oob": "#D55E00", "skipped_zero": "#999999"}


def _wanted(bench: Bench) -> list[Simulation]:
    return bench.simulations(MACHINE, memories=True)


def _made(bench: Bench) -> Section:
    sparsity, slots, outside = [], {}, []
    for captured in bench.present:
        sums = tensor_sums(captured)
        row = [captured.name]
        for tensor in TENSORS:
            each = sums.get(tensor)
            row += [percent(each.value_sparsity), percent(each.term_sparsity)] if each else ["-", "-"]
        total = bench.measured(captured, MACHINE, memories=True).total
        whole = sum(total.counters[name] for name in TERMS)
        slots[captured.name] = {name: total.counters[name] / whole for name in TERMS}
        if captured.network.counts:
            outside.append(oob_share(total))
        row += [percent(oob_share(total)), percent(slots[captured.name]["skipped_oob"])]
        sparsity.append(row)
    fact = bench.facts["oob_share"]
    here = f"Here the mean of {len(outside)} networks is {percent(fmean(outside))}." if outside else ""
    headings = ["network"]
    headings += [f"{tensor.upper()}: {what}" for tensor in TENSORS for what in ("zeros", "term sparsity")]
    headings += ["terms out of bounds", "bit slots out of bounds"]
    parts: list[str | Table] = [
        "Term sparsity is the share of the eight bit slots of all significands that hold no signed power of two; a "
        "zero has none. Terms out of bounds are a share of the terms that the serial operand has; bit slots out of "
        "bounds are a share of all slots.",
        f"Published: {fact.says}, {fact.low:.0%} to {fact.high:.0%} (confidence {fact.confidence:.0%}). {here}",
        Table(headings, sparsity),
    ]
    picture = stacked_bars(slots, "bit slots of the serial operand", TERMS) if slots else None
    return Section(parts, simulation_frame(bench, _wanted(bench)), picture)


FIGURE = Figure("terms", "Zeros, terms, and terms out of bounds", _wanted, _made)
