"""Speed-up of a row of variants of a machine on every network, such as tiles with more and more rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from simhw.quantities import percent, ratio
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.pictures import lines
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation


@dataclass(frozen=True)
class Variant:
    """A variant of a machine.

    Attributes
    ----------
    at : float
        Where it lies along the picture's axis.
    machine : str
    baseline : str or None
        In place of the one that the machine's file names.
    fact : str or None
        The published mean speed-up.
    """

    at: float
    machine: str
    baseline: str | None = None
    fact: str | None = None


@dataclass(frozen=True)
class Variants:
    """What varies.

    Attributes
    ----------
    across : str
        What `Variant.at` counts.
    says : callable
        Paragraphs above the table.
    variants : callable
        The variants; called late, since machines are read from files.
    """

    across: str
    says: Callable[[Bench], Sequence[str]]
    variants: Callable[[], Sequence[Variant]]


def figure(name: str, title: str, what: Variants) -> Figure:
    """The figure of some variants."""
    return Figure(name, title, partial(_wanted, what), partial(_made, what))


def _wanted(what: Variants, bench: Bench) -> list[Simulation]:
    return [each for variant in what.variants() for each in bench.simulations(variant.machine, False, variant.baseline)]


def _made(what: Variants, bench: Bench) -> Section:
    variants = what.variants()
    found = {
        captured.name: [
            bench.measured(captured, variant.machine, False, variant.baseline).total.speedup for variant in variants
        ]
        for captured in bench.present
    }
    counted = [found[captured.name] for captured in bench.present if captured.network.counts]
    rows = [_row(name, values) for name, values in found.items()]
    if counted:
        found["mean"] = [fmean(column) for column in zip(*counted, strict=True)]
        rows.append(_row(f"mean of {len(counted)}", found["mean"]))
    facts = [bench.facts[variant.fact] if variant.fact else None for variant in variants]
    if any(facts):
        rows.append(["*published mean*", *(fact.shown if fact else "-" for fact in facts), "-"])
    names = [f"{variant.at:g} {what.across}" for variant in variants]
    table = Table(["network", *names, f"{variants[0].at:g} to {variants[-1].at:g}"], rows)
    series = {name: ([variant.at for variant in variants], values) for name, values in found.items()}
    published = [(variant.at, fact.low) for variant, fact in zip(variants, facts, strict=True) if fact]
    if published:
        series["published mean"] = ([at for at, _ in published], [value for _, value in published])
    picture = (
        lines(series, what.across, "speed-up", apart={"mean": "-", "published mean": "--"}) if bench.present else None
    )
    return Section([*what.says(bench), table], simulation_frame(bench, _wanted(what, bench)), picture)


def _row(name: str, values: Sequence[float]) -> list[str]:
    return [name, *map(ratio, values), percent(values[-1] / values[0] - 1)]
