"""What a run did: its phases, loss curves, multiply-accumulates and scores, written as JSON beside the traces."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, variance
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, FailFast, Field, Strict, TypeAdapter, ValidationError, WrapValidator

from simhw.errors import WorkloadError, quoted
from simhw.files.reading import parse_json, read_text
from simhw.files.writing import replacing
from simhw.results.estimate import Estimate

# 500,000 losses of 16 bytes.
_LONGEST_BYTES = 8 << 20
# Unknown names are ignored: each would be an error of some kilobytes, and a file may hold a million.
_KNOWN_NAMES = ConfigDict(extra="ignore")

_Text = Annotated[str, Strict(), Field(max_length=100_000)]
_Count = Annotated[int, Strict(), Field(ge=0, le=2**63 - 1)]
_BatchSize = Annotated[int, Strict(), Field(ge=1, le=2**31 - 1)]
# JSON has no NaN: a loss that diverged is null in the file, and NaN again when it is read.
_Figure = Annotated[
    float,
    Strict(),
    Field(allow_inf_nan=False),
    WrapValidator(lambda told, checked: math.nan if told is None else checked(told)),
]
_Integer = Annotated[int, Strict(), Field(ge=-(2**63), le=2**63 - 1)]
_MOST_NAMES = 1000


def _few(told: Any) -> Any:
    if isinstance(told, dict) and len(told) > _MOST_NAMES:
        raise ValueError(f"{len(told)} entries; at most {_MOST_NAMES}")
    return told


# Pydantic tells of every entry that is wrong, at some kilobytes each: lists end at the first, mappings are short.
_Few = BeforeValidator(_few)


@dataclass
class Phase:
    """A phase of training.

    Attributes
    ----------
    name : str
    batch, steps : int
        Samples of an ordinary step; steps of the schedule.
    parameters, trainable : int
        Of the model, and of them those that learn, at the phase's first step.
    step_macs : int
        Multiply-accumulates of its first step, forward and backward as they ran.
    samples : int
        That it trained on, repeats counted.
    losses : list of float
        Of each step.
    cpu_seconds : float
        Processor time of this process.
    """

    __pydantic_config__ = _KNOWN_NAMES

    name: _Text
    batch: _BatchSize
    steps: _Count
    parameters: _Count
    trainable: _Count
    step_macs: _Count = 0
    samples: _Count = 0
    losses: Annotated[list[_Figure], FailFast()] = field(default_factory=list)
    cpu_seconds: _Figure = 0.0


@dataclass
class Score:
    """The score of a model after a phase: `metric` on `tested` held-out samples."""

    __pydantic_config__ = _KNOWN_NAMES

    phase: _Text
    metric: _Text
    value: _Figure
    loss: _Figure
    tested: _Count
    higher_is_better: Annotated[bool, Strict()] = True


@dataclass
class Repeated:
    """The result of runs that differ in nothing but their seed.

    Attributes
    ----------
    mean : float
        Of the runs' results.
    half_width : float
        Of the 95% confidence interval of the mean.
    by_seed : dict
        Each run's result.
    """

    __pydantic_config__ = _KNOWN_NAMES

    mean: _Figure
    half_width: _Figure
    by_seed: Annotated[dict[_Text, _Figure], _Few]

    @staticmethod
    def of(results: Mapping[int, float]) -> "Repeated":
        """The mean of at least two results, and its interval.

        Parameters
        ----------
        results : mapping of seed to result
        """
        values, runs = list(results.values()), len(results)
        mean = Estimate(fmean(values), variance(values) / runs, runs - 1)
        return Repeated(mean.value, mean.half_width, {str(seed): value for seed, value in results.items()})


@dataclass
class Record:
    """A whole run, in the order in which it happened.

    Attributes
    ----------
    phases : list of Phase
    scores : list of Score
    notes : dict
        Figures of the technique by name.
    about : dict
        The options that shaped the run and its traces, and the command.
    traces : dict
        `simhw.trace.reader.trace_hash` of every trace of the run, by the name of its file.
    repeated : Repeated, optional
        The result over several seeds, this run's among them.
    """

    __pydantic_config__ = _KNOWN_NAMES

    phases: Annotated[list[Phase], FailFast()] = field(default_factory=list)
    scores: Annotated[list[Score], FailFast()] = field(default_factory=list)
    notes: Annotated[dict[_Text, _Integer | _Figure | _Text], _Few] = field(default_factory=dict)
    about: Annotated[dict[_Text, _Integer | _Figure | _Text | None], _Few] = field(default_factory=dict)
    traces: Annotated[dict[_Text, _Text], _Few] = field(default_factory=dict)
    repeated: Repeated | None = None

    @property
    def result(self) -> Score:
        """The last score.

        Raises
        ------
        WorkloadError
            Nothing was scored.
        """
        if not self.scores:
            raise WorkloadError("the run scored no model; a technique ends with run.score(...)")
        return self.scores[-1]

    @property
    def samples(self) -> int:
        """That all phases trained on.

        Raises
        ------
        WorkloadError
            None.
        """
        if not (found := sum(phase.samples for phase in self.phases)):
            raise WorkloadError("the run trained on no samples")
        return found

    @property
    def cpu_seconds(self) -> float:
        """Of all phases."""
        return sum(phase.cpu_seconds for phase in self.phases)

    def phase(self, name: str) -> Phase:
        """The phase of that name.

        Raises
        ------
        WorkloadError
            There was none.
        """
        for phase in self.phases:
            if phase.name == name:
                return phase
        had = ", ".join(phase.name for phase in self.phases[:5]) or "none"
        raise WorkloadError(f"the run had no phase {name!r}; it had {had}")

    def noted(self, name: str) -> int | float | str:
        """A note.

        Raises
        ------
        WorkloadError
            There is none.
        """
        if name not in self.notes:
            raise WorkloadError(
                f"the record has no note {quoted(name)}: its run was of another workload or of an earlier version, or "
                "there was none; train the workload anew"
            )
        return self.notes[name]

    def share(self, name: str) -> tuple[int, int]:
        """A note of how many are left of how many, such as "3 of 8".

        Raises
        ------
        WorkloadError
            There is no such note, or it is no share.
        """
        told = re.fullmatch("([1-9][0-9]{0,8}) of ([1-9][0-9]{0,8})", str(value := self.noted(name)))
        if told is None or int(told[1]) > int(told[2]):
            raise WorkloadError(f"the run's note {quoted(name)} is {quoted(value)}, not a share such as '3 of 8'")
        return int(told[1]), int(told[2])

    def count(self, name: str) -> int:
        """A note that counts something.

        Raises
        ------
        WorkloadError
            There is no such note, or it is no count.
        """
        value = self.notes.get(name)
        if not isinstance(value, int) or value < 0:
            raise WorkloadError(f"the run's note {name!r} is {quoted(value)}, not a count")
        return value

    def write(self, path: Path) -> None:
        """Write as JSON, atomically."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(written(asdict(self)), indent=1, allow_nan=False) + "\n")


def written(value: Any) -> Any:
    """A value as a record's file holds it: null for NaN and infinity, escapes where a folder's name is no Unicode."""
    match value:
        case dict():
            return {written(name): written(each) for name, each in value.items()}
        case list():
            return [written(each) for each in value]
        case float() if not math.isfinite(value):
            return None
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
    return value


_ADAPTER = TypeAdapter(Record)


def read_record(path: Path) -> Record:
    """Read what `Record.write` wrote.

    Raises
    ------
    WorkloadError
        Not such a file.
    """
    text = read_text(
        path, _LONGEST_BYTES, WorkloadError, "the record of a run, as `simhw workloads run --record` writes it"
    )
    told = parse_json(text, str(path), WorkloadError)
    try:
        record = _ADAPTER.validate_python(told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(quoted(part).strip("'") for part in first["loc"])
        problem = f"{place}: {first['msg']}" if place else first["msg"]
    else:
        if record.phases:
            return record
        problem = "it has no phases"
    raise WorkloadError(f"{path}: not the record of a run ({problem}); remove it and train anew")
