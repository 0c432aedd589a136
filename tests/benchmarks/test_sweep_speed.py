"""What a sweep costs beyond its simulations, and what a second process gains.

Run with ``pytest tests/benchmarks/test_sweep_speed.py --benchmark-only -m "" -n 0 -s`` on an idle machine.
"""

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import simhw
from simhw.simulation.engine import cores


def spread(points: int) -> Mapping[str, Any]:
    """So many different points of the bundled small CNN, memories included."""
    ranges = {
        "pe.oob_threshold": {"from": 4, "to": 16},
        "tiles": {"from": 8, "to": 64},
        "memory.dram.channel_bits": [16, 32],
        "clock_hz": {"from": 400_000_000, "to": 900_000_000},
    }
    return {"traces": "small_cnn", "machines": "fpraker", "latin_hypercube": {"points": points, "ranges": ranges}}


def swept(folder: Path, points: int, jobs: int) -> tuple[float, float]:
    """Seconds of a sweep, and those of its simulations together."""
    store = folder / f"{points}-{jobs}-{time.monotonic_ns()}.db"
    started = time.perf_counter()
    frame = simhw.sweep(spread(points), store, jobs=jobs, progress=False)
    seconds = time.perf_counter() - started
    assert len(frame) == points
    assert set(frame["status"]) == {"done"}
    connection = sqlite3.connect(store)
    (simulated,) = connection.execute("SELECT sum(seconds) FROM outcomes").fetchone()
    connection.close()
    return seconds, simulated


def test_a_point_costs_little_beyond_its_simulation(benchmark, tmp_path):
    few, many = 10, 60
    swept(tmp_path, few, 1)
    (short, short_simulated), (long, long_simulated) = benchmark.pedantic(
        lambda: (swept(tmp_path, few, 1), swept(tmp_path, many, 1)), rounds=1
    )
    # Starting a process and loading kernels is the same for both.
    overhead = ((long - long_simulated) - (short - short_simulated)) / (many - few)
    benchmark.extra_info.update(overhead_s=overhead, simulation_s=long_simulated / many)
    print(f"\noverhead {1e3 * overhead:.1f} ms a point beside {1e3 * long_simulated / many:.0f} ms of simulation")


@pytest.mark.skipif(cores() < 2, reason="needs two processor cores")
def test_two_processes_are_nearly_twice_as_fast_as_one(benchmark, tmp_path):
    swept(tmp_path, 10, 1)
    (one, _), (two, _) = benchmark.pedantic(lambda: (swept(tmp_path, 200, 1), swept(tmp_path, 200, 2)), rounds=1)
    benchmark.extra_info.update(one_s=one, two_s=two, gain=one / two)
    print(f"\n200 points: {one:.1f} s on one process, {two:.1f} s on two, {one / two:.2f} times as fast")
