"""Pruning by reweighted regularisation, with four structures: single weights, filters, columns and blocks.

One penalty for all layers, whose factors are worked out anew from time to time; then what is small goes, and the rest
is trained on.  Pruned filters really go: the network becomes narrower.  Columns and blocks stay in place as zeros, and
the record says how many are left.  Source: arXiv 2004.05531; spec page techniques.md, 2.7.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import nn

from simhw.roofline.layers.network import Network
from simhw_workloads.constraints.channels import full_widths, keep_counts, keep_outputs
from simhw_workloads.constraints.masks import Held, Masks, clear, weight_of
from simhw_workloads.constraints.reweighted import (
    BLOCK,
    COLUMN,
    IRREGULAR,
    Group,
    Reweighted,
    channel,
    density,
    group_sizes,
    threshold_masks,
)
from simhw_workloads.lowrank.noted import noted_counts
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.techniques.digits import DENSE, SIGNATURE, by_shape, steps_of, train_on, trained
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

MILESTONES = 4
"""Of the penalty's factors in a phase, as in the published code."""
THRESHOLD = 0.1
"""In root mean squares of a layer.  Groups below it go: the penalty leaves few near it."""
HELD = 0.1
"""A group whose mask is smaller holds nothing: that of a single one among 16 weights is a quarter."""


Structure = Literal["irregular", "filter", "column", "block"]


@dataclass(frozen=True)
class Penalty:
    """The groups of each layer, and the penalty's strength: one for all layers."""

    groups: Callable[[DigitCNN], Mapping[str, Group]]
    strength: float
    smoke_strength: float


def _the_same(group: Group, *layers: str) -> Callable[[DigitCNN], Mapping[str, Group]]:
    return lambda _: dict.fromkeys(layers, group)


def _readers(model: DigitCNN) -> dict[str, Group]:
    """The groups that read a filter's channel, by the layer that reads."""
    found = {}
    for maker, reader in zip(model.ORDER[:-1], model.ORDER[1:], strict=True):
        made, weight = len(weight_of(model, maker)), weight_of(model, reader)
        found[reader] = channel(weight[0].numel() // made)
    return found


PENALTIES: dict[Structure, Penalty] = {
    "irregular": Penalty(_the_same(IRREGULAR, "conv2", "conv3", "fc1", "fc2"), 2e-5, 1e-4),
    "filter": Penalty(_readers, 1e-2, 3e-2),
    "column": Penalty(_the_same(COLUMN, "conv2", "conv3", "fc1"), 2e-3, 6e-3),
    "block": Penalty(_the_same(BLOCK, "conv2", "conv3", "fc1"), 1e-3, 3e-3),
}


def reweighted(run: Run, structure: Structure) -> nn.Module:
    """Train under the penalty, prune, and train on."""
    model, task = trained(run)
    penalty = PENALTIES[structure]
    groups = penalty.groups(model)
    strength = run.pick(penalty.smoke_strength, penalty.strength)
    hook = Reweighted(groups, strength, steps_of(run, 0.7) // MILESTONES)
    train_on(run, "regularised", model, task, 0.7, 1e-3, [hook])
    masks = threshold_masks(model, groups, THRESHOLD)
    run.note(density=round(density(masks), 4), **_groups_left(masks, groups))
    clear(model, masks)
    run.score("pruned", model, task)
    if structure == "filter":
        narrow(model, masks)
    run.note_size(model)
    train_on(run, "retrain", model, task, 0.3, 1e-3, [] if structure == "filter" else [Held(masks)])
    return model


def narrow(model: DigitCNN, masks: Masks) -> None:
    """Take out the filters whose readers' weights are all masked; the network computes what it did."""
    for maker, reader in zip(model.ORDER[:-1], model.ORDER[1:], strict=True):
        made = len(weight_of(model, maker))
        keep_outputs(model, maker, masks[reader].reshape(-1, made, masks[reader][0].numel() // made).any(2).any(0))


def _without_filters(run: Run) -> Network:
    """The CNN with as many filters as a run left."""
    with torch.device("meta"):
        model = DigitCNN()
    notes = dict(zip(model.ORDER[:-1], (f"groups_left_{reader}" for reader in model.ORDER[1:]), strict=True))
    return by_shape(keep_counts(model, noted_counts(run.record, notes, full_widths(model))))


def _groups_left(masks: Masks, groups: Mapping[str, Group]) -> dict[str, str]:
    found = {}
    for path, mask in masks.items():
        held = group_sizes(mask.float(), groups[path]) > HELD
        found[f"groups_left_{path}"] = f"{int(held.sum())} of {held.numel()}"
    return found


_IRREGULAR = replace(
    DENSE,
    name="reweighted-irregular",
    summary="single weights pruned by a reweighted penalty",
    family="pruning",
    technique="reweighted regularisation, irregular",
    train=partial(reweighted, structure="irregular"),
    phases=("dense", "regularised", "retrain"),
    baseline=DENSE.name,
    paper="arXiv 2004.05531",
    headline="LeNet-5 with 630 times fewer weights, AlexNet 45, MobileNet 7.2, ResNet-50 3.2, without loss of accuracy",
    signature=replace(SIGNATURE, zeros_w=Bounds(0.7, 0.97), terms_w=Bounds(0.1, 1.1), macs=Bounds(1, 1)),
    # Zeros in place leave all shapes as they are: a roofline sees nothing of them.
)

WORKLOADS = (
    _IRREGULAR,
    replace(
        _IRREGULAR,
        name="reweighted-filter",
        summary="filters pruned by a reweighted penalty, and taken out",
        technique="reweighted regularisation, filters",
        train=partial(reweighted, structure="filter"),
        signature=replace(SIGNATURE, macs=Bounds(0.1, 0.8)),
        shapes=_without_filters,
    ),
    replace(
        _IRREGULAR,
        name="reweighted-column",
        summary="columns, an input's place in all filters, pruned by a reweighted penalty",
        technique="reweighted regularisation, columns",
        train=partial(reweighted, structure="column"),
        # Where no column of a filter is left, its outputs and their gradients are dead.
        signature=replace(
            SIGNATURE,
            zeros_w=Bounds(0.4, 0.95),
            zeros_g=Bounds(0, 0.4),
            terms_w=Bounds(0.2, 2.1),
            macs=Bounds(1, 1),
        ),
    ),
    replace(
        _IRREGULAR,
        name="reweighted-block",
        summary="blocks of 4 x 4 weights pruned by a reweighted penalty",
        technique="reweighted regularisation, blocks",
        train=partial(reweighted, structure="block"),
        signature=replace(
            SIGNATURE,
            zeros_w=Bounds(0.5, 0.97),
            zeros_g=Bounds(0, 0.4),
            terms_w=Bounds(0.1, 1.8),
            macs=Bounds(1, 1),
        ),
    ),
)
