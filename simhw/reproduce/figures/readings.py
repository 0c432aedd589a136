"""Readings of FPRaker's rules against everything that was published: what each gives, and its score."""

from typing import Any

import numpy as np

from simhw.quantities import ratio
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.measures import View, measured_facts, wanted_simulations
from simhw.reproduce.pictures import stacked_losses
from simhw.reproduce.readings import Reading, Readings, load_readings
from simhw.reproduce.score import Score, score
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.simulation.gemm import simulate_gemm

GAUSSIAN_ROWS, GAUSSIAN_K = 64, 1152
"""Rows of both operands, 64 tile passes of them, and the reduction of the spec's independent figures."""


def _views(bench: Bench) -> list[View]:
    table = load_readings()
    return [View(bench, table, reading) for reading in table.readings]


def _wanted(bench: Bench) -> list[Simulation]:
    return [simulation for view in _views(bench) for simulation in wanted_simulations(view)]


def scores(bench: Bench) -> dict[str, Score]:
    """Every reading's score by name."""
    return {
        view.reading.name: score(bench.facts, measured_facts(view), view.readings.departures(view.reading))
        for view in _views(bench)
    }


def gaussian_speedup(reading: Reading) -> float:
    """Iso-area speed-up on dense Gaussian operands, which needs no trace."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((GAUSSIAN_ROWS, GAUSSIAN_K), dtype=np.float32) for _ in range(2))
    table = load_readings()
    result = simulate_gemm(x, y, table.named(reading.overrides))
    sets = result.passes * GAUSSIAN_K / table.machine.values.pe.lanes
    return table.lane_ratio * sets / result.cycles


def _made(bench: Bench) -> Section:
    import pandas as pd

    facts = {name: fact for name, fact in bench.facts.items() if fact.measure}
    table, views, found = load_readings(), _views(bench), scores(bench)
    measured = {view.reading.name: measured_facts(view) for view in views}
    known = [name for name in facts if any(each[name] is not None for each in measured.values())]
    unknown = [facts[name].says for name in facts if name not in known]
    ranked = sorted(found, key=lambda name: -found[name].total)
    gaussian = {view.reading.name: gaussian_speedup(view.reading) for view in views}
    figures = [["*published*", "", *(facts[name].shown for name in known), ""]]
    for view in views:
        name = view.reading.name
        cells = [ratio(value) if (value := measured[name][each]) is not None else "-" for each in known]
        figures.append([name, ratio(gaussian[name]), *cells, f"{found[name].total:.2f}"])
    parts: list[str | Table] = [
        "Every reading is the machine `" + table.base + "` with overrides. The figures are those of its networks with "
        "a trace, compute only; Gaussian is a dense product of random values.",
        Table(["reading", "Gaussian", *(facts[name].says for name in known), "score"], figures),
        "The score is the sum of a fact's points less the charges of the rules that a reading departs from. A fact "
        "of confidence c that is missed by z spreads gives ln(c exp(-z²/2) + 1 - c) points. A departure from a rule "
        "of confidence c is charged ln(c / (1 - c)). Differences of scores are logarithms of odds.",
        Table(
            ["fact", "published", "spread", "source", f"why `{table.chosen}` differs"],
            [_fact_row(bench, name) for name in known],
        ),
        Table(
            [
                "rank",
                "reading",
                "what it says",
                "departs from",
                *(f"points: {name}" for name in known),
                "charges",
                "score",
            ],
            [_score_row(rank, views, name, found[name], known) for rank, name in enumerate(ranked, start=1)],
        ),
        f"Best here: **{ranked[0]}**. The machine `{table.chosen}` is {_chosen(table)}.",
        "The next table leaves out one fact or one rule at a time: which reading is the best then, and by how much. A "
        "choice that hangs on one of them is worth little.",
        Table(["without", "best reading", "ahead of the next by"], _left_out(found)),
    ]
    if unknown:
        parts.append(f"Not measured for want of a trace, and so in no score: {'; '.join(unknown)}.")
    losses = {name: _losses(found[name]) for name in ranked}
    frame = pd.DataFrame([_line(view, measured, found, gaussian) for view in views])
    return Section(parts, frame, stacked_losses(losses, "points lost and charges; less is better"))


def _chosen(table: Readings) -> str:
    return f"**{table.chosen_reading}**" if table.chosen_reading else "none of these"


def _fact_row(bench: Bench, name: str) -> list[str]:
    fact = bench.facts[name]
    spread = f"{fact.spread:g}" + (" of the logarithm" if fact.scale == "ratio" else "")
    return [fact.says, fact.shown, spread, fact.source, fact.reason or "-"]


def _departures(reading: Reading) -> str:
    found = load_readings().departures(reading)
    return ", ".join(f"`{each.name}={each.value}` ({each.confidence:.0%})" for each in found) or "nothing"


def _score_row(rank: int, views: list[View], name: str, found: Score, known: list[str]) -> list[str]:
    (reading,) = (view.reading for view in views if view.reading.name == name)
    return [
        str(rank),
        name,
        reading.says,
        _departures(reading),
        *(f"{found.points[each]:.2f}" if each in found.points else "-" for each in known),
        f"{sum(found.charges.values()):.2f}",
        f"{found.total:.2f}",
    ]


def _left_out(found: dict[str, Score]) -> list[list[str]]:
    """The best reading without each fact and each rule."""
    names = dict.fromkeys(name for each in found.values() for name in (*each.points, *each.charges))
    rows = []
    for name in names:
        ranked = sorted(found, key=lambda reading: -found[reading].without(name))
        ahead = found[ranked[0]].without(name) - found[ranked[1]].without(name)
        rows.append([f"`{name}`", ranked[0], f"{ahead:.2f}"])
    return rows


def _losses(found: Score) -> dict[str, float]:
    return {name: -value for name, value in found.points.items()} | {"departures": sum(found.charges.values())}


def _line(
    view: View, measured: dict[str, dict[str, float | None]], found: dict[str, Score], gaussian: dict[str, float]
) -> dict[str, Any]:
    name = view.reading.name
    commands = [simulation.command for simulation in view.bench.simulations(view.machine("plain"))]
    return {
        "reading": name,
        "machine": view.machine("plain"),
        "gaussian": gaussian[name],
        **measured[name],
        **{f"points_{each}": value for each, value in found[name].points.items()},
        "charges": sum(found[name].charges.values()),
        "score": found[name].total,
        "command": "; ".join(commands),
    }


FIGURE = Figure("readings", "Readings of the rules, and their scores", _wanted, _made)
