"""One training loop for every technique.  Observers see its steps, hooks change them.

A technique is a plain function of a `Run`: it builds a model and calls `Run.fit` once for each phase of its training.
The batch of a step depends on the seed and the step's number only.  So a run that continues from a checkpoint does what
the uninterrupted run would have done.  This holds on the same number of threads, because sums are split among them.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.checkpoint import load_checkpoint, save_checkpoint
from simhw_workloads.count import mac_counter
from simhw_workloads.record import Phase, Record, Score
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Batch, LossFunction, Task

CHECKPOINT_EVERY = 100
SCORED_AT_ONCE = 100
"""Samples that a model is given at a time where it is only scored."""

Scale = Literal["smoke", "full"]
Gradient = Callable[[nn.Module, Callable[[], Tensor]], Tensor]
"""Computes the gradients of a step: calls the closure, which runs forward and gives the loss, and backward; gives the
loss.
"""
T = TypeVar("T")


class Hook:
    """Changes the steps of one phase.  Every method here does nothing; a hook overrides those it needs."""

    def start(self, model: nn.Module, task: Task) -> None:
        """Called before the first step of a phase."""

    def indices(self, step: int, indices: Tensor) -> Tensor:
        """The rows (B,) that a step trains on; at least one."""
        return indices

    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        """The batch that the model is given."""
        return batch

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor | None:
        """A penalty to add to the loss."""
        return None

    def gradients(self, model: nn.Module) -> None:
        """Called after the backward pass, before the optimizer's step."""

    def stepped(self, model: nn.Module, step: int) -> None:
        """Called after the optimizer's step."""

    def finish(self, model: nn.Module) -> None:
        """Called after the last step of a phase."""


class Observer(Protocol):
    """Sees every step.  It is the only contact between a training and its capture."""

    def batch(self, phase: str, step: int, steps: int) -> int | None:
        """How many samples of its batch a step takes; None for all."""

    def step(self, model: nn.Module, phase: str, step: int, steps: int, samples: int) -> AbstractContextManager[object]:
        """The context in which a step runs, from the forward pass to the optimizer's update."""


class Nobody:
    """The observer of a training that is not captured."""

    def batch(self, phase: str, step: int, steps: int) -> int | None:
        """All samples."""
        return None

    def step(self, model: nn.Module, phase: str, step: int, steps: int, samples: int) -> AbstractContextManager[object]:
        """A context that does nothing."""
        return nullcontext()


def _silent(phase: str, step: int, steps: int, loss: float) -> None:
    """Show nothing."""


def plain(model: nn.Module, closure: Callable[[], Tensor]) -> Tensor:  # noqa: ARG001  # a `Gradient`
    """One forward and one backward pass."""
    loss = closure()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's
    return loss


