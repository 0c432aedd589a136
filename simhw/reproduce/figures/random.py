"""TensorDash on operands whose zeros lie at random: no network, and so a curve that needs no trace."""

from typing import Any

import numpy as np

from simhw.machine.machine import load_machine
from simhw.quantities import ratio
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.pictures import lines
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.simulation.gemm import simulate_gemm

SPARSITIES = tuple(tenth / 10 for tenth in range(10))
ROWS = (1, 4)
STREAMS, STEPS = 16, 2000
"""Rows of the scheduled operand, and steps of each."""


def _wanted(bench: Bench) -> list[Simulation]:  # noqa: ARG001  # there is no trace
    return []


def random_speedup(sparsity: float, rows: int) -> float:
    """Dense steps over cycles, where a share of one operand is zero and lies at random."""
    lanes = load_machine("tensordash").values.pe.lanes
    rng = np.random.default_rng([rows, round(10 * sparsity)])
    x = (rng.random((STREAMS, STEPS * lanes)) >= sparsity).astype(np.float32)
    result = simulate_gemm(x, np.ones((1, STEPS * lanes), np.float32), f"tensordash:tile.rows={rows}")
    return result.passes * STEPS / result.cycles


def _made(bench: Bench) -> Section:
    import pandas as pd

    fact, depth = bench.facts["random_90"], load_machine("tensordash").value("pe.depth")
    found: dict[int, list[float]] = {rows: [random_speedup(each, rows) for each in SPARSITIES] for rows in ROWS}
    ideal = [min(1 / (1 - sparsity), float(depth)) for sparsity in SPARSITIES]
    table = []
    frame: list[dict[str, Any]] = []
    for index, sparsity in enumerate(SPARSITIES):
        own = {rows: found[rows][index] for rows in ROWS}
        published = fact.shown if sparsity == SPARSITIES[-1] else "-"
        table.append([f"{sparsity:.0%}", ratio(ideal[index]), *map(ratio, own.values()), published])
        frame += [
            {
                "sparsity": sparsity,
                "rows": rows,
                "ideal": ideal[index],
                "speedup": speedup,
                "command": "simhw reproduce tensordash --figure random",
            }
            for rows, speedup in own.items()
        ]
    headings = ["zeros", "ideal", *(f"{rows} row{'s' if rows > 1 else ''}" for rows in ROWS), "published"]
    parts: list[str | Table] = [
        f"Zeros of the scheduled operand lie at random, in {STREAMS} streams of {STEPS} steps. Ideal is one over the "
        f"share of non-zeros, and at most {depth}, the depth of the staging buffers.",
        Table(headings, table),
    ]
    series = {"ideal": (SPARSITIES, ideal)} | {f"rows: {rows}": (SPARSITIES, found[rows]) for rows in ROWS}
    return Section(parts, pd.DataFrame(frame), lines(series, "share of zeros", "speed-up", apart={"ideal": "--"}))


FIGURE = Figure("random", "Zeros at random", _wanted, _made)
