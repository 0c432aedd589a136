"""Dropout within the cells of an LSTM: drawn for each sample, or once for the batch; its zeros in place or left out.

All train the language model of `lstm-dense` for as many steps.  Source: arXiv 2106.12089; spec page techniques.md, 2.2.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from simhw_workloads.models.dropped_lstm import DroppedLstm
from simhw_workloads.techniques.text import LSTM, lstm_trained
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

KEPT = 0.5
"""Share of the units that a cell reads."""


def train(run: Run, structured: bool, compacted: bool = False) -> nn.Module:
    """The language model with dropout in its cells."""
    run.note(kept=KEPT)
    return lstm_trained(
        run,
        "dropped",
        lambda vocabulary, sizes: DroppedLstm(
            vocabulary, sizes.embedding, sizes.hidden, KEPT, structured, compacted, run.seed
        ),
    )


RANDOM = replace(
    LSTM,
    name="lstm-dropout",
    summary="half of what the cells of an LSTM read is dropped, other units for each sample and step",
    family="dynamic",
    technique="dropout in the cells, drawn for each sample",
    train=partial(train, structured=False),
    phases=("dropped",),
    baseline=LSTM.name,
    paper="arXiv 2106.12089",
    headline="dropout as usual, with which structured dropout is compared",
    # Half of what the cells read, and the first states; what the head reads is whole.  Units that the next layer drops
    # have no gradient at the last step of time, nor do memories that grew so large that their tanh is flat.
    signature=replace(LSTM.signature, zeros_a=Bounds(0.37, 0.5), zeros_g=Bounds(0, 0.25), macs=Bounds(1, 1)),
    # Zeros in place leave the shapes as they are.
)

WORKLOADS = (
    RANDOM,
    replace(
        RANDOM,
        name="lstm-structured-dropout",
        summary="half of what the cells of an LSTM read is dropped: the same units for the whole batch, others at "
        "every step; the zeros stay in place",
        technique="structured dropout in the cells, masked",
        train=partial(train, structured=True),
        headline="training 1.23 to 1.64 times as fast at the same score (language model of Penn Treebank, translation, "
        "named entities)",
    ),
    replace(
        RANDOM,
        name="lstm-structured-dropout-compacted",
        summary="the same training as lstm-structured-dropout, to the bit: products leave the dropped units out",
        technique="structured dropout in the cells, compacted",
        train=partial(train, structured=True, compacted=True),
        headline="training 1.23 to 1.64 times as fast at the same score (language model of Penn Treebank, translation, "
        "named entities)",
        # Products of the cells have half the length, half the input gradients' columns and half the weight gradients'
        # columns; the head is whole.  What is left of A has the zeros of the first states alone.
        signature=replace(
            RANDOM.signature,
            zeros_a=Bounds(0, 0.15),
            macs=Bounds(0.5, 0.7),
            kinds=frozenset({"linear"}),
            absent=frozenset({"lstm"}),
        ),
        # A cell that reads half of its state is no layer of the rooflines' networks.
        shapes=None,
    ),
)
