"""Which steps of a training in phases are captured, and the observer that captures them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import nn

from simhw.capture.capture import Capture
from simhw.capture.options import check_paths, pattern_of
from simhw.errors import CaptureError, SimhwError, listed

LATE = "late"


@dataclass(frozen=True)
class Wanted:
    """A step to capture: its phase, and its number from 1, ``late``, the phase's last, or how much of the phase it
    ends, such as ``3/8``.
    """

    phase: str
    step: int | str

    def number(self, steps: int) -> int:
        """The step's number in a phase of so many steps.

        Raises
        ------
        CaptureError
            The phase has no such step.
        """
        number = self.step if isinstance(self.step, int) else max(1, round(self._share * steps))
        if not 1 <= number <= steps:
            raise CaptureError(f"there is no step {number} of phase {self.phase}; it has steps 1 to {steps}")
        return number

    @property
    def _share(self) -> Fraction:
        return Fraction(1) if self.step == LATE else Fraction(self.step)


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
    _came: set[Wanted] = field(default_factory=set)

    def __post_init__(self) -> None:
        pattern_of(self.pattern, ("phase", "step"))
        paths = [Path(self._pattern(want.phase, _longest(want.step, place))) for place, want in enumerate(self.wanted)]
        check_paths(self.pattern, paths, len(set(self.wanted)), "{phase} or {step}")

    def batch(self, phase: str, step: int, steps: int) -> int | None:
        """How many samples of its batch a step takes."""
        return self.samples if self._wanted(phase, step, steps) else None

    @contextmanager
    def step(self, model: nn.Module, phase: str, step: int, steps: int, samples: int) -> Iterator[None]:
        """Span a step: with a capture, if it is a wanted one."""
        if not self._wanted(phase, step, steps):
            yield
            return
        options = dict(self.options)
        if len({want.phase for want in self.wanted}) > 1:
            options["technique"] = f"{options.get('technique', '')} (phase {phase})".strip()
        capture = Capture(model, self.pattern.replace("{phase}", phase), (step,), **options)
        with capture.step(step, samples):
            yield
        self.written.append(Written(phase, step, capture.path(step)))
        self._came.update(self._wanted(phase, step, steps))

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
            if want not in self._came:
                raise CaptureError(
                    f"step {want.step} of phase {want.phase} did not come: the checkpoint is past it; train without it"
                )

    def _wanted(self, phase: str, step: int, steps: int) -> list[Wanted]:
        return [want for want in self.wanted if want.phase == phase and want.number(steps) == step]

    def _pattern(self, phase: str, step: int | str) -> str:
        return self.pattern.replace("{phase}", phase).replace("{step}", str(step))


def _longest(step: int | str, place: int) -> int | str:
    """What stands for a step in a path whose length is checked before its number is known; others have others."""
    return step if isinstance(step, int) else f"{place:06}"
