"""The papers' networks, and the captured steps that stand for them: kept ones of a training, or bundled traces."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from simhw.errors import SimhwError, TraceError
from simhw.files.plain_yaml import parse_yaml
from simhw.files.reading import parse_json, read_text
from simhw.reproduce.facts import Paper
from simhw.reproduce.training import Settings, capturing
from simhw.trace.find import find_trace
from simhw.trace.reader import trace_hash

MAX_RECORD_BYTES = 8 << 20


class Network(BaseModel):
    """A network of a paper.

    Attributes
    ----------
    name : str
        As the paper calls it.
    workload : str or None
        The training that stands for it, by the name of its row.
    bundled : str or None
        A trace that comes with simhw.
    batch : int or None
        Samples of a step of the training that made the bundled trace.
    differs, bundled_differs : str
        How the training, and the bundled trace, differ from the paper's network.
    counts : bool
        Whether it is in the paper's mean.
    fact : str or None
        Its published speed-up, by the name of the fact.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    workload: str | None = None
    bundled: str | None = None
    batch: int | None = None
    differs: str = ""
    bundled_differs: str = ""
    counts: bool = True
    fact: str | None = None


@dataclass(frozen=True)
class Step:
    """A captured step.

    Attributes
    ----------
    path : str
        As it is looked up: a file, or the name of a bundled trace.
    hash : str
    batch : int or None
        Samples that the step is grown to where memories count.
    """

    path: str
    hash: str
    batch: int | None

    @property
    def number(self) -> int:
        """The step that the name of the trace ends in; 0 where it ends otherwise."""
        last = Path(self.path).stem.rpartition("-")[2]
        return int(last) if last.isdecimal() else 0


@dataclass(frozen=True)
class Captured:
    """A network, and its captured steps.

    Attributes
    ----------
    network : Network
    moments : tuple of Step
        All that were captured, in their order; none where there is no trace yet.
    differs : str
        How they differ from the paper's.
    """

    network: Network
    moments: tuple[Step, ...]
    differs: str = ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The first moment and the last: those that stand for the network."""
        return self.moments if len(self.moments) < 2 else (self.moments[0], self.moments[-1])

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def traces(self) -> str:
        """Names of its traces, with commas."""
        return ", ".join(Path(step.path).stem for step in self.steps)


_NETWORKS = TypeAdapter(dict[Paper, list[Network]])


@lru_cache(maxsize=1)
def networks() -> dict[Paper, list[Network]]:
    """All networks by paper, in the papers' order."""
    text = files("simhw.reproduce").joinpath("networks.yaml").read_text(encoding="utf-8")
    return _NETWORKS.validate_python(parse_yaml(text))


def why_unfit(workload: str, settings: Settings) -> str | None:
    """Why the kept training of a workload cannot be taken; None where it can.

    Its record holds the hashes of its traces, and is written last: what belongs together is known by them.

    Raises
    ------
    SimhwError
        What lies in the record's place is no record.
    """
    path, taken = settings.record(workload), capturing(workload)
    if not path.exists():
        return "it was not trained yet"
    told = _record(path)
    shaped = {"scale": settings.scale, "seed": settings.seed, "max_steps": None}
    shaped |= {"capture_batch": taken.samples, "max_bytes": taken.max_bytes}
    for option, wanted in shaped.items():
        if (had := told["about"].get(option)) != wanted:
            return f"it was made with {option} {had}, not {wanted}"
    if not _same_moments(str(told["about"].get("steps")), taken.at(settings.scale)):
        return f"other steps were captured than {taken.at(settings.scale)}"
    if not told["traces"]:
        return "its record tells of no trace"
    for name, expected in told["traces"].items():
        try:
            if trace_hash(settings.folder / name) != expected:
                return f"{name} is not the trace that its record tells of"
        except TraceError as error:
            return f"{name} cannot be read ({error})"
    return None


def captured(network: Network, settings: Settings) -> Captured:
    """A network with the steps that there are of it: kept ones of its training, else the bundled trace."""
    if network.workload is not None and why_unfit(network.workload, settings) is None:
        told = _record(settings.record(network.workload))
        steps = [Step(str(settings.folder / name), found, _batch(told)) for name, found in told["traces"].items()]
        return Captured(network, tuple(sorted(steps, key=lambda step: step.number)), network.differs)
    if network.bundled is not None:
        step = Step(network.bundled, trace_hash(find_trace(network.bundled)), network.batch)
        return Captured(network, (step,), network.bundled_differs)
    return Captured(network, ())


def _same_moments(told: str, wanted: str) -> bool:
    """Whether the steps that a record tells of, ``PHASE:STEP`` with commas, are those moments."""
    pairs = zip_longest((part.rpartition(":")[2] for part in told.split(",")), wanted.split(","), fillvalue="")
    return all(had == moment or (moment == "early" and had.isdecimal()) for had, moment in pairs)


def _batch(told: dict[str, Any]) -> int:
    """Samples of a step of the phase that was captured; of the last one where the record does not say."""
    captured_phase = str(told["about"].get("steps", "")).partition(":")[0]
    found = {phase["name"]: phase["batch"] for phase in told["phases"]}
    return int(found.get(captured_phase, told["phases"][-1]["batch"]))


def _record(path: Path) -> dict[str, Any]:
    text = read_text(path, MAX_RECORD_BYTES, SimhwError, "the record of a training")
    told = parse_json(text, str(path), SimhwError)
    try:
        sound = isinstance(told["about"], dict) and isinstance(told["traces"], dict)
        sound = sound and all(isinstance(phase["batch"], int) and phase["name"] for phase in told["phases"])
        sound = sound and bool(told["phases"])
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise SimhwError(f"{path}: not the record of a training; remove it and train anew")
    return dict(told)
