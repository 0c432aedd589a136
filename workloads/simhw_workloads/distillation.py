"""A teacher that a smaller model of the same build learns from: at all its states, and at its answers."""

import copy
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw_workloads.task import Batch
from simhw_workloads.train import Hook


@runtime_checkable
class Stateful(Protocol):
    """A model that keeps the states of its last forward pass: of each layer as many, and with their graph."""

    states: list[Tensor]


class StateDistillation(Hook):
    """Adds to the loss how far states and answers are from the teacher's.

    L = L_task + a MSE(states, teacher's) + b KL(teacher's answers, answers); states are the outputs of all cells at
    every time step, or of all layers of a transformer at every token.  The teacher runs forward only, before the model
    that learns.  Source: AntMan, arXiv 1910.01740; the weights are ours.

    Parameters
    ----------
    teacher : Module
        `Stateful`, with as many states as the model that learns; it does not change.
    states, answers : float
        a and b.
    """

    def __init__(self, teacher: nn.Module, states: float, answers: float) -> None:
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.states, self.answers = states, answers
        self._wanted = torch.empty(0)

    @torch.no_grad()
    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        """Ask the teacher."""
        self._wanted = self.teacher(batch.inputs)
        return batch

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor:
        """Both distances, weighted; both are means: over values, and over predicted tokens."""
        assert isinstance(model, Stateful)
        assert isinstance(self.teacher, Stateful)
        apart = functional.mse_loss(torch.stack(model.states), torch.stack(self.teacher.states))
        return self.states * apart + self.answers * answers_apart(output, self._wanted)


def answers_apart(output: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of logits (..., classes) from a teacher's: mean over all but classes, in nats."""
    ours, teachers = (logits.flatten(0, -2).log_softmax(1) for logits in (output, wanted))
    return functional.kl_div(ours, teachers, reduction="batchmean", log_target=True)
