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
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.checkpoint import load_checkpoint, save_checkpoint
from simhw_workloads.count import mac_counter
from simhw_workloads.record import Phase, Record, Score
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Batch, Task

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
        begun = time.process_time()
        for step in range(len(told.losses) + 1, steps + 1):
            indices = batch_indices(len(task), batch, self.seed, step)
            for hook in hooks:
                indices = hook.indices(step, indices)
            indices = indices[: self.observer.batch(phase, step, steps)]
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate_at(step)
            loss = self._step(told, model, task.rows(indices), task.loss, optimizer, hooks, gradient, step, steps)
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

    def _step(
        self,
        told: Phase,
        model: nn.Module,
        batch: Batch,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        hooks: Sequence[Hook],
        gradient: Gradient,
        step: int,
        steps: int,
    ) -> float:
        """One step.  The multiply-accumulates of a phase's first step are counted."""

        def closure() -> Tensor:
            output = model(given.inputs)
            loss = loss_of(output, given.targets)
            for hook in hooks:
                penalty = hook.loss(model, output, given)
                loss = loss if penalty is None else loss + penalty
            return loss

        given = batch
        counter = mac_counter() if not told.step_macs else None
        with self.observer.step(model, told.name, step, steps, len(given.indices)):
            with counter or nullcontext():
                for hook in hooks:
                    given = hook.batch(model, given)
                loss = gradient(model, closure)
            for hook in hooks:
                hook.gradients(model)
            optimizer.step()
            optimizer.zero_grad()
            for hook in hooks:
                hook.stepped(model, step)
        if counter is not None:
            told.step_macs = counter.macs
        return loss.item()

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
