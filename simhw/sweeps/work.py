"""The work of a sweep: one point simulated, wherever it runs; a process opens each trace once."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from simhw.errors import SimhwError
from simhw.machine.machine import Machine
from simhw.results.step import Results
from simhw.results.table import totals_row
from simhw.results.totals import Totals
from simhw.simulation.api import simulate
from simhw.sources import made_by
from simhw.trace.nonfinite import NonFinite
from simhw.trace.reader import load_trace
from simhw.trace.trace import Trace

TRACES_OPEN = 8
"""Traces that a process keeps open; their tensors stay in the files."""
LONGEST_ERROR = 1000


@dataclass(frozen=True)
class Settings:
    """How a point is simulated; see `simhw.simulation.api.simulate`."""

    batch: int | None = None
    sample: float | None = None
    seed: int = 0
    nonfinite: NonFinite = "error"


@dataclass(frozen=True)
class Task:
    """A point as a process gets it: everything that its result depends on.

    Attributes
    ----------
    hash : str
        The point's.
    trace, trace_hash : str
        An absolute path, and what lies there.
    machine : Machine
    baseline : Machine or None
    settings : Settings
    """

    hash: str
    trace: str
    trace_hash: str
    machine: Machine
    baseline: Machine | None
    settings: Settings


@dataclass(frozen=True)
class Outcome:
    """What became of a point.

    Attributes
    ----------
    hash : str
        The point's.
    made_by : str
        The simhw that ran it.
    error : str or None
        In a line, why there is no result.
    seconds : float
        Of the simulation.
    cautions : tuple of str
    totals : mapping of operation to figures
        ``total`` and every operation that ran, with the columns `columns`; empty where there is an error.
    """

    hash: str
    made_by: str
    error: str | None = None
    seconds: float = 0.0
    cautions: tuple[str, ...] = ()
    totals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def failed(point_hash: str, error: str) -> Outcome:
    """The outcome of a point that could not be run, as this process tells it."""
    return Outcome(point_hash, made_by(), " ".join(error.split())[:LONGEST_ERROR])


@lru_cache(maxsize=TRACES_OPEN)
def _opened(path: str, _trace_hash: str, nonfinite: NonFinite) -> Trace:
    """A trace; one whose content has changed is opened anew."""
    return load_trace(path, nonfinite)


def run_task(task: Task) -> Outcome:
    """Simulate a point on one thread: others run beside it."""
    settings = task.settings
    started = time.perf_counter()
    try:
        trace = _opened(task.trace, task.trace_hash, settings.nonfinite)
        results = simulate(
            trace,
            task.machine,
            # Of a sample's products, all that it holds are simulated, whatever share is asked for.
            settings.sample,
            settings.seed,
            progress=False,
            baseline=task.baseline,
            workers=1,
            batch=settings.batch,
        )
    except SimhwError as error:
        return failed(task.hash, str(error))
    if results.provenance["trace_hash"] != task.trace_hash:
        return failed(task.hash, f"{task.trace}: changed since the sweep began; start it again")
    seconds = time.perf_counter() - started
    return Outcome(task.hash, made_by(), None, seconds, tuple(results.cautions), _totals(results))


def _totals(results: Results) -> dict[str, dict[str, Any]]:
    return {name: _row(totals) for name, totals in {**results.by_operation(), "total": results.total}.items()}


def _row(totals: Totals) -> dict[str, Any]:
    row = totals_row(totals) | {
        "baseline_time_s": totals.baseline_time_s,
        "baseline_energy_j": totals.baseline_energy_j,
        "overall_time_s": totals.overall.time_s,
    }
    # Plain numbers: NumPy's are none to a database.
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}


@lru_cache(maxsize=1)
def columns() -> tuple[str, ...]:
    """The figures of every outcome, by the columns that hold them."""
    return tuple(_row(Totals.of([])))
