"""Train, decompose, train, recompose: the network is in factors for half of its training, and dense at the end.

Layers are decomposed early, at the rank that holds a share of their energy, where that makes them smaller.  The factors
are trained, and multiplied into dense layers for the last steps.  Source: arXiv 1909.05675; spec page techniques.md,
2.10.
"""

from dataclasses import replace

import torch
from torch import nn

from simhw.roofline.compression.choice import parameters_left
from simhw.roofline.compression.decompose import decomposable, decomposed, full_rank
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.lowrank.noted import full_ranks, note_ranks, noted_ranks
from simhw_workloads.lowrank.ranks import energy_ranks
from simhw_workloads.lowrank.surgery import factor, recompose
from simhw_workloads.record import Record
from simhw_workloads.schedule import Schedule
from simhw_workloads.techniques import lowrank
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

ENERGY = 0.85
"""Share of the squared singular values that a rank holds."""
EARLY, FACTORS, LATE = 120, 220, 100
"""Steps of the phases; together as many as the uncompressed model takes."""


def decompose_train(run: Run) -> nn.Module:
    """Dense for a quarter of the steps, in factors for half of them, dense again."""
    model, task = lowrank.narrow_model(run), lowrank.narrow_task(run)
    limit, batch = run.pick(200, 2000), run.pick(8, 32)
    lowrank.train_densely(run, model, task, run.pick(3, EARLY))
    paths = [layer.name for layer in decomposable(network_of(model, torch.zeros(1, 1, 16, 16)))]
    ranks = energy_ranks(model, paths, ENERGY)
    note_ranks(run, ranks, full_ranks(model, paths))
    factor(model, ranks)
    run.note(decomposed_layers=len(ranks), layers=len(paths))
    run.note_size(model)
    run.score("decomposed", model, task, limit=limit)
    run.fit("factors", model, task, Schedule(run.pick(4, FACTORS), rate=0.04), batch=batch)
    run.score("factors", model, task, limit=limit)
    recompose(model)
    run.score("recomposed", model, task, limit=limit)
    run.fit("recomposed", model, task, Schedule(run.pick(3, LATE), rate=0.01), batch=batch)
    run.score("recomposed and trained", model, task, limit=limit)
    return model


def in_factors(network: Network, record: Record) -> Network:
    """A network of the same depth with the shares of full ranks that a run noted.

    As in training, a layer stays whole that its factors would not make smaller: the classifier, which has 1000 outputs
    at full size and 10 in training.
    """
    layers = {layer.name: layer for layer in decomposable(network)}
    ranks = noted_ranks(record, {name: full_rank(layer) for name, layer in layers.items()})
    smaller = {
        name: rank for name, rank in ranks.items() if parameters_left(layers[name], rank) < layers[name].parameters
    }
    return decomposed(network, smaller, f"{network.name}-by-energy")


WORKLOADS = (
    replace(
        lowrank.DENSE,
        name="decompose-train",
        summary="ResNet-50 decomposed early by energy, trained in factors, and made dense again for the last steps",
        family="low rank",
        technique="train, decompose, train, recompose",
        train=decompose_train,
        phases=("dense", "factors", "recomposed"),
        captured_phase="factors",
        baseline=lowrank.DENSE.name,
        paper="arXiv 1909.05675",
        headline="training up to 2 times as fast, accuracy at most 1.5 points lower (CIFAR-10, ImageNet)",
        signature=replace(lowrank.DENSE.signature, zeros_a=Bounds(0.1, 0.6), macs=Bounds(0.4, 1.0)),
        shapes=lambda run: in_factors(load_network("resnet50"), run.record),
    ),
)
