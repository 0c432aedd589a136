"""Trainings for the papers, each by `simhw workloads run` in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from simhw.errors import WorkloadError
from simhw.progress import track
from simhw.reproduce.networks import kept_record

MAX_TRACE = "16MB"
CAPTURED_SAMPLES = 4
STEPS = {"full": "early,late", "smoke": "late"}
"""Steps that are captured; a training of a few seconds has no early one."""


def command(workload: str, runs: Path, scale: str, seed: int, data: str | None) -> list[str]:
    """What trains a workload and captures its steps, as the command line takes it."""
    return [
        *("workloads", "run", workload, "--scale", scale, "--seed", str(seed), "--steps", STEPS[scale]),
        *("--capture", str(runs / f"{workload}-{{step}}.npz"), "--record", str(kept_record(runs, workload))),
        *("--max-bytes", MAX_TRACE, "--capture-batch", str(CAPTURED_SAMPLES)),
        *(("--data", data) if data else ()),
    ]


def train(workloads: Sequence[str], runs: Path, scale: str, seed: int, data: str | None, jobs: int) -> None:
    """Train some workloads, `jobs` at a time.

    Raises
    ------
    WorkloadError
        A training failed; says what it said.
    """
    if not workloads:
        return
    with ThreadPoolExecutor(jobs) as pool:
        work = pool.map(lambda name: _train(command(name, runs, scale, seed, data)), workloads)
        for _ in track(work, "trainings", len(workloads)):
            pass


def _train(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "simhw", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise WorkloadError(f"simhw {' '.join(arguments)}: {lines[-1] if lines else 'it failed and said nothing'}")
