"""Collaborative compression: channels and ranks are taken from a trained network together, at shares that fit it.

Source: `simhw_workloads.lowrank.collaborative`; arXiv 2105.11228; spec page techniques.md, 2.11.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from simhw.roofline.layers.network import Network
from simhw_workloads.constraints.channels import full_widths, keep_counts, keep_outputs
from simhw_workloads.constraints.masks import weight_of
from simhw_workloads.count import mac_counter
from simhw_workloads.lowrank.collaborative import MOST, LayerState, compressed, fitted, global_shares, state_of
from simhw_workloads.lowrank.components import pair_ranks, pair_up
from simhw_workloads.lowrank.noted import full_ranks, note_ranks, noted_counts, noted_ranks
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.record import Record
from simhw_workloads.task import Task
from simhw_workloads.techniques.digits import DENSE, SIGNATURE, by_shape, train_on, trained
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

LAYERS = {"conv2": "conv1", "conv3": "conv2", "fc1": "conv3"}
"""What is compressed, and the layer that makes the channels it reads.  The last layer is too small to pay."""
TARGET = 0.5
"""Multiply-accumulates of the whole network, over those before (spec page techniques.md, 2.11)."""
HALVINGS, SMOKE_HALVINGS = 7, 4
"""Of the search for the layers' reduction that gives it.  A layer that makes fewer channels shrinks besides, so
that the two are not the same.
"""
SAMPLES = 256
"""That the gradient is taken on."""


def collaborative(run: Run, channels: bool = True, values: bool = True) -> nn.Module:
    """Take units away at shares fitted to the network, and fine-tune."""
    model, task = trained(run)
    states = whole_states(model, task, run.pick(8, 28))
    fits = {path: fitted(state, channels, values) for path, state in states.items()}
    macs = {path: state.macs for path, state in states.items()}
    example = task.rows(torch.arange(1)).inputs
    low, high, whole, found = 0.0, MOST, macs_of(model, example), states
    for _ in range(run.pick(SMOKE_HALVINGS, HALVINGS)):
        middle = (low + high) / 2
        shares = global_shares(fits, macs, middle)
        tried = {path: compressed(each, shares[path], channels, values) for path, each in states.items()}
        if macs_of(apply(deepcopy(model), tried), example) > TARGET * whole:
            low = middle
        else:
            high, found = middle, tried
    for path, state in found.items():
        kept = f"{int(state.kept.sum())} of {len(state.kept)}"
        run.note(**{f"gone_{path}": round(state.share, 3)})
        run.note(**{f"channels_{path}": kept})
    full = full_ranks(model, LAYERS, pairs=True)
    apply(model, found)
    note_ranks(run, pair_ranks(model), full)
    run.note_size(model)
    run.score("compressed", model, task)
    train_on(run, "finetune", model, task, 1.0, 1e-3)
    return model


def whole_states(model: DigitCNN, task: Task, size: int) -> dict[str, LayerState]:
    """The layers, and the mean gradient of the loss on the first samples, in evaluation mode."""
    training = model.training
    model.eval()
    batch = task.rows(torch.arange(min(SAMPLES, len(task))))
    task.loss(model(batch.inputs), batch.targets).backward()  # type: ignore[no-untyped-call]  # torch's
    gradients: dict[str, Tensor] = {}
    for path in LAYERS:
        gradient = weight_of(model, path).grad
        assert gradient is not None
        gradients[path] = gradient.clone()
    model.zero_grad()
    model.train(training)
    # conv2 works on half of the image's edge, conv3 on a quarter.
    rows = {"conv2": (size // 2) ** 2, "conv3": (size // 4) ** 2, "fc1": 1}
    return {
        path: state_of(weight_of(model, path), gradients[path], len(weight_of(model, maker)), rows[path])
        for path, maker in LAYERS.items()
    }


def macs_of(model: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of a model's forward pass on an example."""
    training = model.training
    with torch.no_grad(), mac_counter() as counter:
        model.eval()(example)
    model.train(training)
    macs: int = counter.macs
    return macs


def apply(model: DigitCNN, states: Mapping[str, LayerState]) -> DigitCNN:
    """Take out the channels that no layer keeps, and put pairs of factors in the place of layers of lower rank.

    The model is changed in place.
    """
    for path, state in states.items():
        keep_outputs(model, LAYERS[path], torch.from_numpy(state.kept))
    return _in_pairs(model, {path: state.rank for path, state in states.items() if state.rank is not None})


def _in_pairs(model: DigitCNN, ranks: Mapping[str, int]) -> DigitCNN:
    """Put pairs in the place of layers; one that has lost outputs has at most the rank that is left."""
    left = full_ranks(model, ranks, pairs=True)
    pair_up(model, {path: min(rank, left[path]) for path, rank in ranks.items()})
    return model


def as_noted(model: DigitCNN, record: Record) -> DigitCNN:
    """Leave a model the shares of channels and ranks that a run noted; its parameters may be on the meta device."""
    full = full_ranks(model, LAYERS, pairs=True)
    notes = {maker: f"channels_{path}" for path, maker in LAYERS.items()}
    keep_counts(model, noted_counts(record, notes, full_widths(model)))
    return _in_pairs(model, noted_ranks(record, full))


def _full(run: Run) -> Network:
    with torch.device("meta"):
        model = DigitCNN()
    return by_shape(as_noted(model, run.record))


_BOTH = replace(
    DENSE,
    name="collaborative",
    summary="input channels and singular values taken away together, at shares that fit the trained network",
    family="pruning",
    technique="collaborative compression",
    train=collaborative,
    phases=("dense", "finetune"),
    baseline=DENSE.name,
    paper="arXiv 2105.11228",
    headline="ResNet-50 on ImageNet: 52.9% fewer FLOPs and 48.4% fewer weights, top-1 0.56 points lower",
    # Between factors nothing makes zeros.
    signature=replace(SIGNATURE, zeros_a=Bounds(0.02, 0.6), macs=Bounds(0.4, 0.55)),
    shapes=_full,
)

WORKLOADS = (
    _BOTH,
    replace(
        _BOTH,
        name="collaborative-channels",
        summary="the same with channels alone",
        technique="collaborative compression, channels alone",
        train=partial(collaborative, values=False),
    ),
    replace(
        _BOTH,
        name="collaborative-ranks",
        summary="the same with singular values alone",
        technique="collaborative compression, ranks alone",
        train=partial(collaborative, channels=False),
    ),
)
