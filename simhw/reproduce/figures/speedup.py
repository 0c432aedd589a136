"""Speed-up and energy of every network and operation, with the papers' means beside ours."""

from functools import partial
from math import log, nan
from statistics import fmean

from simhw.machine.machine import load_machine
from simhw.quantities import ratio
from simhw.reproduce.bench import Bench
from simhw.reproduce.facts import Fact, Paper
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.networks import Captured
from simhw.reproduce.pictures import grouped_bars
from simhw.reproduce.readings import load_readings
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.reproduce.sums import Measured
from simhw.trace.layer import OPERATIONS

MEAN = "mean"


def figure(paper: Paper) -> Figure:
    """The figure of a paper: its machine on its networks."""
    return Figure("speedup", "Speed-up and energy of every network", partial(_wanted, paper), partial(_made, paper))


def _bound(paper: Paper) -> str | None:
    """The machine that no schedule can beat, where there is one."""
    return load_readings().of_chosen.as_lone_pe() if paper == "fpraker" else None


def _packed(paper: Paper) -> str | None:
    """The machine beside a baseline that compresses as it does, where by default it does not."""
    default = load_machine(paper).values.baseline_compression
    return None if default == "same" else f"{paper}:baseline_compression=same"


def _wanted(paper: Paper, bench: Bench) -> list[Simulation]:
    bound = _bound(paper)
    packed = _packed(paper)
    return [
        *bench.simulations(paper, memories=True),
        *(bench.simulations(packed, memories=True) if packed else []),
        *(bench.simulations(bound) if bound else []),
    ]


def deviation(fact: Fact | None, measured: float) -> str:
    """How far a figure lies from what was published, in percent."""
    if fact is None or not measured > 0:
        return "-"
    nearest = min(max(measured, fact.low), fact.high)
    return f"{measured / nearest - 1:+.0%}" if abs(log(measured / nearest)) > 1e-9 else "within"


def _made(paper: Paper, bench: Bench) -> Section:
    bound = _bound(paper)
    found = {each.name: bench.measured(each, paper, memories=True) for each in bench.present}
    bounds = {each.name: bench.measured(each, bound).total.speedup for each in bench.present} if bound else {}
    rows = [_row(bench, each, found[each.name], bounds) for each in bench.present]
    counted = {each.name: found[each.name] for each in bench.present if each.network.counts}
    if counted:
        rows.append(_mean_row(bench, counted, bounds))
    headings = [
        "network",
        "trace",
        *(f"{name}: speed-up" for name in OPERATIONS),
        "speed-up",
        "published",
        "deviation",
        *(["lone-PE bound"] if bound else []),
        "energy eff.: tiles",
        "with memories",
        "speed-up with memories",
        "how the stand-in differs",
    ]
    parts: list[str | Table] = [
        "Speed-up and energy efficiency are over the bit-parallel baseline of the same area, for the tiles alone and "
        "with memories around both machines. ± is a 95% interval where the trace is a sample."
    ]
    if bound:
        parts.append(
            "The lone-PE bound is what all terms allow: no window, none out of bounds, and nobody waits for another PE "
            f"(`{bound}`). Whoever leaves terms out can pass it."
        )
    parts.append(Table(headings, rows))
    parts.append(_beside(bench, counted, _packed(paper)))
    if bench.absent:
        parts.append(f"No trace yet: {', '.join(bench.absent)}. They are missing from the mean.")
    bars = {name: _bars(measured) for name, measured in found.items()}
    published = {each.name: (fact.low, fact.high) for each in bench.present if (fact := _published(bench, each))}
    if counted:
        bars[MEAN] = {"total": _mean(counted, "speedup")}
        fact = bench.facts["mean_speedup"]
        published[MEAN] = (fact.low, fact.high)
    picture = grouped_bars(bars, "speed-up over the baseline, tiles alone", published) if bars else None
    return Section(parts, simulation_frame(bench, _wanted(paper, bench)), picture)


def _published(bench: Bench, captured: Captured) -> Fact | None:
    """The published speed-up of a network."""
    return bench.facts[captured.network.fact] if captured.network.fact is not None else None


def _row(bench: Bench, captured: Captured, measured: Measured, bounds: dict[str, float]) -> list[str]:
    total, fact = measured.total, _published(bench, captured)
    operations = [measured.operations.get(name) for name in OPERATIONS]
    return [
        captured.name,
        f"`{captured.traces}`",
        *(ratio(each.speedup) if each else "-" for each in operations),
        ratio(total.speedup, total.speedup_half_width),
        fact.shown if fact else "-",
        deviation(fact, total.speedup),
        *([ratio(bounds[captured.name])] if bounds else []),
        *map(ratio, (total.energy_efficiency, total.overall_energy_efficiency, total.overall_speedup)),
        captured.differs or "-",
    ]


def _mean_row(bench: Bench, counted: dict[str, Measured], bounds: dict[str, float]) -> list[str]:
    mean, fact = _mean(counted, "speedup"), bench.facts["mean_speedup"]
    operations = []
    for name in OPERATIONS:
        values = [each.operations[name].speedup for each in counted.values() if name in each.operations]
        operations.append(fmean(values) if values else nan)
    return [
        f"mean of {len(counted)}",
        "",
        *map(ratio, operations),
        ratio(mean),
        fact.shown,
        deviation(fact, mean),
        *([ratio(fmean(bounds[name] for name in counted))] if bounds else []),
        *(
            ratio(_mean(counted, name))
            for name in ("energy_efficiency", "overall_energy_efficiency", "overall_speedup")
        ),
        "",
    ]


def _mean(counted: dict[str, Measured], name: str) -> float:
    return fmean(getattr(each.total, name) for each in counted.values())


def _beside(bench: Bench, counted: dict[str, Measured], packed: str | None) -> Table:
    """The published means beside ours; energies with memories also beside a baseline that compresses."""
    pairs = {
        "mean_speedup": "speedup",
        "mean_energy_compute": "energy_efficiency",
        "mean_energy_all": "overall_energy_efficiency",
    }
    rows = []
    for name, what in pairs.items():
        fact = bench.facts[name]
        own = _mean(counted, what) if counted else nan
        rows.append([fact.says, fact.shown, ratio(own), deviation(fact, own), fact.source, fact.reason])
    if packed and counted:
        found = {each.name: bench.measured(each, packed, memories=True) for each in bench.present}
        fact, own = (
            bench.facts["mean_energy_all"],
            _mean({name: found[name] for name in counted}, "overall_energy_efficiency"),
        )
        says = f"the same, if the baseline compresses off chip as well (`{packed}`)"
        rows.append([says, fact.shown, ratio(own), deviation(fact, own), fact.source, fact.reason])
    return Table(["published", "value (confidence)", "here", "deviation", "source", "why ours differs"], rows)


def _bars(measured: Measured) -> dict[str, float]:
    return {name: each.speedup for name, each in measured.operations.items()} | {"total": measured.total.speedup}
