"""Capture of chosen steps of a user's own training loop, in three lines of it."""

import sys
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Self, get_args

import torch
from torch import nn

from simhw.capture.assemble import layers
from simhw.capture.functions import Functions, plain_attention
from simhw.capture.names import Names
from simhw.capture.options import check_paths, models_of, operators_of, pattern_of, steps_of, text, whole_number
from simhw.capture.recorder import Recorder
from simhw.capture.tensors import Copier, Nonfinite, Rounding
from simhw.capture.threads import Unwatched
from simhw.errors import CaptureError
from simhw.trace.metadata import Metadata
from simhw.trace.recomputation import RECORD
from simhw.trace.trace import Trace


@dataclass
class _Progress:
    """How far training has come; apart from `Capture`, whose end it outlives."""

    pattern: str
    missing: set[int]
    last: int = 0

    def reach(self, step: int) -> None:
        self.last = step
        self.missing.discard(step)

    def tell(self) -> None:
        if self.missing:
            first, others = min(self.missing), len(self.missing) - 1
            steps = f"step {first}" if not others else f"step {first} and {others} more"
            warnings.warn(
                f"{self.pattern}: no trace of {steps} was written: training ended before, at step {self.last}",
                UserWarning,
                stacklevel=2,
            )


class Capture:
    """Writes traces of chosen training steps.

    Parameters
    ----------
    model : Module or mapping of name to Module
        Names the layers; several models, such as a generator and a discriminator, each under its name.
    path : path
        Of the trace files; ``{step}`` stands for the step's number and is needed where there are several.
    steps : iterable of int
        The steps to capture, counted from 1.
    dataset, technique, command : str
        What the trace says of where it came from; `model_name` by default is the model's class.
    batch, seed : int, optional
    rounding : {"rne", "truncate"}
        How float32 becomes bfloat16: to nearest even, or by dropping the low 16 bits.
    nonfinite : {"error", "zero", "keep"}
        What becomes of NaN and infinity.
    max_bytes : int, optional
        Write a random sample of at most this size, compressed, instead of whole tensors.
    ignore : iterable of str
        Operators, as refusals name them, that do no multiply-accumulate work that counts; the trace says how often they
        ran.

    Raises
    ------
    CaptureError
        An option cannot be used, or a trace could not be written to its path.

    Warns
    -----
    UserWarning
        At the end of the program, of a ``with`` block, or at `close`: a chosen step never came.

    Examples
    --------
    >>> capture = Capture(model, "trace-{step}.npz", steps={100, 2000})  # doctest: +SKIP
    >>> for x, y in loader:  # doctest: +SKIP
    ...     with capture.step():
    ...         loss = criterion(model(x), y)
    ...         loss.backward()
    ...         optimizer.step()
    ...         optimizer.zero_grad()
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        path: str | PathLike[str],
        steps: Iterable[int] = (1,),
        *,
        model_name: str = "",
        dataset: str = "",
        technique: str = "",
        command: str = "",
        batch: int | None = None,
        seed: int | None = None,
        rounding: Rounding = "rne",
        nonfinite: Nonfinite = "error",
        max_bytes: int | None = None,
        ignore: Iterable[str] = (),
    ) -> None:
        self._models = models_of(model)
        self._pattern = pattern_of(path, ("step",))
        self.steps = steps_of(steps)
        for option, value, known in (
            ("rounding", rounding, get_args(Rounding)),
            ("nonfinite", nonfinite, get_args(Nonfinite)),
        ):
            if value not in known:
                raise CaptureError(f"{option}={value!r}: give one of {', '.join(known)}")
        check_paths(self._pattern, map(self.path, self.steps), len(self.steps))
        self._rounding: Rounding = rounding
        self._nonfinite: Nonfinite = nonfinite
        self._max_bytes = whole_number("max_bytes", max_bytes, 1, "the largest size of a trace file in bytes")
        self._ignore = operators_of(ignore)
        # What torch.compile gives is a wrapper: a captured step runs the model within it, uncompiled.
        names = [type(getattr(m, "_orig_mod", m)).__name__ for m in self._models.values()]
        self._metadata = Metadata(
            model=text("model_name", model_name) or ", ".join(names),
            dataset=text("dataset", dataset),
            technique=text("technique", technique),
            framework=f"PyTorch {torch.__version__}",
            batch=whole_number("batch", batch, 1, "the number of samples of a step"),
            seed=whole_number("seed", seed, 0, "a number from 0"),
            capture_command=text("command", command) or " ".join(sys.argv).encode(errors="replace").decode(),
        )
        self._progress = _Progress(self._pattern, set(self.steps))
        self._farewell = weakref.finalize(self, self._progress.tell)

    def close(self) -> None:
        """Say which steps never came, and so have no trace; the end of a ``with`` block or of the program does it else.

        Warns
        -----
        UserWarning
            There are such steps.
        """
        self._farewell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def path(self, step: int) -> Path:
        """Where the trace of a step is written."""
        return Path(self._pattern.replace("{step}", str(step)))

    @contextmanager
    def step(self, number: int | None = None, batch: int | None = None) -> Iterator[None]:
        """Span one training step: forward, backward and the optimizer's step; write its trace if it is a chosen one.

        On an exception within the step nothing is written, and the exception goes on.

        Parameters
        ----------
        number : int, optional
            The step's number; by default one more than the last.
        batch : int, optional
            The batch of this step, where it is not that of the others.

        Raises
        ------
        CaptureError
            The step cannot be captured faithfully: the message names operator or layer.
        """
        last = self._progress.last
        step = whole_number("number", last + 1 if number is None else number, 0, "the step's number") or 0
        batch = whole_number("batch", batch, 1, "the number of samples of the step")
        self._progress.reach(step)
        if step not in self.steps:
            yield
            return
        copier, functions, names = Copier(self._rounding, self._nonfinite), Functions(), Names(self._models)
        recorder, unwatched = Recorder(names, functions, copier, self._ignore), Unwatched(self._models)
        with ExitStack() as around:
            around.push(recorder.tell_refusal)
            around.enter_context(plain_attention())
            for context in (unwatched, names, functions, recorder):
                around.enter_context(context)
            yield
        unwatched.check()
        self._write(step, recorder, copier, batch)

    def _write(self, step: int, recorder: Recorder, copier: Copier, batch: int | None) -> None:
        captured, recomputed = layers(recorder.products)
        if not captured:
            seen = f" (beside {', '.join(recorder.noted)})" if recorder.noted else ""
            raise CaptureError(
                f"step {step}: no layer ran inside `with capture.step()`{seen}; put forward, backward and optimizer "
                "step inside it"
            )
        extra: dict[str, Any] = {"rounding": self._rounding, "threads": torch.get_num_threads()}
        if copier.zeroed:
            extra["nonfinite_zeroed"] = copier.zeroed
        if recorder.noted:
            extra["not_captured"] = recorder.noted
        if recomputed:
            extra[RECORD] = recomputed
        metadata = replace(self._metadata, step=step, extra=extra)
        if batch is not None:
            metadata = replace(metadata, batch=batch)
        trace = Trace(captured, metadata)
        if self._max_bytes is not None:
            from simhw.lowering.sample import sample_trace

            trace = sample_trace(trace, self._max_bytes, seed=self._metadata.seed or 0)
        trace.save(self.path(step), compress=self._max_bytes is not None)
