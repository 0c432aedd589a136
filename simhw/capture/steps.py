"""Which steps of a training in phases are captured, and the observer that captures them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from simhw.capture.capture import Capture
from simhw.capture.options import check_paths, pattern_of
from simhw.errors import CaptureError, SimhwError, listed

LATE = "late"


@dataclass(frozen=True)
class Wanted:
    """A step to capture: its phase, and its number from 1 or ``late``, the phase's last."""

    phase: str
    step: int | str

    def number(self, steps: int) -> int:
        """The step's number in a phase of so many steps.

        Raises
        ------
        CaptureError
            The phase has no such step.
        """
        number = steps if isinstance(self.step, str) else self.step
        if not 1 <= number <= steps:
            raise CaptureError(f"there is no step {number} of phase {self.phase}; it has steps 1 to {steps}")
        return number


@dataclass(frozen=True)
class Written:
    """A trace that was written: of which step, with how many samples, and where."""

    phase: str
    step: int
    path: Path


@dataclass
class StepCapture:
    """Watches a training, and captures the steps that are wanted.

    Attributes
    ----------
    wanted : sequence of Wanted
    pattern : str
        Of the trace files' paths; ``{phase}`` and ``{step}`` stand for the step's.
    options : dict
        Of `Capture`: what the traces say of themselves, and how values become bfloat16.
    samples : int or None
        Samples of its batch that a captured step takes; None for all.
    written : list of Written
    """

    wanted: Sequence[Wanted]
    pattern: str
    options: dict[str, Any]
    samples: int | None = None
    written: list[Written] = field(default_factory=list)

    def __post_init__(self) -> None:
        pattern_of(self.pattern, ("phase", "step"))
        # How long the number of a phase's last step is, is not known yet.
        paths = [Path(self._pattern(want.phase, "000000" if want.step == LATE else want.step)) for want in self.wanted]
        check_paths(self.pattern, paths, len(set(self.wanted)), "{phase} or {step}")

    def batch(self, phase: str, step: int, steps: int) -> int | None:
        """How many samples of its batch a step takes."""
        return self.samples if self._wants(phase, step, steps) else None

    @contextmanager
    def step(self, model: nn.Module, phase: str, step: int, steps: int, samples: int) -> Iterator[None]:
        """Span a step: with a capture, if it is a wanted one."""
        if not self._wants(phase, step, steps):
            yield
            return
        options = dict(self.options)
        if len({want.phase for want in self.wanted}) > 1:
            options["technique"] = f"{options.get('technique', '')} (phase {phase})".strip()
        capture = Capture(model, self.pattern.replace("{phase}", phase), (step,), **options)
        with capture.step(step, samples):
            yield
        self.written.append(Written(phase, step, capture.path(step)))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Within, an interrupt or an error says which traces were written before it."""
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._told() or "no trace was written") from None
        except SimhwError as error:
            if self.written:
                raise type(error)(f"{error}; {self._told()}") from error
            raise

    def _told(self) -> str:
        names = [str(each.path) for each in self.written]
        return (
            f"{len(names)} trace{'s were' if len(names) > 1 else ' was'} written before: {listed(names, 3)}"
            if names
            else ""
        )

    def check(self) -> None:
        """Raise CaptureError where a step that was wanted never came: a checkpoint was past it."""
        for want in self.wanted:
            if not any(each.phase == want.phase and want.step in (LATE, each.step) for each in self.written):
                raise CaptureError(
                    f"step {want.step} of phase {want.phase} did not come: the checkpoint is past it; train without it"
                )

    def _wants(self, phase: str, step: int, steps: int) -> bool:
        return any(want.phase == phase and want.number(steps) == step for want in self.wanted)

    def _pattern(self, phase: str, step: int | str) -> str:
        return self.pattern.replace("{phase}", phase).replace("{step}", str(step))
