"""What a run did: its phases, loss curves, multiply-accumulates and scores, written as JSON beside the traces."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simhw.errors import WorkloadError
from simhw.output import replacing


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

    name: str
    batch: int
    steps: int
    parameters: int
    trainable: int
    step_macs: int = 0
    samples: int = 0
    losses: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0


@dataclass
class Score:
    """What a model was worth after a phase: `metric` of `tested` held-out samples."""

    phase: str
    metric: str
    value: float
    loss: float
    tested: int
    higher_is_better: bool = True


@dataclass
class Record:
    """A whole run, in the order in which it happened."""

    phases: list[Phase] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    notes: dict[str, float | int | str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

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
        raise WorkloadError(f"the run had no phase {name!r}; it had {', '.join(phase.name for phase in self.phases) or 'none'}")

    def write(self, path: Path) -> None:
        """Write as JSON, atomically."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")


def read_record(path: Path) -> Record:
    """Read what `Record.write` wrote.

    Raises
    ------
    WorkloadError
        Not such a file.
    """
    try:
        told = json.loads(path.read_text())
        return Record(
            [Phase(**each) for each in told["phases"]],
            [Score(**each) for each in told["scores"]],
            dict(told["notes"]),
            dict(told["about"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkloadError(f"{path}: not the record of a run ({error}); train it anew with `simhw workloads run`") from error
