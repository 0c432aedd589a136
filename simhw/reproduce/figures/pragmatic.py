"""Bit-Pragmatic-FP: FPRaker's PE with a full shifter and no bounds, as many as fit the baseline's area."""

from statistics import fmean

from simhw.quantities import ratio
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.pictures import grouped_bars
from simhw.reproduce.readings import load_readings
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.trace.layer import OPERATIONS


def _machine() -> str:
    return load_readings().of_chosen.as_pragmatic({})


def _wanted(bench: Bench) -> list[Simulation]:
    return bench.simulations(_machine())


def _made(bench: Bench) -> Section:
    fact, density = bench.facts["pragmatic"], load_readings().pragmatic.density
    rows, bars, counted = [], {}, []
    for captured in bench.present:
        measured = bench.measured(captured, _machine())
        operations = [measured.operations.get(name) for name in OPERATIONS]
        total = measured.total
        rows.append(
            [
                captured.name,
                *(ratio(each.speedup) if each else "-" for each in operations),
                ratio(total.speedup, total.speedup_half_width),
                ratio(total.cycles_per_set),
            ]
        )
        bars[captured.name] = {"total": total.speedup}
        if captured.network.counts:
            counted.append(total.speedup)
    mean = fmean(counted) if counted else float("nan")
    rows.append([f"mean of {len(counted)}", "-", "-", "-", ratio(mean), "-"])
    parts: list[str | Table] = [
        f"`{_machine()}`: {density.value:g} PEs in the area of one of the baseline ({density.source}).",
        f"Published: {fact.shown}, that is {1 / fact.low:.2f}x slower. Here it is {1 / mean:.2f}x slower. The paper's "
        "energy figure needs the power of such a PE, which was not recalled.",
        Table(["network", *OPERATIONS, "speed-up", "cycles per set"], rows),
    ]
    picture = grouped_bars(bars, "speed-up over the baseline, tiles alone") if bars else None
    return Section(parts, simulation_frame(bench, _wanted(bench)), picture)


FIGURE = Figure("pragmatic", "Bit-Pragmatic-FP", _wanted, _made)
