"""TensorDash in bfloat16 and in FP32: speed-up and energy, with and without memories."""

from math import nan
from statistics import fmean

from simhw.quantities import ratio
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.pictures import grouped_bars
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.reproduce.sums import Sums

MACHINES = {
    "bfloat16": ("tensordash", "mean_energy_compute", "mean_energy_all"),
    "FP32": ("tensordash-fp32", "mean_energy_compute_fp32", "mean_energy_all_fp32"),
}
"""By format: the machine, and the published means of energy efficiency, for the tiles alone and with memories."""

COLUMNS = ("speed-up", "energy eff.: tiles", "speed-up with memories", "energy eff. with memories")


def _wanted(bench: Bench) -> list[Simulation]:
    return [each for machine, _, _ in MACHINES.values() for each in bench.simulations(machine, memories=True)]


def _made(bench: Bench) -> Section:
    rows, bars = [], {}
    for name, (machine, tiles, everything) in MACHINES.items():
        found = {each.name: bench.measured(each, machine, memories=True).total for each in bench.present}
        rows += [[name, network, *map(ratio, _figures(sums))] for network, sums in found.items()]
        counted = [_figures(found[each.name]) for each in bench.present if each.network.counts]
        means = [fmean(column) for column in zip(*counted, strict=True)] if counted else [nan] * 4
        facts = [bench.facts[each] for each in ("mean_speedup", tiles, everything)]
        rows.append([name, f"mean of {len(counted)}", *map(ratio, means)])
        rows.append([name, "*published mean*", facts[0].shown, facts[1].shown, "-", facts[2].shown])
        bars[name] = dict(
            zip(("speed-up", "energy: tiles", "speed-up with memories", "energy with memories"), means, strict=True)
        )
    parts: list[str | Table] = [
        "Each machine is compared with its dense one of the same format. FP32 moves twice the bytes.",
        Table(
            [
                "format",
                "network",
                "speed-up",
                "energy eff.: tiles",
                "speed-up with memories",
                "energy eff. with memories",
            ],
            rows,
        ),
    ]
    picture = grouped_bars(bars, "mean over the networks, over the dense machine") if bench.present else None
    return Section(parts, simulation_frame(bench, _wanted(bench)), picture)


def _figures(sums: Sums) -> list[float]:
    return [sums.speedup, sums.energy_efficiency, sums.overall_speedup, sums.overall_energy_efficiency]


FIGURE = Figure("formats", "bfloat16 and FP32", _wanted, _made)
