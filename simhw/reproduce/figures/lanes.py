"""Where the lane-cycles go, by network and operation."""

from functools import partial

from simhw.machine.machine import load_machine
from simhw.quantities import percent
from simhw.reproduce.bench import Bench
from simhw.reproduce.facts import Paper
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.pictures import stacked_bars
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation


def figure(paper: Paper) -> Figure:
    """The figure of a paper's machine."""
    return Figure("lanes", "Where the lane-cycles go", partial(_wanted, paper), partial(_made, paper))


def _wanted(paper: Paper, bench: Bench) -> list[Simulation]:
    return bench.simulations(paper, memories=True)


def _made(paper: Paper, bench: Bench) -> Section:
    classes = load_machine(paper).pe.lane_classes
    shares: dict[str, dict[str, float]] = {}
    rows = []
    for captured in bench.present:
        measured = bench.measured(captured, paper, memories=True)
        for name, sums in {**measured.operations, "total": measured.total}.items():
            found = sums.class_shares
            rows.append([captured.name, name, *(percent(found[each.name]) for each in classes)])
        shares[captured.name] = measured.total.class_shares
    said = " ".join(f"`{each.name}`: {each.meaning}." for each in classes)
    parts: list[str | Table] = [said, Table(["network", "operation", *(each.name for each in classes)], rows)]
    colors = {each.name: each.color for each in classes}
    picture = stacked_bars(shares, "lane-cycles of the tile passes", colors) if shares else None
    return Section(parts, simulation_frame(bench, _wanted(paper, bench)), picture)
