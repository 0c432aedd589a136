"""One training loop for every recipe: seeded, resumable, and watched by whoever wants to see a step.

The batches of a step depend on the seed and the step's number only, so a run that goes on from a checkpoint does what
the uninterrupted run would have done (on the same number of threads: sums are split among them).
"""

import json
import math
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.output import replacing
from workloads.data import Images

CHECKPOINT_EVERY = 100

StepContext = Callable[[int], AbstractContextManager[object]]


def _unobserved(model: nn.Module) -> StepContext:  # noqa: ARG001  # an observer is made for a model
    return nullcontext


def _silent(step: int, steps: int, loss: float) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Run:
    """What the person who starts a recipe decides.

    Attributes
    ----------
    seed : int
        Of the initial weights and the order of the images.
    max_steps : int, optional
        Stop after this many steps; the learning-rate schedule stays that of the whole recipe.
    data : Path, optional
        Folder of the data set, where it needs one.
    checkpoint : Path, optional
        Written every 100 steps; a run that finds it goes on from there.
    batch_at : mapping of step to int
        The steps that are to be observed, and how many images of the ordinary batch each of them takes.
    observe : callable
        Given the model, gives a function of the step's number whose context manager spans that step.
    progress : callable
        Called after each step with the step, the number of steps and the loss.
    """

    seed: int = 0
    max_steps: int | None = None
    data: Path | None = None
    checkpoint: Path | None = None
    batch_at: Mapping[int, int] = field(default_factory=dict)
    observe: Callable[[nn.Module], StepContext] = _unobserved
    progress: Callable[[int, int, float], None] = _silent


@dataclass(frozen=True)
class Outcome:
    """A trained model; `losses[i]` is the training loss of step i + 1, accuracy and loss are of `tested` held-out images."""

    model: nn.Module
    losses: list[float]
    test_accuracy: float
    test_loss: float
    tested: int
    seconds: float


@dataclass(frozen=True)
class Schedule:
    """Stochastic gradient descent with Nesterov momentum; the rate rises linearly, then falls along half a cosine."""

    steps: int
    rate: float
    warmup: int
    momentum: float = 0.9
    weight_decay: float = 5e-5

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 1."""
        if step <= self.warmup:
            return self.rate * step / self.warmup
        done = (step - self.warmup) / (self.steps - self.warmup + 1)
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def batch_indices(images: int, batch: int, seed: int, step: int) -> Tensor:
    """Indices of a step's images: each epoch a fresh permutation, its incomplete last batch dropped.

    Parameters
    ----------
    images, batch, seed : int
    step : int
        Counted from 1.
    """
    per_epoch = images // batch
    epoch, place = divmod(step - 1, per_epoch)
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return order[place * batch : (place + 1) * batch]


def fit(
    run: Run,
    model: nn.Module,
    images: Images,
    schedule: Schedule,
    batch: int,
    size: int | None = None,
    channels: int = 1,
    tested: int = 2000,
) -> Outcome:
    """Train a classifier with cross-entropy, and test it on held-out images.

    Parameters
    ----------
    run, model, images, schedule
    batch : int
        Images per step.
    size, channels : int
        The form in which the model takes its images; see `workloads.data.Images.batch`.
    tested : int
        At most this many held-out images are classified at the end.

    Raises
    ------
    WorkloadError
        The checkpoint is of another model or seed or past a step to observe; or the loss stopped being finite.
    """
    if batch > len(images.train_labels):
        raise WorkloadError(f"a batch of {batch} is more than the {len(images.train_labels)} training images of {images.name}")
    optimizer = torch.optim.SGD(
        model.parameters(), lr=schedule.rate, momentum=schedule.momentum, nesterov=True, weight_decay=schedule.weight_decay
    )
    steps = schedule.steps if run.max_steps is None else min(run.max_steps, schedule.steps)
    losses: list[float] = []
    if run.checkpoint is not None and run.checkpoint.exists():
        losses = load_checkpoint(run.checkpoint, model, optimizer, run.seed)
        missed = [step for step in run.batch_at if step <= len(losses)]
        if missed:
            raise WorkloadError(f"{run.checkpoint}: is {len(losses)} steps on, past step {missed[0]}; remove it or leave that step out")
    observed = run.observe(model)
    start = time.perf_counter()
    model.train()
    for step in range(len(losses) + 1, steps + 1):
        indices = batch_indices(len(images.train_labels), batch, run.seed, step)[: run.batch_at.get(step, batch)]
        x, y = images.batch(indices, size, channels)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step)
        with observed(step):
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise WorkloadError(f"step {step}: the loss is {losses[-1]}; training diverged")
        run.progress(step, steps, losses[-1])
        # Not after the last step: so a finished run can be gone over again from shortly before its end, to capture more of it.
        if run.checkpoint is not None and step % CHECKPOINT_EVERY == 0 and step < schedule.steps:
            save_checkpoint(run.checkpoint, model, optimizer, run.seed, losses)
    seconds = time.perf_counter() - start
    accuracy, test_loss, count = evaluate(model, images, size, channels, tested)
    return Outcome(model, losses, accuracy, test_loss, count, seconds)


@torch.no_grad()
def evaluate(model: nn.Module, images: Images, size: int | None, channels: int, tested: int) -> tuple[float, float, int]:
    """Accuracy (0 to 1), mean cross-entropy and number of the first `tested` held-out images, in evaluation mode."""
    model.eval()
    count = min(tested, len(images.test_labels))
    correct, loss = 0, 0.0
    for indices in torch.arange(count).split(100):  # type: ignore[no-untyped-call]
        x, y = images.batch(indices, size, channels, train=False)
        logits = model(x)
        correct += int((logits.argmax(1) == y).sum())
        loss += float(nn.functional.cross_entropy(logits, y, reduction="sum"))
    model.train()
    return correct / count, loss / count, count


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, seed: int, losses: list[float]) -> None:
    """Write weights, optimizer state and loss curve as plain arrays (an ``.npz``, no pickle), atomically."""
    arrays = {f"model/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{key}": value.numpy() for key, value in state.items() if isinstance(value, Tensor)}
    about = json.dumps({"seed": seed, "losses": losses})
    # Through an open file: given a name, numpy would append a suffix to one that has none.
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, about=np.frombuffer(about.encode(), np.uint8), **arrays)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> list[float]:
    """Put weights and optimizer state back; give the losses of the steps done.

    Raises
    ------
    WorkloadError
        Not a checkpoint, or one of another model or seed.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files if name != "about"}
        found_seed, losses = int(about["seed"]), [float(loss) for loss in about["losses"]]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise WorkloadError(f"{path}: not a checkpoint of simhw ({error}); remove it to start anew") from error
    if found_seed != seed:
        raise WorkloadError(f"{path}: a checkpoint of seed {found_seed}, not {seed}; remove it or give --seed {found_seed}")
    state: dict[int, dict[str, Any]] = {}
    for name, array in arrays.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/", 2)
            state.setdefault(int(index), {})[key] = array
    try:
        model.load_state_dict({name.removeprefix("model/"): array for name, array in arrays.items() if name.startswith("model/")})
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (RuntimeError, ValueError, KeyError) as error:
        raise WorkloadError(f"{path}: a checkpoint of another model ({str(error).splitlines()[0]}); remove it to start anew") from error
    return losses
