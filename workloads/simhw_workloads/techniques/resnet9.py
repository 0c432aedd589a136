"""ResNet-9 on 5,000 images: plainly trained, and by the recipe that won a contest of hardware-aware efficient training.

The recipe: fixed whitening filters in the stem, CELU, ghost batch norm, label smoothing, sharpness-aware minimisation,
centralised gradients, an exponential moving average of the weights, augmentation, and evaluation of every image with
its mirror image.  The paper names meta-learning besides, of which it does not say enough to build it: it is left out.
Source: arXiv 2309.03965; spec page techniques.md, 5.6.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data import load
from simhw_workloads.gradients import sharpness_aware
from simhw_workloads.hooks import FlipAndShift, GradientCentralisation, MovingAverage
from simhw_workloads.models.resnet9 import haet_resnet9, resnet9, whiten
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

IMAGES = 5000
BATCH = 48
EPOCHS = 8
SMOOTHING = 0.1
GHOST = 24
DECAY = 0.98
SHIFT = 2


def _task(run: Run) -> Task:
    return load(run.pick("mnist5k", "fashion"), run.data).task(size=run.pick(16, None)).limited(run.pick(64, IMAGES))


def _schedule(run: Run) -> Schedule:
    return Schedule(run.pick(4, EPOCHS * (IMAGES // BATCH)), rate=0.1, warmup=run.pick(1, 80), weight_decay=5e-4)


def plain(run: Run) -> nn.Module:
    """Batch norm, ReLU, and nothing of the recipe, for as many epochs."""
    task = _task(run)
    run.seeded()
    model = resnet9(run.pick(0.125, 0.25), 10, 1)
    run.fit("train", model, task, _schedule(run), batch=run.pick(8, BATCH))
    run.score("train", model, task, limit=run.pick(100, 2000))
    return model


def haet(run: Run) -> nn.Module:
    """The whole recipe."""
    task = _task(run)
    run.seeded()
    model = haet_resnet9(run.pick(0.125, 0.25), 10, 1, ghost=run.pick(4, GHOST))
    whiten(model, task.rows(torch.arange(min(1000, len(task)))).inputs)
    smoothed = replace(task, loss=partial(nn.functional.cross_entropy, label_smoothing=SMOOTHING))
    hooks = [FlipAndShift(SHIFT, run.seed), GradientCentralisation(), MovingAverage(run.pick(0.5, DECAY))]
    run.fit("train", model, smoothed, _schedule(run), batch=run.pick(8, BATCH), hooks=hooks, gradient=sharpness_aware())
    run.score("train, one look", model, task, limit=run.pick(100, 2000))
    run.score("train", model, task, limit=run.pick(100, 2000), forward=with_mirror_image)
    return model


def with_mirror_image(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of images and of their mirror images, averaged: flip test-time augmentation."""
    logits: Tensor = (model(images) + model(images.flip(3))) / 2
    return logits


class _Twice(nn.Module):
    """Both passes of sharpness-aware minimisation, or of an image and its mirror image: twice the arithmetic."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x) + self.model(x)
        return logits


def _full(recipe: bool) -> Network:
    with torch.device("meta"):
        model = _Twice(haet_resnet9()) if recipe else resnet9()
    return network_of(model, torch.zeros(1, 3, 32, 32), "resnet9-haet" if recipe else "resnet9")


DENSE = Workload(
    name="resnet9-plain",
    summary=f"ResNet-9 on 5,000 images, {EPOCHS} epochs of plain training",
    model="ResNet-9 (width 0.25)",
    dataset="Fashion-MNIST at 1x28x28, 5,000 images",
    train=plain,
    phases=("train",),
    budget_s=400,
    # ReLU makes zeros in A; batch norm before every ReLU keeps G dense but for max pools, which pass a quarter of
    # it on.
    signature=Signature(
        zeros_a=Bounds(0.1, 0.6), zeros_w=Bounds(0, 0.001), zeros_g=Bounds(0, 0.1), weight_grad=Bounds(1, 1)
    ),
    shapes=lambda _: _full(recipe=False),
    roofline_batch=512,
)

WORKLOADS = (
    DENSE,
    replace(
        DENSE,
        name="resnet9-haet",
        summary="the contest's recipe on 5,000 images: whitening, sharpness-aware steps, averaged weights, mirrored "
        "evaluation",
        family="data efficiency",
        technique="HAET recipe",
        train=haet,
        budget_s=600,
        baseline=DENSE.name,
        paper="arXiv 2309.03965",
        headline="88% on CIFAR-10 from 5,000 of its images in less than 10 minutes: first place of a contest",
        # CELU makes no zeros.  Two passes double the arithmetic; the whitening layer has no weight gradient.
        signature=replace(
            DENSE.signature, zeros_a=Bounds(0, 0.02), macs=Bounds(1.9, 2.4), weight_grad=Bounds(0.9, 0.999)
        ),
        shapes=lambda _: _full(recipe=True),
    ),
)
