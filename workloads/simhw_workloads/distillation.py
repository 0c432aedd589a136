"""A teacher that a smaller model of the same build learns from: at every step of its states, and at its answers."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw_workloads.models.lstm import LstmModel
from simhw_workloads.task import Batch
from simhw_workloads.train import Hook


class StateDistillation(Hook):
    """Adds to the loss how far states and answers are from the teacher's.

    L = L_task + a MSE(states, teacher's) + b KL(teacher's answers, answers); states are the outputs of all cells at
    every time step.  The teacher runs forward only.  Source: AntMan, arXiv 1910.01740; the weights are ours.

    Parameters
    ----------
    teacher : LstmModel
        As many states as the model that learns; it does not change.
    states, answers : float
        a and b.
    """

    def __init__(self, teacher: LstmModel, states: float, answers: float) -> None:
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.states, self.answers = states, answers

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor:
        """Both distances, weighted; both are means: over values, and over predicted tokens."""
        assert isinstance(model, LstmModel)
        with torch.no_grad():
            wanted = self.teacher(batch.inputs)
        apart = functional.mse_loss(torch.stack(model.states), torch.stack(self.teacher.states))
        return self.states * apart + self.answers * answers_apart(output, wanted)


def answers_apart(output: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of logits (B, tokens, classes) from a teacher's: mean over tokens, in nats."""
    return functional.kl_div(
        output.flatten(0, 1).log_softmax(1), wanted.flatten(0, 1).log_softmax(1), reduction="batchmean", log_target=True
    )
