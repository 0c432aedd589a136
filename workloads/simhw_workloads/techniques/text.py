"""Text: a small BERT that tells which package a sentence documents, SwiftLearn on it, and an LSTM language model of
characters.

Source: arXiv 2311.15134 (SwiftLearn); spec page techniques.md, 5.4.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from simhw.roofline.compression.published import (
    SELECTION_KEPT,
    SELECTION_MEAN,
    SELECTION_SPEEDUPS,
    SELECTION_WARMUP_EPOCHS,
)
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.data.text import PACKAGES, characters, sentences, vocabulary_of
from simhw_workloads.models.bert import bert_small
from simhw_workloads.models.lstm import LstmModel, lstm_ptb_medium
from simhw_workloads.record import Record
from simhw_workloads.schedule import Schedule
from simhw_workloads.selection import Selection
from simhw_workloads.task import Task
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

EPOCHS = 8
RESCORE_EPOCHS = 2
"""Epochs on the kept samples from one scoring of all to the next."""
TOKENS = 32
FORWARD_SHARE = 1 / 3
"""Of a training step's arithmetic that scoring a sample takes."""

Built = tuple[nn.Module, Task, int, int]
"""Model, task, batch and steps of an epoch."""


def small_bert(run: Run) -> Built:
    """A BERT of width 96 from random weights."""
    task = sentences(TOKENS)
    samples, batch = run.pick(64, 3200), run.pick(8, 32)
    task = task.limited(samples)
    run.seeded()
    model = bert_small(vocabulary_of(task), TOKENS, len(PACKAGES), run.pick(32, 96), 3)
    return model, task, batch, samples // batch


def _schedule(run: Run, steps: int, rate: float) -> Schedule:
    return Schedule(steps, rate, warmup=run.pick(1, 40), kind="adamw", weight_decay=0.01)


def on_all(run: Run, build: Callable[[Run], Built], rate: float) -> nn.Module:
    """All samples in every epoch."""
    model, task, batch, epoch = build(run)
    run.fit("dense", model, task, _schedule(run, run.pick(4, EPOCHS) * epoch, rate), batch=batch)
    run.score("dense", model, task, limit=1200)
    return model


def on_selected(run: Run, build: Callable[[Run], Built], rate: float, later_rate: float) -> nn.Module:
    """SwiftLearn: all samples in two epochs, then those whose logits moved most."""
    model, task, batch, epoch = build(run)
    kept = run.pick(0.25, SELECTION_KEPT)
    steps = max(1, round(kept * epoch))
    hook = Selection(kept, run.pick(1, RESCORE_EPOCHS) * steps, batch, run.seed)
    run.fit("warm-up", model, task, _schedule(run, SELECTION_WARMUP_EPOCHS * epoch, rate), batch=batch, hooks=[hook])
    run.score("warm-up", model, task, limit=1200)
    rest = run.pick(4, EPOCHS) - SELECTION_WARMUP_EPOCHS
    run.fit("selected", model, task, _schedule(run, rest * steps, later_rate), batch=batch, hooks=[hook])
    run.note(kept=kept, looked_at_again=hook.looked_at, samples_without_selection=run.pick(4, EPOCHS) * epoch * batch)
    run.score("selected", model, task, limit=1200)
    return model


def work(record: Record) -> float:
    """Share of the work without selection: samples trained on, and a third for each that was only looked at."""
    return (record.samples + FORWARD_SHARE * record.count("looked_at_again")) / record.count(
        "samples_without_selection"
    )


@dataclass(frozen=True)
class LstmSizes:
    """Characters of a sample, the model's widths, and the samples of a step."""

    window: int
    embedding: int
    hidden: int
    batch: int


def lstm_sizes(run: Run) -> LstmSizes:
    """Those of the run's scale."""
    return run.pick(LstmSizes(8, 16, 24, 8), LstmSizes(32, 64, 128, 32))


def lstm_schedule(run: Run) -> Schedule:
    """Of all language models of characters."""
    return Schedule(run.pick(4, 500), 3e-3, warmup=run.pick(1, 20), kind="adamw")


def lstm_trained(run: Run, phase: str, build: Callable[[int, LstmSizes], nn.Module]) -> nn.Module:
    """A language model, made for a vocabulary of so many characters, trained in one phase and scored."""
    sizes = lstm_sizes(run)
    task = characters(sizes.window)
    run.seeded()
    model = build(vocabulary_of(task), sizes)
    run.fit(phase, model, task, lstm_schedule(run), batch=sizes.batch)
    run.score(phase, model, task, limit=run.pick(100, 1000))
    return model


def lstm_dense(run: Run) -> nn.Module:
    """Two layers of LSTM cells."""
    return lstm_trained(run, "dense", lambda vocabulary, sizes: LstmModel(vocabulary, sizes.embedding, sizes.hidden))


def _lstm_by_shape() -> Network:
    with torch.device("meta"):
        model = lstm_ptb_medium()
    return network_of(model, torch.ones(1, 35, dtype=torch.int64), "lstm-ptb-medium")


# In A padding has attention weights of 0.  Behind the attention of the last layer only the first token counts: the
# others' G is 0.
_BERT = Signature(
    zeros_a=Bounds(0, 0.1),
    zeros_w=Bounds(0, 0.1),
    zeros_g=Bounds(0.3, 0.75),
    weight_grad=Bounds(1, 1),
    input_grad=Bounds(1, 1),
    kinds=frozenset({"linear", "matmul"}),
    absent=frozenset({"conv2d"}),
)
DENSE = Workload(
    name="bert-dense",
    summary="a small BERT tells which package a sentence documents; all samples in every epoch",
    model="BERT (width 96, 3 layers)",
    dataset="documentation sentences, 3,200 of 32 tokens",
    train=partial(on_all, build=small_bert, rate=1e-3),
    budget_s=300,
    seeds=3,
    signature=_BERT,
    shapes=lambda _: load_network("bert-base", sequence=128),
)
LSTM = Workload(
    name="lstm-dense",
    summary="an LSTM language model of the characters of Python's language reference",
    model="LSTM (2 x 128)",
    dataset="Python's language reference, characters",
    train=lstm_dense,
    budget_s=300,
    seeds=3,
    # The first state is zeros, and no product behind a cell is anything but dense.
    signature=Signature(
        zeros_a=Bounds(0, 0.15),
        zeros_w=Bounds(0, 0.01),
        zeros_g=Bounds(0, 0.05),
        weight_grad=Bounds(0.9, 1),
        kinds=frozenset({"lstm"}),
    ),
    shapes=lambda _: _lstm_by_shape(),
    roofline_batch=20,
)
SWIFTLEARN = replace(
    DENSE,
    name="swiftlearn",
    summary="after two epochs on all samples the tenth whose logits move most; rescored every two epochs",
    family="data efficiency",
    technique="SwiftLearn",
    train=partial(on_selected, build=small_bert, rate=1e-3, later_rate=3e-4),
    phases=("warm-up", "selected"),
    baseline=DENSE.name,
    paper="arXiv 2311.15134",
    headline=f"BERT on GLUE, 90% of the data dropped: training {SELECTION_SPEEDUPS[0]:.2f} to "
    f"{SELECTION_SPEEDUPS[1]:.2f} times as fast, {SELECTION_MEAN} in the mean",
    signature=replace(_BERT, macs=Bounds(1, 1)),
    work=work,
)

WORKLOADS = (DENSE, LSTM, SWIFTLEARN)