@dataclass(frozen=True)
class _Steps:
    """The steps of one phase, each on a batch.

    Attributes
    ----------
    phase : Phase
        The multiply-accumulates of its first step are counted.
    model, optimizer, hooks, gradient, observer
    loss : callable
        (output, targets) to the mean over samples.
    count : int
        Steps of the phase.
    """

    phase: Phase
    model: nn.Module
    loss: LossFunction
    optimizer: torch.optim.Optimizer
    hooks: Sequence[Hook]
    gradient: Gradient
    observer: Observer
    count: int

    def take(self, step: int, rate: float, batch: Batch) -> float:
        """One step at that learning rate; gives its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        counter = None if self.phase.step_macs else mac_counter()
        with self.observer.step(self.model, self.phase.name, step, self.count, len(batch.indices)):
            with counter or nullcontext():
                for hook in self.hooks:
                    batch = hook.batch(self.model, batch)
                loss = self.gradient(self.model, partial(self._forward, batch))
            for hook in self.hooks:
                hook.gradients(self.model)
            self.optimizer.step()
            self.optimizer.zero_grad()
            for hook in self.hooks:
                hook.stepped(self.model, step)
        if counter is not None:
            self.phase.step_macs = counter.macs
        return loss.item()

    def _forward(self, batch: Batch) -> Tensor:
        """The loss of a batch, with the penalties of the hooks."""
        output = self.model(batch.inputs)
        loss = self.loss(output, batch.targets)
        for hook in self.hooks:
            penalty = hook.loss(self.model, output, batch)
            loss = loss if penalty is None else loss + penalty
        return loss


@dataclass
class Run:
    """What the user decides of a training, and its record.

    Attributes
    ----------
    seed : int
        Of the initial weights and the order of the samples.
    scale : {"full", "smoke"}
        ``smoke`` is as small as still shows that a technique works: for tests.
    data : Path, optional
        Folder of the data set, where it needs one.
    device : str
        The roofline that hardware-aware techniques ask.
    max_steps : int, optional
        Stop each phase after this many steps; the learning rate's schedule stays that of the whole phase.
    checkpoint : Path, optional
        Written every 100 steps.  A run of one phase without hooks continues from it if it exists.
    observer : Observer
    progress : callable
        Called after each step with the phase, the step, the number of steps and the loss.
    record : Record
    """

    seed: int = 0
    scale: Scale = "full"
    data: Path | None = None
    device: str = "v100"
    max_steps: int | None = None
    checkpoint: Path | None = None
    observer: Observer = field(default_factory=Nobody)
    progress: Callable[[str, int, int, float], None] = _silent
    record: Record = field(default_factory=Record)

    def pick(self, smoke: T, full: T) -> T:
        """The value for the run's scale."""
        return smoke if self.scale == "smoke" else full

    def seeded(self) -> None:
        """Seed PyTorch; call it right before a model is built."""
        torch.manual_seed(self.seed)

    def note(self, **figures: float | int | str) -> None:
        """Put figures into the record."""
        self.record.notes.update(figures)

    def note_size(self, model: nn.Module) -> None:
        """Put the number of a model's parameters into the record."""
        self.note(parameters=_size(model.parameters()))

    def fit(
        self,
        phase: str,
        model: nn.Module,
        task: Task,
        schedule: Schedule,
        *,
        batch: int = 32,
        hooks: Sequence[Hook] = (),
        gradient: Gradient = plain,
    ) -> None:
        """Train a model for one phase.

        Parameters
        ----------
        phase : str
        model, task, schedule
        batch : int
            Samples per step.
        hooks : sequence of Hook
            Called in this order.
        gradient : Gradient
            How the gradients of a step are computed.

        Raises
        ------
        WorkloadError
            The batch is larger than the data set; the checkpoint cannot be used; nothing can be trained; or the loss
            stopped being finite.
        """
        if batch > len(task):
            raise WorkloadError(f"a batch of {batch} is more than the {len(task)} training samples of {task.name}")
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not learning:
            raise WorkloadError(f"phase {phase}: every parameter is frozen; there is nothing to train")
        optimizer = schedule.optimizer(learning)
        steps = schedule.steps if self.max_steps is None else min(self.max_steps, schedule.steps)
        told = Phase(phase, batch, schedule.steps, _size(model.parameters()), _size(learning))
        of = {"phase": phase, "data": task.name, "samples": len(task), "batch": batch, **asdict(schedule)}
        if self.checkpoint is not None and os.path.lexists(self.checkpoint):
            if hooks or self.record.phases:
                raise WorkloadError(
                    f"{self.checkpoint}: only a training of one phase, without hooks, can go on from a checkpoint"
                )
            told.losses = load_checkpoint(self.checkpoint, model, optimizer, self.seed, of)
            told.samples = len(told.losses) * batch
            if len(told.losses) > schedule.steps:
                raise WorkloadError(
                    f"{self.checkpoint}: has {len(told.losses)} steps of {schedule.steps}; remove it to start anew"
                )
        self.record.phases.append(told)
        model.train()
        for hook in hooks:
            hook.start(model, task)
        each = _Steps(told, model, task.loss, optimizer, hooks, gradient, self.observer, steps)
        begun = time.process_time()
        for step in range(len(told.losses) + 1, steps + 1):
            indices = batch_indices(len(task), batch, self.seed, step)
            for hook in hooks:
                indices = hook.indices(step, indices)
            indices = indices[: self.observer.batch(phase, step, steps)]
            loss = each.take(step, schedule.rate_at(step), task.rows(indices))
            told.losses.append(loss)
            told.samples += len(indices)
            if not math.isfinite(loss):
                raise WorkloadError(f"phase {phase}, step {step}: the loss is {loss}; training diverged")
            self.progress(phase, step, steps, loss)
            # Not after the last step: a finished run can then be repeated from shortly before its end, to capture more.
            if self.checkpoint is not None and step % CHECKPOINT_EVERY == 0 and step < schedule.steps:
                save_checkpoint(self.checkpoint, model, optimizer, self.seed, told.losses, of)
        told.cpu_seconds = time.process_time() - begun
        for hook in hooks:
            hook.finish(model)

    @torch.no_grad()
    def score(
        self,
        phase: str,
        model: nn.Module,
        task: Task,
        *,
        limit: int = 2000,
        forward: Callable[[nn.Module, Tensor], Tensor] | None = None,
    ) -> float:
        """Score a model on held-out samples, in evaluation mode; the last score of a run is its result.

        Parameters
        ----------
        phase : str
            After which phase, or of what.
        model, task
        limit : int
            At most the first so many held-out samples.
        forward : callable, optional
            In place of the plain forward pass: (model, inputs) to outputs.

        Returns
        -------
        float
            The task's metric.
        """
        model.eval()
        outputs, targets = [], []
        for indices in torch.arange(min(limit, task.tests)).split(SCORED_AT_ONCE):  # type: ignore[no-untyped-call]  # torch's
            batch = task.rows(indices, train=False)
            outputs.append(model(batch.inputs) if forward is None else forward(model, batch.inputs))
            targets.append(batch.targets)
        model.train()
        output, target = torch.cat(outputs), torch.cat(targets)
        value = task.score(output, target)
        self.record.scores.append(
            Score(phase, task.metric, value, float(task.loss(output, target)), len(target), task.higher_is_better)
        )
        return value


def batch_indices(samples: int, batch: int, seed: int, step: int) -> Tensor:
    """Rows of a step's samples: each epoch a fresh permutation, its incomplete last batch dropped.

    Parameters
    ----------
    samples, batch, seed : int
    step : int
        Counted from 1.
    """
    per_epoch = samples // batch
    epoch, place = divmod(step - 1, per_epoch)
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return order[place * batch : (place + 1) * batch]


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
