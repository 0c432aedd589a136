"""Speed-up over the moments of a training, for the networks of which more than two were captured."""

from functools import partial

from simhw.quantities import percent, ratio
from simhw.reproduce.bench import Bench
from simhw.reproduce.facts import Paper
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.networks import Captured, Step
from simhw.reproduce.pictures import lines
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.reproduce.tensors import tensor_sums


def figure(paper: Paper) -> Figure:
    """The figure of a paper's machine."""
    return Figure("moments", "Over a training", partial(_wanted, paper), partial(_made, paper))


def _followed(bench: Bench) -> list[Captured]:
    return [each for each in bench.present if len(each.moments) > 2]


def _wanted(paper: Paper, bench: Bench) -> list[Simulation]:
    return [Simulation(step, paper) for captured in _followed(bench) for step in captured.moments]


def _made(paper: Paper, bench: Bench) -> Section:
    facts = [fact for name, fact in bench.facts.items() if name.startswith("moments_")]
    published = {fact.network: fact.shown for fact in facts}
    rows, moments, series = [], [], {}
    for captured in _followed(bench):
        speedups = [bench.store[Simulation(step, paper)].total.speedup for step in captured.moments]
        first, last = captured.moments[0], captured.moments[-1]
        series[captured.name] = ([step.number / last.number for step in captured.moments], speedups)
        change, spread = speedups[-1] / speedups[0] - 1, max(speedups) / min(speedups) - 1
        zeros = _zeros(first), _zeros(last)
        rows.append([captured.name, percent(change), published.get(captured.name, "-"), percent(spread), *zeros])
        for step, speedup in zip(captured.moments, speedups, strict=True):
            moments.append([captured.name, str(step.number), ratio(speedup)])
    parts: list[str | Table] = [
        "Speed-up over the bit-parallel baseline, tiles alone, of steps along a training. Ours have hundreds of steps "
        "where the papers' have tens of epochs: what they show lies in the papers' first epochs.",
        *(f"Published: {fact.says}, {fact.shown}." for fact in facts),
    ]
    if rows:
        headings = ["network", "first to last", "published", "least to most", "zeros at the first", "zeros at the last"]
        parts += [Table(headings, rows), Table(["network", "step", "speed-up"], moments)]
    picture = lines(series, "share of the training", "speed-up") if series else None
    return Section(parts, simulation_frame(bench, _wanted(paper, bench)), picture)


def _zeros(step: Step) -> str:
    found = tensor_sums([step])
    return ", ".join(f"{tensor.upper()} {percent(each.value_sparsity)}" for tensor, each in found.items())
