"""Smoke runs of the workloads for tests: each trained once in a session, with the last step of its captured phase."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

import simhw
from simhw.capture.steps import LATE, StepCapture, Wanted
from simhw.trace.trace import Trace
from simhw_workloads.record import Record
from simhw_workloads.table import workload
from simhw_workloads.train import Run


@dataclass(frozen=True)
class SmokeRun:
    """What came of a workload at smoke scale."""

    model: torch.nn.Module
    record: Record
    trace: Trace


@cache
def folder() -> Path:
    return Path(mkdtemp(prefix="smoke-runs-"))


@cache
def smoke_run(name: str) -> SmokeRun:
    torch.set_num_threads(1)
    row, path = workload(name), folder() / f"{name}.npz"
    options = {"model_name": row.model, "dataset": row.dataset, "technique": row.technique, "seed": 0}
    run = Run(scale="smoke", observer=StepCapture([Wanted(row.captured, LATE)], str(path), options))
    model = row.train(run)
    run.record.write(path.with_suffix(".json"))
    return SmokeRun(model, run.record, simhw.load_trace(path))
