"""Grouped attention on the pretrained MiniLM: heads come to share keys and values, and all is fine-tuned.

The projections of the heads in a group are averaged before fine-tuning (arXiv 2305.13245); the groups are those of
GQKVA's grouped queries (arXiv 2311.03426; spec page techniques.md, 5.2).
"""

from dataclasses import replace

from torch import nn

from simhw.roofline.compression.published import GROUPED_MS
from simhw.roofline.layers.network import Linear, Network
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.models.bert import Bert
from simhw_workloads.models.pretrained import HEADS
from simhw_workloads.techniques import minilm
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

GROUPS = 4
"""Of keys and values, for 12 heads: three heads share one, as in the GQA-2 of the GQKVA paper."""
FASTER = 100 * (GROUPED_MS["MHA"] / GROUPED_MS["GQA-2"] - 1)
"""A step of ViT-S with those groups, published, than with multi-head attention [%]."""


def gqa(run: Run, pretrained: bool = True) -> nn.Module:
    """The pretrained model with pooled keys and values, fine-tuned; or the same build from random weights."""
    model, task = minilm.pretrained_task(run)
    assert isinstance(model, Bert)
    model.pool_heads(run.pick(1, GROUPS))
    if not pretrained:
        model.draw()
    run.note_size(model)
    return minilm.finetuned(run, model, task)


def _full() -> Network:
    base = load_network("bert-base", sequence=128)
    layers = tuple(
        replace(layer, out_features=layer.out_features * GROUPS // HEADS)
        if isinstance(layer, Linear) and layer.name.endswith((".key", ".value"))
        else layer
        for layer in base.layers
    )
    return replace(base, name=f"{base.name}-kv{GROUPS}", layers=layers)


WORKLOADS = (
    replace(
        minilm.FINETUNE,
        name="minilm-gqa",
        summary=f"the pretrained MiniLM with {GROUPS} groups of keys and values for its 12 heads, fine-tuned",
        family="transformers",
        technique=f"grouped attention, {GROUPS} groups of keys and values, pooled from pretrained heads",
        train=gqa,
        baseline=minilm.FINETUNE.name,
        paper="arXiv 2311.03426, 2305.13245",
        headline=f"ViT-S on V100: a training step {FASTER:.1f}% faster with GQA-2; T5 near its quality after 5% of "
        "the pretraining's steps",
        # Of 12 w^2 weights of a layer 2 w^2 make keys and values.  A third of them is left, half in the smoke run.
        signature=replace(minilm.FINETUNE.signature, macs=Bounds(0.87, 0.94)),
        shapes=lambda _: _full(),
    ),
)
