"""What a run takes where little is to be simulated: a process of its own, with what it loads, and with empty caches.

Run with ``pytest -n 0 tests/benchmarks/test_startup.py --benchmark-only``; times are of processors, not of the clock
[s], so that another process on the machine disturbs them little.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

RUNS = {
    "fpraker": ["run", "--trace", "resnet50", "--pe", "fpraker"],
    "two machines": ["run", "--trace", "resnet50", "--pe", "fpraker", "--pe", "tensordash"],
}


def processor_seconds() -> float:
    """Processor time of all processes that this one started and that have ended [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(arguments: list[str], caches: Path) -> None:
    """A command in a process of its own, with a folder for compiled kernels and bytecode, as an installed simhw has."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    own = {"NUMBA_CACHE_DIR": str(caches / "kernels"), "PYTHONPYCACHEPREFIX": str(caches / "bytecode")}
    command = [sys.executable, "-m", "simhw", *arguments]
    subprocess.run(command, env=kept | own, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.benchmark(timer=processor_seconds)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_with_warm_caches(benchmark, tmp_path, name):
    run(RUNS[name], tmp_path)
    benchmark.pedantic(run, (RUNS[name], tmp_path), rounds=5)
    print(f"\n{name}: {benchmark.stats.stats.median:.2f} s of processor time")


@pytest.mark.benchmark(timer=processor_seconds)
def test_a_run_that_compiles_all_that_it_needs(benchmark, tmp_path):
    numbers = iter(range(3))

    def with_empty_caches() -> None:
        run(RUNS["fpraker"], tmp_path / str(next(numbers)))

    benchmark.pedantic(with_empty_caches, rounds=3)
    print(f"\nempty caches: {benchmark.stats.stats.median:.2f} s of processor time")
