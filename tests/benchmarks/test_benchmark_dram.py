"""How fast the DRAM model is: containers/s of long jobs, time of a call.

Run with `pytest tests/benchmarks/test_benchmark_dram.py --benchmark-only -s`; nothing is asserted about time.
"""

import pytest

from simhw.memory.dram import Dram
from tests.memory.test_dram import parameters

CONTAINERS = 1_000_000
JOBS = {  # runs, run, stride
    "one run": (1, CONTAINERS, 0),
    "runs of 1,000": (1000, CONTAINERS // 1000, 1500),
    "runs of 1": (CONTAINERS, 1, 7),
    "one bank": (CONTAINERS, 1, 128),
    "runs of 8, a gap after each": (CONTAINERS // 8, 8, 9),  # channels of a layer, row after row of containers
    "runs of 96, a gap after each": (CONTAINERS // 96, 96, 97),
}


@pytest.mark.parametrize("jobs", JOBS)
@pytest.mark.parametrize("container_bytes", [512, 2048])
def test_containers(benchmark, jobs, container_bytes):
    runs, run, stride = JOBS[jobs]
    dram = Dram(parameters(), container_bytes)
    dram.transfer(0, 1, 1, 0, 1, False, 0.0)  # compiles
    benchmark.pedantic(
        dram.transfer, (0, runs, run, stride, runs * run * container_bytes, False, 0.0), rounds=5, iterations=1
    )
    rate = runs * run / benchmark.stats.stats.min
    benchmark.extra_info["containers_per_s"] = rate
    print(f"\n{container_bytes:5d} bytes, {jobs:14s} {rate / 1e6:8.1f} M containers/s", end="")


@pytest.mark.parametrize("containers", [1, 100])
def test_call(benchmark, containers):
    dram = Dram(parameters(), 2048)
    dram.transfer(0, 1, 1, 0, 1, False, 0.0)
    benchmark.pedantic(dram.transfer, (0, 1, containers, 0, containers * 2048, True, 0.0), rounds=5, iterations=10_000)
    print(f"\njob of {containers} containers: {benchmark.stats.stats.min * 1e6:.2f} us", end="")
