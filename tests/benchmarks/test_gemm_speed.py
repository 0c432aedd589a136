"""What `simulate_gemm` takes end to end on TensorDash, checks and masks included, beside what reading X alone takes.

``pytest tests/benchmarks/test_gemm_speed.py --benchmark-only -m "" -n 0 -s`` on one idle core; ``extra_info`` holds
both rates [values of X a second].  Nothing is asserted about time.
"""

import time
from collections.abc import Callable

import numpy as np
import pytest

from simhw import load_machine, simulate_gemm
from tests.oracles.inputs import gaussian, sparse

K = 1152
ROWS = {"19 MB": 8192, "75 MB": 32768}
"""Rows of X: as many bytes as a large cache holds, and more than that."""
ROUNDS = 7


def fastest(action: Callable[[], object]) -> float:
    """Processor time of the fastest round [s]."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        action()
        times.append(time.process_time() - started)
    return min(times)


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("size", ROWS)
def test_tensordash_gemm(benchmark, size, zeros):
    # One tile of Y: one-sided schedules do not depend on it, and more of it costs no more.
    rng = np.random.default_rng(0)
    machine = load_machine("tensordash")
    x, y = sparse(rng, ROWS[size], K, zeros), gaussian(rng, machine.tile.tile_y, K)
    simulate_gemm(x[:64], y, machine)  # compiles
    words = x.view(np.uint64)
    read = x.size / fastest(words.max)
    benchmark.pedantic(simulate_gemm, (x, y, machine), rounds=ROUNDS, iterations=1)
    rate = x.size / benchmark.stats.stats.min
    benchmark.extra_info.update(values_per_s=rate, read_values_per_s=read)
    print(
        f"\nTensorDash, X of {size}, {zeros:.0%} zeros {rate / 1e9:6.2f} G values/s; reading alone {read / 1e9:6.2f}",
        end="",
    )


def test_two_sided_gemm(benchmark):
    rng = np.random.default_rng(0)
    machine = load_machine("tensordash", sides="two")
    x, y = sparse(rng, 256, K, 0.5), gaussian(rng, 256, K)
    simulate_gemm(x[:8], y[:8], machine)  # compiles
    benchmark.pedantic(simulate_gemm, (x, y, machine), rounds=ROUNDS, iterations=1)
    rate = len(x) * len(y) * K / benchmark.stats.stats.min
    benchmark.extra_info["MAC_per_s"] = rate
    print(f"\nTensorDash, two-sided {rate / 1e9:6.2f} G MAC/s", end="")
