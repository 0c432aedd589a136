"""Whole steps of full-size networks, exactly: multiply-accumulates a second, processor time, and memory.

Run with ``pytest tests/benchmarks/test_whole_steps.py --benchmark-only -m "" -n 0 -s`` on an idle machine.  The steps
are captured anew (`tests.benchmarks.whole_steps`), unless SIMHW_WHOLE_STEPS names a folder that holds them.  Each run
is a process of its own, so that its peak memory is its own as well.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.whole_steps import WHOLE_STEPS, capture_step

RUN = """
import json, resource, sys, time
import simhw
trace, machine, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
start, cpu = time.perf_counter(), time.process_time()
results = simhw.simulate(trace, machine, 1.0, workers=workers, progress=False)
told = {
    "macs": results.total.macs,
    "seconds": time.perf_counter() - start,
    "cpu_seconds": time.process_time() - cpu,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}
print(json.dumps(told))
"""
"""Simulates a trace in a fresh process; kernels come from the cache."""


@pytest.fixture(scope="session")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the traces."""
    named = os.environ.get("SIMHW_WHOLE_STEPS")
    folder = Path(named) if named else tmp_path_factory.mktemp("steps")
    for name in WHOLE_STEPS:
        if not (folder / f"{name}.npz").exists():
            pytest.importorskip("torch")
            capture_step(name, folder)
    return folder


def run(trace: Path, machine: str, workers: int) -> dict[str, float]:
    """What a run of a whole step takes."""
    command = [sys.executable, "-c", RUN, str(trace), machine, str(workers)]
    told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return told


@pytest.mark.parametrize("machine", ["fpraker", "fpraker:tile.sync=set,pe.chunk=off", "tensordash"])
@pytest.mark.parametrize("step", WHOLE_STEPS)
@pytest.mark.parametrize("workers", [1, 2])
def test_whole_step(benchmark: BenchmarkFixture, steps: Path, step: str, machine: str, workers: int):
    run(steps / f"{next(iter(WHOLE_STEPS))}.npz", machine, workers)  # compiles, where the cache has no kernels yet
    told = benchmark.pedantic(run, (steps / f"{step}.npz", machine, workers), rounds=3)
    benchmark.extra_info.update(told, macs_per_cpu_second=told["macs"] / told["cpu_seconds"])
    print(
        f"\n{step}, {machine}, {workers} workers: {told['seconds']:.2f} s, {told['cpu_seconds']:.2f} s of CPU, "
        f"{told['macs'] / told['cpu_seconds'] / 1e9:.2f} G MAC/s, {told['peak_mib']:.0f} MiB"
    )
