"""Trainings for the papers, each by `simhw workloads run` in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from simhw.errors import WorkloadError
from simhw.files.plain_yaml import parse_yaml
from simhw.progress import tell, track

ALL = "all"
"""Where the table states what holds of every training."""


class Capturing(BaseModel):
    """What is captured of a training.

    Attributes
    ----------
    moments, smoke_moments : str
        Of the phase, as ``--steps`` takes them, at full and at smoke scale.
    samples : int
        Of a step's batch.
    max_bytes : int
        Of a trace.
    images : bool
        Whether it takes the folder of the images' files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    moments: str
    smoke_moments: str
    samples: int = Field(ge=1)
    max_bytes: int = Field(ge=1)
    images: bool

    def at(self, scale: str) -> str:
        """The moments at a scale."""
        return self.moments if scale == "full" else self.smoke_moments


@dataclass(frozen=True)
class Settings:
    """What shapes a training that is kept, and where it lies.

    Attributes
    ----------
    folder : Path
    scale : {"full", "smoke"}
    seed : int
    data : str or None
        Where the images' files lie, if not where their package puts them.
    """

    folder: Path
    scale: str
    seed: int
    data: str | None = None

    def record(self, workload: str) -> Path:
        """Where the record of a training lies."""
        return self.folder / f"{workload}.json"


_TABLE = TypeAdapter(dict[str, dict[str, str | int | bool]])


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, str | int | bool]]:
    text = files("simhw.reproduce").joinpath("trainings.yaml").read_text(encoding="utf-8")
    return _TABLE.validate_python(parse_yaml(text))


def listed() -> list[str]:
    """The workloads of which something else is captured than of all."""
    return [name for name in _table() if name != ALL]


def capturing(workload: str) -> Capturing:
    """What is captured of a workload."""
    return Capturing.model_validate(_table()[ALL] | _table().get(workload, {}))


def command(workload: str, settings: Settings) -> list[str]:
    """What trains a workload and captures its steps, as the command line takes it."""
    taken = capturing(workload)
    return [
        *("workloads", "run", workload, "--scale", settings.scale, "--seed", str(settings.seed)),
        *("--steps", taken.at(settings.scale), "--capture", str(settings.folder / f"{workload}-{{step}}.npz")),
        *("--max-bytes", str(taken.max_bytes), "--capture-batch", str(taken.samples)),
        *("--record", str(settings.record(workload))),
        *(("--data", settings.data) if settings.data and taken.images else ()),
    ]


def train(workloads: Sequence[str], settings: Settings, jobs: int) -> None:
    """Train some workloads, `jobs` at a time; says of each that fails what it said, and goes on.

    Raises
    ------
    WorkloadError
        All of them failed.
    """
    if not workloads:
        return
    with ThreadPoolExecutor(jobs) as pool:
        work = pool.map(lambda name: _train(command(name, settings)), workloads)
        problems = [problem for problem in track(work, "trainings", len(workloads)) if problem is not None]
    if len(problems) == len(workloads):
        raise WorkloadError(f"no training came to its end; the last: {problems[-1]}")
    for problem in problems:
        tell(problem)


def _train(arguments: list[str]) -> str | None:
    """Train; gives what went wrong."""
    done = subprocess.run([sys.executable, "-m", "simhw", *arguments], capture_output=True, text=True, check=False)
    if not done.returncode:
        return None
    lines = done.stderr.strip().splitlines()
    return f"simhw {' '.join(arguments)}: {lines[-1] if lines else 'it failed and said nothing'}"
