"""A small vision transformer with grouped attention, with tokens that skip blocks, and decomposed in rounds.

Source: arXiv 2311.03426 (grouping), 2401.15293 (skipping), 2407.20266 (progressive decomposition); spec page
techniques.md, 5.1 to 5.3.
"""

from dataclasses import replace

import torch
from torch import nn

from simhw.roofline.compression.decompose import compression_ranks, decomposable, decomposed
from simhw.roofline.compression.published import GROUPED_MS, GROUPS
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.networks.transformers import grouped_attention, skipping_tokens
from simhw_workloads.data import load
from simhw_workloads.lowrank.progressive import lower_ranks
from simhw_workloads.models.vit import Skip, VisionTransformer
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

DEPTH = 6
HEADS = 6
STEPS = 700
SKIP = Skip(3, 4)
"""A third of the blocks, the last but one among them; at full size of the 12 blocks those from 7 to 10."""
FULL_SKIP = Skip(7, 10)
ROOFLINE_BATCH = 288
"""Images of a step in the GQKVA paper."""
COMPRESSIONS = (1.5, 2.0, 3.0)
"""Of each round of progressive decomposition."""


def small_vit(
    run: Run, query_groups: int = HEADS, key_groups: int = HEADS, skip: Skip | None = None
) -> tuple[VisionTransformer, Task]:
    """Six blocks of six heads on grey images in patches of 4 x 4 pixels."""
    size = run.pick(16, 24)
    task = load(run.pick("mnist5k", "fashion"), run.data).task(size=size)
    run.seeded()
    return VisionTransformer(size, 4, run.pick(48, 96), DEPTH, HEADS, 10, 1, query_groups, key_groups, skip), task


def fitted(run: Run, phase: str, model: nn.Module, task: Task, steps: int, rate: float = 2e-3) -> nn.Module:
    """One phase with AdamW, and its score."""
    schedule = Schedule(steps, rate, warmup=run.pick(1, 20), kind="adamw", weight_decay=0.01)
    run.fit(phase, model, task, schedule, batch=run.pick(8, 32))
    run.score(phase, model, task, limit=run.pick(200, 2000))
    return model


def dense(run: Run) -> nn.Module:
    """Multi-head attention, all tokens in all blocks."""
    return fitted(run, "dense", *small_vit(run), run.pick(6, STEPS))


def gqkva(run: Run, name: str) -> nn.Module:
    """Attention with the groups that the paper calls `name`, from scratch."""
    model, task = small_vit(run, *GROUPS[name])
    run.note_size(model)
    return fitted(run, "grouped", model, task, run.pick(6, STEPS))


def skipvit(run: Run) -> nn.Module:
    """55% of the patches skip a third of the blocks, from scratch."""
    return fitted(run, "skipping", *small_vit(run, skip=SKIP), run.pick(6, STEPS))


def vit_progressive(run: Run) -> nn.Module:
    """Ranks of all linear layers in the blocks fall in three rounds."""
    model, task = small_vit(run)
    network = network_of(model, torch.zeros(1, 1, run.pick(16, 24), run.pick(16, 24)))
    fitted(run, "dense", model, task, run.pick(3, STEPS // 2))
    for number, compression in enumerate(COMPRESSIONS, start=1):
        lower_ranks(model, _block_ranks(network, compression))
        run.score(f"cut to 1 / {compression:g}", model, task, limit=run.pick(200, 2000))
        fitted(run, f"round-{number}", model, task, run.pick(2, STEPS // 2 // len(COMPRESSIONS)), rate=1e-3)
    return model


def _block_ranks(network: Network, compression: float) -> dict[str, int]:
    return compression_ranks(
        [layer for layer in decomposable(network) if layer.name.startswith("blocks.")], compression
    )


def _full() -> Network:
    return load_network("vit-s")


def _full_progressive() -> Network:
    return decomposed(_full(), _block_ranks(_full(), COMPRESSIONS[-1]), "vit-s-progressive")


# GELU, softmax and layer normalisation make no zeros.  G has some: behind the attention of the last block only the
# class token counts.
SIGNATURE = Signature(
    zeros_a=Bounds(0, 0.01),
    zeros_w=Bounds(0, 0.02),
    zeros_g=Bounds(0.08, 0.2),
    terms_w=Bounds(3.2, 3.5),
    weight_grad=Bounds(1, 1),
    kinds=frozenset({"conv2d", "linear", "matmul"}),
)
DENSE = Workload(
    name="vit-dense",
    summary="a small vision transformer with multi-head attention, from scratch",
    model="ViT (width 96, 6 blocks, 6 heads)",
    dataset="Fashion-MNIST at 1x24x24",
    train=dense,
    budget_s=400,
    signature=SIGNATURE,
    shapes=lambda _: _full(),
    roofline_batch=ROOFLINE_BATCH,
)


def _grouped(name: str) -> Workload:
    queries, keys = GROUPS[name]
    faster = 100 * (GROUPED_MS["MHA"] / GROUPED_MS[name] - 1)
    # Of the 12 w^2 weights of a block 3 w^2 make queries, keys and values, of which this share is left.
    left = 1 - 0.25 * (1 - (queries + 2 * keys) / (3 * HEADS))
    return replace(
        DENSE,
        name=f"gqkva-{name.lower().replace('gqkva-', '').replace('.', '-')}",
        summary=f"attention with query groups: {queries}, key and value groups: {keys} ({name}), from scratch",
        family="transformers",
        technique=f"GQKVA: {name}",
        train=lambda run: gqkva(run, name),
        phases=("grouped",),
        baseline=DENSE.name,
        paper="arXiv 2311.03426",
        headline=f"ViT-S on V100: a training step {faster:.1f}% faster than with multi-head attention",
        signature=replace(SIGNATURE, macs=Bounds(left - 0.02, left + 0.06)),
        shapes=lambda _: grouped_attention(_full(), queries, keys),
    )


WORKLOADS = (
    DENSE,
    *(_grouped(name) for name in GROUPS if name != "MHA"),
    replace(
        DENSE,
        name="skipvit",
        summary="55% of the patches, those that the class token looks at least, skip a third of the blocks",
        family="transformers",
        technique="SkipViT",
        train=skipvit,
        phases=("skipping",),
        baseline=DENSE.name,
        paper="arXiv 2401.15293",
        headline="ViT-S on Ascend 910A: 55% of the tokens dropped in some blocks, training throughput 13.2% higher",
        signature=replace(SIGNATURE, macs=Bounds(0.75, 0.9)),
        shapes=lambda _: skipping_tokens(_full(), FULL_SKIP.dropped, FULL_SKIP.first, FULL_SKIP.last),
    ),
    replace(
        DENSE,
        name="vit-progressive",
        summary="linear layers decomposed to a third of their weights in three rounds of fine-tuning",
        family="low rank",
        technique="progressive low-rank decomposition",
        train=vit_progressive,
        phases=("dense", "round-1", "round-2", "round-3"),
        baseline=DENSE.name,
        paper="arXiv 2407.20266",
        headline="ranks of transformers fall in rounds, each decomposing the second factor again; figures not at hand",
        signature=replace(SIGNATURE, macs=Bounds(0.35, 0.6)),
        shapes=lambda _: _full_progressive(),
    ),
)
