"""Layer-specific optimisation: basis convolutions in those layers of a ResNet-18 that bear it.

A short dense training tells which layers do: each is replaced alone, without training, and the loss on training images
says what that costs.  The half that costs least is replaced for the rest of the training, which is what gets cheaper:
forward pass and both gradients.  Source: arXiv 2408.06024; spec page techniques.md, 2.12.
"""

from dataclasses import replace

import torch
from torch import nn

from simhw.errors import WorkloadError, quoted
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.lowrank.basis import sensitivities, with_bases
from simhw_workloads.models.resnet import resnet18 as build_resnet18
from simhw_workloads.record import Record
from simhw_workloads.task import Task
from simhw_workloads.techniques import resnet18
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

SHARE = 0.25
"""Of a layer's filters that are its basis."""
REPLACED = 0.5
"""Of the layers, the least sensitive."""
DENSE_SHARE = 0.3
"""Of the steps that come first, densely."""
ASKED = 256
"""Training images that sensitivities are measured on."""


def wide_paths(model: nn.Module) -> list[str]:
    """The 3x3 convolutions of the blocks."""
    return [
        path
        for path, each in model.named_modules()
        if isinstance(each, nn.Conv2d) and path.startswith("layer") and each.kernel_size == (3, 3)
    ]


def training_loss(model: nn.Module, task: Task) -> float:
    """The loss in evaluation on the first training images."""
    training = model.training
    model.eval()
    batch = task.rows(torch.arange(min(ASKED, len(task))))
    with torch.no_grad():
        loss = float(task.loss(model(batch.inputs), batch.targets))
    model.train(training)
    return loss


def basis(run: Run, replaced: float = REPLACED) -> nn.Module:
    """Dense for a while, and with bases in a share of the layers."""
    model, task = resnet18.narrow(run)
    steps = run.pick(20, resnet18.STEPS)
    dense = round(DENSE_SHARE * steps)
    resnet18.fitted(run, "dense", model, task, dense)
    cost = sensitivities(model, wide_paths(model), SHARE, lambda each: training_loss(each, task))
    chosen = sorted(cost, key=lambda path: cost[path])[: round(replaced * len(cost))]
    run.note(**{f"loss rises, {path}": round(rise, 4) for path, rise in cost.items()}, bases=", ".join(sorted(chosen)))
    with_bases(model, chosen, SHARE)
    run.note_size(model)
    resnet18.score(run, "replaced", model, task)
    resnet18.fitted(run, "bases", model, task, steps - dense)
    return model


def noted_bases(model: nn.Module, record: Record) -> list[str]:
    """The layers of a model that got a basis in a run.

    Raises
    ------
    WorkloadError
        The record does not name them, or a layer that the model does not have.
    """
    told, known = str(record.noted("bases")), wide_paths(model)
    chosen = told.split(", ") if told else []
    for path in chosen:
        if path not in known:
            raise WorkloadError(f"the run's note 'bases' names {quoted(path)}, no 3x3 convolution of the blocks")
    return chosen


def _full(run: Run) -> Network:
    """The published ResNet-18 with bases in the layers of a run."""
    with torch.device("meta"):
        model = build_resnet18()
    with_bases(model, noted_bases(model, run.record), SHARE)
    return replace(network_of(model, torch.zeros(1, 3, 224, 224)), name="resnet18-bases")


WORKLOADS = (
    replace(
        resnet18.DENSE,
        name="basis-convolutions",
        summary="the half of the layers that bear it convolve a quarter of their filters and mix the others from them",
        family="low rank",
        technique="basis convolutions, layers by sensitivity",
        train=basis,
        phases=("dense", "bases"),
        baseline=resnet18.DENSE.name,
        paper="arXiv 2408.06024",
        headline="ResNet-18 on CIFAR-10: forward and backward faster where layers are chosen, less accurate where all "
        "are replaced; figures not at hand",
        signature=replace(resnet18.SIGNATURE, zeros_a=Bounds(0.1, 0.7), macs=Bounds(0.4, 0.9)),
        shapes=_full,
    ),
)
