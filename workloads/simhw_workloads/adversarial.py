"""Adversarial training: half of what a step trains on is moved, within a small box, to where the loss is highest.

Projected gradient descent finds the place: it starts at a random point of the box and takes a few steps along the sign
of the loss's gradient.  Each of them is a forward pass and a backward pass to the inputs, with weights that stand
still: no weight gradient is computed.  Source: Madry et al., arXiv 1706.06083.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from simhw_workloads.task import Batch, LossFunction, Task
from simhw_workloads.train import Hook

STRIDE = 2.5
"""Length of all steps together, in halves of the box's edge: across it with a quarter to spare (Madry et al.)."""


@dataclass(frozen=True)
class Attack:
    """Projected gradient descent in a box around each input.

    Attributes
    ----------
    radius : float
        Half the box's edge, as a share of the range of the inputs.
    steps : int
    """

    radius: float
    steps: int

    def moved(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, loss: LossFunction, random: torch.Generator
    ) -> Tensor:
        """The inputs where the attack ends, within the box and within the range of the inputs given.

        The model is attacked as it answers, in evaluation mode.
        """
        low, high = float(inputs.min()), float(inputs.max())
        edge = self.radius * (high - low)
        move = (2 * torch.rand(inputs.shape, generator=random) - 1) * edge
        with _answering(model), torch.enable_grad():
            for _ in range(self.steps):
                place = (inputs + move).clamp(low, high).requires_grad_(True)
                # Nothing else asks for gradients, so this computes none but the input's.
                loss(model(place), targets).backward()  # type: ignore[no-untyped-call]  # torch's
                assert place.grad is not None
                moved = place.detach() + STRIDE * edge / self.steps * place.grad.sign()
                move = (moved - inputs).clamp(-edge, edge)
        return (inputs + move).clamp(low, high)


class Adversarial(Hook):
    """Adds the attacked inputs of a batch to it.  The loss is the mean of both halves.

    Parameters
    ----------
    attack : Attack
    loss : callable
        (output, targets) to the mean over samples.
    seed : int
        Of where attacks start.
    """

    def __init__(self, attack: Attack, loss: LossFunction, seed: int) -> None:
        self.attack, self.loss_function = attack, loss
        self._random = torch.Generator().manual_seed(seed)

    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        """The batch, and behind it the same samples attacked."""
        moved = self.attack.moved(model, batch.inputs, batch.targets, self.loss_function, self._random)
        return batch._replace(inputs=torch.cat([batch.inputs, moved]), targets=torch.cat([batch.targets] * 2))


def attacked(model: nn.Module, task: Task, attack: Attack, limit: int, seed: int) -> Task:
    """A task whose held-out samples are the first so many of another's, attacked for this very model."""
    random, moved, labels = torch.Generator().manual_seed(seed), [], []
    for indices in torch.arange(min(limit, task.tests)).split(100):  # type: ignore[no-untyped-call]  # torch's
        batch = task.rows(indices, train=False)
        moved.append(attack.moved(model, batch.inputs, batch.targets, task.loss, random))
        labels.append(batch.targets)
    samples = torch.cat(moved), torch.cat(labels)
    return replace(
        task,
        name=f"{task.name}, attacked in {attack.steps} steps within {attack.radius:g}",
        train=samples,
        test=samples,
        prepare=lambda columns: (columns[0], columns[1]),
    )


@contextmanager
def _answering(model: nn.Module) -> Iterator[None]:
    """Within, a model is in evaluation mode and its parameters need no gradients; then all is as it was."""
    training = model.training
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        model.train(training)
