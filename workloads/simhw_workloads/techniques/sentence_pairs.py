"""SNLI's classifier, of FPRaker's and TensorDash's evaluation, on pairs of documentation sentences."""

import torch
from torch import nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data.sentence_pairs import RELATIONS, sentence_pairs
from simhw_workloads.data.text import sentence_samples, vocabulary_of
from simhw_workloads.models.pairs import PairClassifier, snli_classifier
from simhw_workloads.schedule import Schedule
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

TOKENS = 24


def train(run: Run) -> nn.Module:
    """LSTM, ReLU layers, dropout; from scratch."""
    train, test = sentence_samples()
    task = sentence_pairs(train[: run.pick(64, None)], test[: run.pick(40, None)], run.pick(8, TOKENS))
    run.seeded()
    model = PairClassifier(vocabulary_of(task), run.pick(16, 100), run.pick(24, 128), len(RELATIONS))
    schedule = Schedule(run.pick(4, 1500), 1e-3, warmup=run.pick(1, 50), kind="adamw", weight_decay=1e-3)
    run.fit("dense", model, task, schedule, batch=run.pick(8, 64))
    run.score("dense", model, task, limit=run.pick(40, 1200))
    return model


def _full() -> Network:
    with torch.device("meta"):
        model = snli_classifier()
    return network_of(model, torch.ones(1, 2, TOKENS, dtype=torch.int64), "snli-lstm")


WORKLOADS = (
    Workload(
        name="sentence-pairs",
        summary="a classifier of pairs of sentences like SNLI's: an LSTM, layers with ReLU, dropout",
        model="LSTM of 128, three ReLU layers of 256",
        dataset="pairs of documentation sentences",
        train=train,
        budget_s=400,
        family="papers",
        paper="Bowman et al., EMNLP 2015",
        headline="FPRaker's and TensorDash's SNLI; FPRaker 1.8 times as fast as its baseline (recalled)",
        # A: ReLU of the projection and of the layers, dropout, first states of zeros.  G: texts that have ended.
        signature=Signature(
            zeros_a=Bounds(0.1, 0.6),
            zeros_w=Bounds(0, 0.001),
            zeros_g=Bounds(0.05, 0.7),
            weight_grad=Bounds(0.9, 1),
            kinds=frozenset({"linear", "lstm"}),
        ),
        shapes=lambda _: _full(),
        roofline_batch=128,
    ),
)
