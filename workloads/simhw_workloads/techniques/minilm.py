"""BERT, pretrained and fine-tuned: the pretrained MiniLM tells which package a sentence documents.

The papers fine-tune BERT on GLUE.  Here it is six layers of 384 with published weights, and sentences of documentation.
At smoke scale it is a small BERT from random weights, for which nothing need be installed.
"""

from collections.abc import Sequence

import torch
from torch import nn

from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.data.text import PACKAGES, sentence_samples, sentences, vocabulary_of
from simhw_workloads.models.bert import bert_small
from simhw_workloads.models.pretrained import DROPOUT, minilm
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Hook, Run
from simhw_workloads.workload import Bounds, Signature, Workload

TOKENS = 32


def _small(run: Run) -> tuple[nn.Module, Task]:
    task = sentences(TOKENS).limited(64)
    run.seeded()
    return bert_small(vocabulary_of(task), TOKENS, len(PACKAGES), 64, 2, DROPOUT), task


def _pretrained(run: Run) -> tuple[nn.Module, Task]:
    run.seeded()
    model, pieces = minilm(len(PACKAGES), run.data)
    return model, pieces.classification("documentation sentences", *sentence_samples(), TOKENS)


def pretrained_task(run: Run) -> tuple[nn.Module, Task]:
    """The model with a new classifier, and its sentences; from random weights in smoke runs."""
    return _small(run) if run.scale == "smoke" else _pretrained(run)


def train(run: Run) -> nn.Module:
    """All weights are fine-tuned, with dropout as published."""
    return finetuned(run, *pretrained_task(run))


def finetuned(
    run: Run, model: nn.Module, task: Task, phase: str = "fine-tune", hooks: Sequence[Hook] = ()
) -> nn.Module:
    """A phase, and the scores before and after it."""
    run.score(f"before {phase}", model, task, limit=run.pick(100, 600))
    torch.manual_seed(run.seed)  # dropout's draws
    schedule = Schedule(run.pick(4, 300), run.pick(1e-3, 1e-4), warmup=run.pick(1, 30), kind="adamw", weight_decay=0.01)
    run.fit(phase, model, task, schedule, batch=run.pick(8, 16), hooks=hooks)
    run.score(phase, model, task, limit=run.pick(100, 1200))
    return model


FINETUNE = Workload(
    name="bert-finetune",
    summary="the pretrained MiniLM is fine-tuned to tell which package a sentence documents",
    model="MiniLM-L6 (all-MiniLM-L6-v2), pretrained",
    dataset="documentation sentences of 32 word pieces",
    train=train,
    budget_s=600,
    family="papers",
    phases=("fine-tune",),
    paper="MICRO 2021 (FPRaker)",
    headline="FPRaker's BERT is fine-tuned on GLUE",
    # A: a tenth of the attention weights by dropout, and padding; there are few among all values.  Behind the last
    # attention only the first token counts: the others' G is 0.
    signature=Signature(
        zeros_a=Bounds(0, 0.2),
        zeros_w=Bounds(0, 0.2),
        zeros_g=Bounds(0.1, 0.8),
        weight_grad=Bounds(1, 1),
        input_grad=Bounds(1, 1),
        kinds=frozenset({"linear", "matmul"}),
    ),
    shapes=lambda _: load_network("bert-base", sequence=128),
)

WORKLOADS = (FINETUNE,)
