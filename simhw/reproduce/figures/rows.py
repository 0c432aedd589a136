"""Speed-up of tiles with 2 to 16 rows of PEs, as many PEs in all."""

from statistics import fmean

from simhw.quantities import percent, ratio
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.frames import simulation_frame
from simhw.reproduce.pictures import lines
from simhw.reproduce.readings import load_readings
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation

ROWS = (2, 4, 8, 16)


def _machines() -> dict[int, str]:
    return {rows: load_readings().with_rows({}, rows) for rows in ROWS}


def _wanted(bench: Bench) -> list[Simulation]:
    return [simulation for machine in _machines().values() for simulation in bench.simulations(machine)]


def _made(bench: Bench) -> Section:
    fact = bench.facts["rows"]
    found = {
        captured.name: [bench.measured(captured, machine).total.speedup for machine in _machines().values()]
        for captured in bench.present
    }
    counted = [found[captured.name] for captured in bench.present if captured.network.counts]
    rows = [[name, *map(ratio, values), percent(values[-1] / values[0] - 1)] for name, values in found.items()]
    if counted:
        means = [fmean(column) for column in zip(*counted, strict=True)]
        rows.append([f"mean of {len(counted)}", *map(ratio, means), percent(means[-1] / means[0] - 1)])
        found["mean"] = means
    parts: list[str | Table] = [
        "Speed-up over the bit-parallel baseline, tiles alone. The PEs are as many in all cases; the baseline stays.",
        f"Published: {fact.says}, {fact.low:.0%} (confidence {fact.confidence:.0%}).",
        Table(["network", *(f"{count} rows" for count in ROWS), f"{ROWS[0]} to {ROWS[-1]}"], rows),
    ]
    series = {name: (list(map(float, ROWS)), values) for name, values in found.items()}
    picture = lines(series, "rows of a tile", "speed-up", dashed=["mean"]) if found else None
    return Section(parts, simulation_frame(bench, _wanted(bench)), picture)


FIGURE = Figure("rows", "Rows per tile", _wanted, _made)
