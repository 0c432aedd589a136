"""SwiftLearn where it belongs: a pretrained BERT is fine-tuned, on all samples and on those whose answers still change.

The model is MiniLM with its published weights.  At smoke scale it is a small BERT from random weights, for which
nothing need be installed.  Source: arXiv 2311.15134; spec page techniques.md, 5.4.
"""

from dataclasses import replace
from functools import partial

import torch

from simhw_workloads.techniques.minilm import FINETUNE, TOKENS, pretrained_task
from simhw_workloads.techniques.text import DENSE, SWIFTLEARN, Built, on_all, on_selected
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

SAMPLES = 1280
RATE = 1e-4


def pretrained_bert(run: Run) -> Built:
    """MiniLM and so many sentences in its word pieces; at smoke scale a small BERT."""
    model, task = pretrained_task(run)
    torch.manual_seed(run.seed)  # dropout's draws
    samples, batch = run.pick(64, SAMPLES), run.pick(8, 16)
    return model, task.limited(samples), batch, samples // batch


FINE_TUNED = replace(
    DENSE,
    name="minilm-dense",
    summary="the pretrained MiniLM learns which package a sentence documents; all samples in every epoch",
    model=FINETUNE.model,
    dataset=f"documentation sentences, {SAMPLES:,} of {TOKENS} word pieces",
    train=partial(on_all, build=pretrained_bert, rate=RATE),
    budget_s=600,
    signature=FINETUNE.signature,
)

WORKLOADS = (
    FINE_TUNED,
    replace(
        SWIFTLEARN,
        name="swiftlearn-minilm",
        summary="the pretrained MiniLM is fine-tuned on the tenth whose logits move most, after two epochs on all",
        model=FINE_TUNED.model,
        dataset=FINE_TUNED.dataset,
        train=partial(on_selected, build=pretrained_bert, rate=RATE, later_rate=0.3 * RATE),
        budget_s=600,
        baseline=FINE_TUNED.name,
        signature=replace(FINETUNE.signature, macs=Bounds(1, 1)),
    ),
)
