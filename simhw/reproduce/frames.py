"""Rows of sections for others to read: each simulation's figures and the command that prints them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from simhw.reproduce.bench import Bench
from simhw.reproduce.simulations import Simulation

if TYPE_CHECKING:
    import pandas as pd


def simulation_frame(bench: Bench, simulations: Iterable[Simulation]) -> "pd.DataFrame":
    """A row per simulation and operation: speed-up, lane-cycles, counters, and the command."""
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for simulation in dict.fromkeys(simulations):
        measured = bench.store[simulation]
        for name, sums in {**measured.operations, "total": measured.total}.items():
            lines.append(
                {
                    "trace": simulation.step.path,
                    "trace_hash": simulation.step.hash,
                    "machine": simulation.machine,
                    "operation": name,
                    "macs": sums.macs,
                    "cycles_per_set": sums.cycles_per_set,
                    "speedup": sums.speedup,
                    "speedup_ci95": sums.speedup_half_width,
                    "energy_efficiency": sums.energy_efficiency,
                    "overall_speedup": sums.overall_speedup if simulation.memories else None,
                    "overall_energy_efficiency": sums.overall_energy_efficiency if simulation.memories else None,
                    **{f"lane_cycles_{each}": value for each, value in sums.lane_cycles.items()},
                    **sums.counters,
                    "command": simulation.command,
                }
            )
    return pd.DataFrame(lines)
