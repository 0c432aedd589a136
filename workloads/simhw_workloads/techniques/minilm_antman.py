"""AntMan on the pretrained MiniLM: its layers become block products with a bottleneck, which the whole model teaches.

The whole model is fine-tuned first.  The student starts from the closest block products to the pretrained weights, and
learns the teacher's states behind every layer, and its answers.  Source: arXiv 1910.01740, which does so with LSTMs;
spec page techniques.md, 2.4.
"""

import copy
from dataclasses import replace

from torch import nn

from simhw.roofline.layers.network import Network
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.distillation import StateDistillation
from simhw_workloads.lowrank.blocks import drawn, linear_layers, projected, with_block_products
from simhw_workloads.lowrank.surgery import replace_module
from simhw_workloads.models.bert import Bert
from simhw_workloads.techniques import minilm
from simhw_workloads.techniques.antman import ANSWERS, STATES
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

BLOCKS, REDUCTION = 2, 2


def middle_rank(inputs: int, outputs: int) -> int:
    """The rank at which the bottleneck has a share of the values of the smaller of inputs and outputs."""
    return min(inputs, outputs) // REDUCTION // BLOCKS**2


def in_blocks(model: nn.Module, pretrained: bool = True) -> nn.Module:
    """Put block products in the place of the encoder's linear layers: the closest ones, or random ones."""
    make = projected if pretrained else drawn
    for path, layer in linear_layers(model, ["layers"]).items():
        replace_module(model, path, make(layer, BLOCKS, middle_rank(layer.in_features, layer.out_features)))
    return model


def antman(run: Run, pretrained: bool = True, taught: bool = True) -> nn.Module:
    """The whole model fine-tuned, and its student; or one that starts from random weights, or learns alone."""
    model, task = minilm.pretrained_task(run)
    assert isinstance(model, Bert)
    student = copy.deepcopy(model)
    hooks = []
    if taught:
        minilm.finetuned(run, model, task, "teacher")
        hooks = [StateDistillation(model, STATES, ANSWERS)]
    if not pretrained:
        student.draw()
    in_blocks(student, pretrained)
    run.note_size(student)
    return minilm.finetuned(run, student, task, "student", hooks)


def _whole() -> Network:
    return load_network("bert-base", sequence=128)


WORKLOADS = (
    replace(
        minilm.FINETUNE,
        name="minilm-antman",
        summary=f"layers of the pretrained MiniLM as products of {BLOCKS} blocks and a bottleneck, taught by the whole",
        family="low rank",
        technique=f"AntMan, {BLOCKS} blocks, bottleneck of 1 / {REDUCTION}",
        train=antman,
        phases=("teacher", "student"),
        baseline=minilm.FINETUNE.name,
        paper="arXiv 1910.01740",
        headline="LSTMs: up to 100 times less computation with under 1 point lost; 5 times fewer parameters at equal "
        "accuracy",
        # Of 12 w^2 weights of a layer 4.5 w^2 are left; the teacher adds a forward pass of all 12 w^2, a third of a
        # step.  Of a step's forward passes it takes 12 parts of 16.5, and has no gradients.
        signature=replace(
            minilm.FINETUNE.signature,
            # States are taught at all tokens: the last layers' G is not zero behind the first.
            zeros_g=Bounds(0.01, 0.3),
            macs=Bounds(0.65, 0.8),
            input_grad=Bounds(0.2, 0.35),
            weight_grad=Bounds(0.2, 0.35),
            kinds=frozenset({"conv1d", "linear", "matmul"}),
        ),
        shapes=lambda _: with_block_products(_whole(), "encoder.", BLOCKS, middle_rank),
        teacher=_whole,
    ),
)
