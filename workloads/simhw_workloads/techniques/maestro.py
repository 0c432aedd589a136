"""Maestro: the ranks of a network fall while it is trained, from the first step on.

All layers are pairs of full rank at first, which is more arithmetic than the layers themselves, and each step takes two
passes.  After every phase the components that have become small are taken out.  Source: arXiv 2308.14929; spec page
techniques.md, 2.15.
"""

from dataclasses import replace

import torch
from torch import nn

from simhw.roofline.compression.decompose import decomposable
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.lowrank.components import above, cut, pair_ranks, pair_up
from simhw_workloads.lowrank.noted import full_ranks, note_ranks, noted_ranks
from simhw_workloads.lowrank.ordered import OrderedDropout, order
from simhw_workloads.models.resnet import resnet18 as build_resnet18
from simhw_workloads.record import Record
from simhw_workloads.techniques import resnet18
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

PHASES = 6
STRENGTH = 1e-3
"""Of the hierarchical group lasso."""
LEAST = 2e-2
"""A component below this share of its pair's largest is taken out; as strength, ours for this network.

Batch norm stands behind every pair, so that only shares mean anything.
"""


def pair_full_ranks(model: nn.Module) -> dict[str, int]:
    """The layers that are taken apart, all but the first and the shortcuts, and the full ranks of their pairs."""
    channels = next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))
    layers = decomposable(network_of(model, torch.zeros(1, channels, 16, 16)))
    return full_ranks(model, [layer.name for layer in layers], pairs=True)


def maestro(run: Run) -> nn.Module:
    """Six phases at falling ranks."""
    model, task = resnet18.narrow(run)
    full = pair_full_ranks(model)
    order(pair_up(model, full))
    run.note(rank_before=sum(pair_ranks(model).values()))
    hook = OrderedDropout(run.pick(0.03, STRENGTH), run.seed)
    for number in range(1, PHASES + 1):
        # A new optimizer for the smaller factors; its rate falls from phase to phase.
        rate = 0.05 * (1 - (number - 1) / PHASES)
        steps = run.pick(12, resnet18.STEPS // PHASES)
        resnet18.fitted(run, f"part-{number}", model, task, steps, rate, (hook,), hook.gradient)
        if number < PHASES:
            cut(model, above(model, lambda sizes: LEAST * float(sizes.max())))
            run.note(**{f"rank_after_{number}": sum(pair_ranks(model).values())})
    note_ranks(run, pair_ranks(model), full)
    run.note_size(model)
    return model


def in_pairs(model: nn.Module, record: Record) -> nn.Module:
    """Put pairs in the place of layers, with the shares of full ranks that a run noted.

    The model has the depth of the one that was trained, and any width; its parameters may be on the meta device.
    """
    return pair_up(model, noted_ranks(record, pair_full_ranks(model)))


def full_in_pairs(run: Run) -> Network:
    """The published ResNet-18 with the ranks of a run."""
    with torch.device("meta"):
        model = build_resnet18()
    return replace(network_of(in_pairs(model, run.record), torch.zeros(1, 3, 224, 224)), name="resnet18-pairs")


WORKLOADS = (
    replace(
        resnet18.DENSE,
        name="maestro",
        summary="pairs of full rank, whose late components fade in training and are taken out five times",
        family="low rank",
        technique="Maestro",
        train=maestro,
        phases=tuple(f"part-{number}" for number in range(1, PHASES + 1)),
        baseline=resnet18.DENSE.name,
        paper="arXiv 2308.14929",
        headline="VGG19 on CIFAR-10: 93.10% with 2.20 M parameters",
        signature=replace(resnet18.SIGNATURE, zeros_a=Bounds(0.1, 0.7), macs=Bounds(0.2, 2.3)),
        budget_s=400,
        shapes=full_in_pairs,
        # The second is at a random rank in one pair of 17, and whole in all others.
        passes=2,
    ),
)
