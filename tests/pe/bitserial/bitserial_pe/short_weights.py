"""Short weights: the small CNN is trained on with weights of few significand bits, which bit-serial PEs take faster."""

from dataclasses import replace

import torch
from torch import nn

from simhw_workloads.data import load
from simhw_workloads.models.small_cnn import SmallCNN
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.techniques.dense import SMALL_CNN
from simhw_workloads.train import Hook, Run

BITS = 3
"""Of a significand, the hidden one among them."""


class ShortWeights(Hook):
    """Weights are rounded to few bits before training and after every step."""

    def start(self, model: nn.Module, task: Task) -> None:
        self.stepped(model, 0)

    def stepped(self, model: nn.Module, step: int) -> None:
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                mantissa, exponent = torch.frexp(module.weight.data)
                module.weight.data = torch.ldexp(torch.round(mantissa * 2**BITS) / 2**BITS, exponent)


def train_short_weights(run: Run) -> nn.Module:
    """The small CNN, trained densely and then with short weights."""
    task = load("digits", run.data).task()
    run.seeded()
    model = SmallCNN(8)
    run.fit("dense", model, task, Schedule(steps=run.pick(30, 150), rate=0.02, warmup=20), batch=8)
    run.fit("short", model, task, Schedule(steps=run.pick(10, 150), rate=0.01), batch=8, hooks=[ShortWeights()])
    run.score("short", model, task)
    return model


SHORT_WEIGHTS = replace(
    SMALL_CNN,
    name="short-weights",
    summary="weights of three significand bits, for bit-serial hardware; seconds",
    family="others",
    technique="short weights",
    train=train_short_weights,
    phases=("dense", "short"),
    baseline=SMALL_CNN.name,
)
