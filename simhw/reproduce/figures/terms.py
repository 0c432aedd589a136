"""Zeros and terms of the networks' tensors, and the share of terms that FPRaker skips as out of bounds."""

from simhw.quantities import percent
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.measures import oob_share, oob_slots
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
    sparsity, slots = [], {}
    published = {fact.network: fact.shown for fact in bench.facts.values() if fact.measure == "oob_slots"}
    for captured in bench.present:
        sums = tensor_sums(captured.steps)
        row = [captured.name]
        for tensor in TENSORS:
            each = sums.get(tensor)
            row += [percent(each.value_sparsity), percent(each.term_sparsity)] if each else ["-", "-"]
        total = bench.measured(captured, MACHINE, memories=True).total
        whole = sum(total.counters[name] for name in TERMS)
        slots[captured.name] = {name: total.counters[name] / whole for name in TERMS}
        row += [percent(oob_share(total)), percent(oob_slots(total)), published.get(captured.name, "-")]
        sparsity.append(row)
    headings = ["network"]
    headings += [f"{tensor.upper()}: {what}" for tensor in TENSORS for what in ("zeros", "term sparsity")]
    headings += ["terms out of bounds", "bit slots out of bounds", "published"]
    parts: list[str | Table] = [
        "Term sparsity is the share of the eight bit slots of all significands that hold no signed power of two; a "
        "zero has none. Terms out of bounds are a share of the terms that the serial operand has; bit slots out of "
        "bounds are a share of all slots.",
        "What was published is read as a share of all slots, since it was told beyond zero terms.",
        Table(headings, sparsity),
    ]
    picture = stacked_bars(slots, "bit slots of the serial operand", TERMS) if slots else None
    return Section(parts, simulation_frame(bench, _wanted(bench)), picture)


FIGURE = Figure("terms", "Zeros, terms, and terms out of bounds", _wanted, _made)
