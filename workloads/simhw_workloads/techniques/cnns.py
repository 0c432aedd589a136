"""The convolutional networks of FPRaker's and TensorDash's evaluations, plainly trained at reduced width.

The papers trained them on ImageNet, which no machine without a network has: Fashion-MNIST, scaled to 32 x 32, stands in
its place.  AlexNet, VGG16 and SqueezeNet have no batch norm, as published: their G keep the zeros of ReLU and of
pooling.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data import load
from simhw_workloads.models.alexnet import alexnet
from simhw_workloads.models.densenet import densenet121
from simhw_workloads.models.resnet import resnet18
from simhw_workloads.models.squeezenet import squeezenet1_1
from simhw_workloads.models.vgg import vgg16
from simhw_workloads.schedule import Schedule
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

PIXELS = 32
BATCH = 32
SMOKE_WIDTH = 0.125
Build = Callable[..., nn.Module]
NORMALISED = Signature(
    zeros_a=Bounds(0.2, 0.7), zeros_w=Bounds(0, 0.001), zeros_g=Bounds(0, 0.1), weight_grad=Bounds(1, 1)
)
"""Of a network whose batch norms fill G before each ReLU."""


def train(
    run: Run, *, build: Build, width: float, steps: int, rate: float, kind: Literal["sgd", "adamw"] = "sgd"
) -> nn.Module:
    """A network at that width, on grey images.

    Parameters
    ----------
    run : Run
    build : callable
        (classes, width, channels, small_input) to the network.
    width, steps, rate
        At full scale.
    kind : {"sgd", "adamw"}
        The optimizer.
    """
    task = load(run.pick("mnist5k", "fashion"), run.data).task(size=PIXELS)
    run.seeded()
    model = build(10, run.pick(SMOKE_WIDTH, width), 1, small_input=True)
    schedule = Schedule(run.pick(4, steps), rate, warmup=run.pick(1, 100), kind=kind, weight_decay=5e-4)
    run.fit("train", model, task, schedule, batch=run.pick(8, BATCH))
    run.score("train", model, task, limit=run.pick(100, 2000))
    return model


def full_size(_: Run, *, build: Build) -> Network:
    """The published network by shape, for images of 3 x 224 x 224."""
    with torch.device("meta"):
        model = build()
    return network_of(model, torch.empty(1, 3, 224, 224))


ALEXNET = Workload(
    name="alexnet",
    summary="AlexNet, no batch norm, at a quarter of its width",
    model="AlexNet (width 0.25)",
    dataset=f"Fashion-MNIST at 1x{PIXELS}x{PIXELS}, in ImageNet's place",
    train=partial(train, build=alexnet, width=0.25, steps=1500, rate=0.02),
    family="papers",
    budget_s=400,
    phases=("train",),
    paper="arXiv 1404.5997",
    headline="AlexNet of TensorDash's networks, there on ImageNet",
    signature=Signature(
        zeros_a=Bounds(0.2, 0.85), zeros_w=Bounds(0, 0.001), zeros_g=Bounds(0.4, 0.97), weight_grad=Bounds(1, 1)
    ),
    shapes=partial(full_size, build=alexnet),
    early=100,
)

WORKLOADS = (
    ALEXNET,
    replace(
        ALEXNET,
        name="vgg16",
        summary="VGG16, no batch norm, at a quarter of its width",
        model="VGG-16 (width 0.25)",
        train=partial(train, build=vgg16, width=0.25, steps=1500, rate=0.02),
        paper="arXiv 1409.1556",
        headline="VGG16 of FPRaker's and TensorDash's networks, there on ImageNet",
        shapes=partial(full_size, build=vgg16),
    ),
    replace(
        ALEXNET,
        name="squeezenet",
        summary="SqueezeNet 1.1, no batch norm, at half its width",
        model="SqueezeNet 1.1 (width 0.5)",
        # Momentum alone learns nothing in 1,200 steps at a rate of 0.02, nor in 200 at 0.005: all classes stay alike.
        train=partial(train, build=squeezenet1_1, width=0.5, steps=900, rate=1e-3, kind="adamw"),
        paper="arXiv 1602.07360",
        headline="SqueezeNet 1.1 of FPRaker's and TensorDash's networks, there on ImageNet",
        shapes=partial(full_size, build=squeezenet1_1),
    ),
    replace(
        ALEXNET,
        name="resnet18",
        summary="ResNet-18 with batch norm at a quarter of its width",
        model="ResNet-18 (width 0.25)",
        train=partial(train, build=resnet18, width=0.25, steps=800, rate=0.05),
        paper="arXiv 1512.03385",
        headline="ResNet18 of FPRaker's study of accumulator widths, there on ImageNet",
        signature=NORMALISED,
        shapes=partial(full_size, build=resnet18),
    ),
    replace(
        ALEXNET,
        name="densenet121",
        summary="DenseNet-121 with batch norm at a quarter of its width",
        model="DenseNet-121 (width 0.25)",
        train=partial(train, build=densenet121, width=0.25, steps=250, rate=0.05),
        paper="arXiv 1608.06993",
        headline="DenseNet121 of TensorDash's networks, there on ImageNet",
        signature=NORMALISED,
        shapes=partial(full_size, build=densenet121),
    ),
)
