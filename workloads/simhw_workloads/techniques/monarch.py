"""Monarch: every linear layer in the blocks of a vision transformer is two block-diagonal products.

Three ways to train: from scratch in blocks; in blocks and dense for the last steps (reverse sparsification); dense, and
then fine-tuned from the closest block products.  Source: arXiv 2204.00595; spec page techniques.md, 2.17.
"""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.lowrank.blocks import (
    BlockProduct,
    drawn,
    expand,
    linear_layers,
    projected,
    with_block_products,
)
from simhw_workloads.lowrank.surgery import replace_module
from simhw_workloads.techniques import transformers
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

BLOCKS = 4
"""Of each factor, as in the published transformers (recalled, confidence 0.8)."""
SPARSE_SHARE = 0.9
"""Of the steps before reverse sparsification, as in the published GPT-2 (recalled, confidence 0.7)."""
DENSE_SHARE = 0.5
"""Of the steps before projection; ours."""

Maker = Callable[[nn.Linear, int, int], BlockProduct]


def middle_rank(inputs: int, outputs: int) -> int:
    """The rank at which as many values stand between the factors as the smaller of inputs and outputs has."""
    return min(inputs, outputs) // BLOCKS**2


def in_blocks(model: nn.Module, make: Maker) -> nn.Module:
    """Put block products in the place of the linear layers of all blocks."""
    for path, layer in linear_layers(model, ["blocks"]).items():
        replace_module(model, path, make(layer, BLOCKS, middle_rank(layer.in_features, layer.out_features)))
    return model


def monarch(run: Run) -> nn.Module:
    """In blocks from the first step to the last."""
    model, task = transformers.small_vit(run)
    in_blocks(model, drawn)
    run.note_size(model)
    return transformers.fitted(run, "blocks", model, task, run.pick(6, transformers.STEPS))


def monarch_reverse(run: Run) -> nn.Module:
    """In blocks, and dense for the last tenth of the steps, from the weights that compute the same."""
    model, task = transformers.small_vit(run)
    in_blocks(model, drawn)
    steps = round(SPARSE_SHARE * run.pick(10, transformers.STEPS))
    transformers.fitted(run, "blocks", model, task, steps)
    expand(model)
    run.score("expanded", model, task, limit=run.pick(200, 2000))
    return transformers.fitted(run, "dense", model, task, run.pick(10, transformers.STEPS) - steps, rate=2e-4)


def monarch_finetune(run: Run) -> nn.Module:
    """Dense for half of the steps, and then from the closest block products."""
    model, task = transformers.small_vit(run)
    steps = round(DENSE_SHARE * run.pick(6, transformers.STEPS))
    transformers.fitted(run, "dense", model, task, steps)
    in_blocks(model, projected)
    run.score("projected", model, task, limit=run.pick(200, 2000))
    return transformers.fitted(run, "blocks", model, task, run.pick(6, transformers.STEPS) - steps)


MONARCH = replace(
    transformers.DENSE,
    name="monarch",
    summary=f"all linear layers of the blocks are two products of {BLOCKS} blocks each, from scratch",
    family="low rank",
    technique=f"Monarch, {BLOCKS} blocks",
    train=monarch,
    phases=("blocks",),
    baseline=transformers.DENSE.name,
    paper="arXiv 2204.00595",
    headline="ViT and GPT-2 from scratch: training 2 times as fast at equal quality",
    # Grouped convolutions take the place of the linear layers; the classifier stays.  Of the 12 w^2 weights of a block
    # 4 w^2 are left; the products of attention, which are whole, count among the multiply-accumulates.
    signature=replace(
        transformers.SIGNATURE,
        macs=Bounds(0.33, 0.42),
        kinds=frozenset({"conv1d", "conv2d", "linear", "matmul"}),
    ),
    shapes=lambda _: with_block_products(load_network("vit-s"), "blocks.", BLOCKS, middle_rank),
)

WORKLOADS = (
    MONARCH,
    replace(
        MONARCH,
        name="monarch-reverse",
        summary="the same, and dense for the last tenth of the steps: the captured step is one of the others",
        technique=f"Monarch, {BLOCKS} blocks, reverse sparsification",
        train=monarch_reverse,
        phases=("blocks", "dense"),
        captured_phase="blocks",
        headline="GPT-2 on OpenWebText pretrained 2 times as fast; BERT 23% faster than the MLPerf 1.1 record",
    ),
    replace(
        MONARCH,
        name="monarch-finetune",
        summary="trained densely, projected on the closest products of blocks, and fine-tuned",
        technique=f"Monarch, {BLOCKS} blocks, projected from dense",
        train=monarch_finetune,
        phases=("dense", "blocks"),
        headline="BERT on GLUE: fine-tuning 1.7 times as fast",
    ),
)
