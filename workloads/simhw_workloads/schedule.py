"""How weights are updated in a phase of training: the optimizer, and its learning rate from step to step."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Schedule:
    """An optimizer whose rate rises linearly, then falls along half a cosine.

    Attributes
    ----------
    steps : int
    rate : float
        The highest.
    warmup : int
        Steps to it.
    kind : {"sgd", "adamw"}
        ``sgd`` has Nesterov momentum.
    momentum, weight_decay : float
    """

    steps: int
    rate: float
    warmup: int = 0
    kind: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-5

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 1."""
        if step <= self.warmup:
            return self.rate * step / self.warmup
        done = (step - self.warmup) / (self.steps - self.warmup + 1)
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of those parameters."""
        if self.kind == "adamw":
            return torch.optim.AdamW(parameters, lr=self.rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters, lr=self.rate, momentum=self.momentum, nesterov=self.momentum > 0, weight_decay=self.weight_decay
        )
