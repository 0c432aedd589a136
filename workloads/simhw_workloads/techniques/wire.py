"""A network in stages on a pipeline of four devices: what the stages send each other is compressed while it trains.

The devices are one process here: cuts stand between the stages, and the bits on the wire are counted.  The network is
scored twice, with activations compressed at inference as in training, and without.
Source: arXiv 2401.07788; spec page techniques.md, 2.14.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from simhw_workloads.count import zero_product_share
from simhw_workloads.task import Task
from simhw_workloads.techniques import scratch
from simhw_workloads.techniques.digits import BATCH, untrained
from simhw_workloads.train import Run
from simhw_workloads.wire import (
    Compressor,
    Cut,
    Direct,
    ErrorFeedback,
    ExampleDifferences,
    Link,
    Quantised,
    Rows,
    Rule,
    TopK,
    cuts_of,
)
from simhw_workloads.workload import Bounds

SHARE = 0.1
"""Of the values, that top-k keeps: the paper's lowest without harm."""
BITS_FORWARD, BITS_BACK = 4, 8


def compressed(
    run: Run, forth: Callable[[int], Rule], back: Callable[[int], Rule], at_inference: bool = True
) -> nn.Module:
    """A cut before each of three layers, with rules that are made for a data set of so many samples.

    The result is the score with activations compressed at inference, or with whole ones; the other is scored before it.
    """
    model, task = untrained(run)
    for name in model.ORDER[1:-1]:
        setattr(model, name, nn.Sequential(Cut(forth(len(task)), back(len(task))), getattr(model, name)))
    run.fit("train", model, task, scratch.schedule(run), batch=BATCH, hooks=[Rows()])
    for name, links in (
        ("forward", [cut.forth.link for cut in cuts_of(model)]),
        ("backward", [cut.back.link for cut in cuts_of(model)]),
    ):
        sent, whole = sum(link.sent_bits for link in links), sum(link.whole_bits for link in links)
        run.note(**{f"wire_{name}": sent / whole})
    run.note(zero_products=_zero_products(model, task))
    for does in (not at_inference, at_inference):
        for cut in cuts_of(model):
            cut.at_inference = does
        run.score(f"train, {'compressed' if does else 'whole'} at inference", model, task)
    return model


def _zero_products(model: nn.Module, task: Task) -> float:
    """Share of a training step's forward products with a zero activation, on samples that it trained on."""
    seen = deepcopy(model)
    batch = Rows().batch(seen, task.rows(torch.arange(scratch.SHOWN)))
    return zero_product_share(seen, batch.inputs)


def direct(compressor: Compressor) -> Callable[[int], Rule]:
    """Makes the rule that sends the tensor itself."""
    return lambda _: Direct(Link(compressor))


def with_memory(kind: Callable[[Link, int], Rule], compressor: Compressor) -> Callable[[int], Rule]:
    """Makes a rule that remembers every example."""
    return lambda samples: kind(Link(compressor), samples)


TOP_K = replace(
    scratch.DENSE,
    name="wire-topk",
    summary="between the stages of a pipeline the largest tenth of activations and of gradients is sent",
    family="dynamic",
    technique="top-k of activations and gradients on the wire",
    train=partial(compressed, forth=direct(TopK(SHARE)), back=direct(TopK(SHARE))),
    baseline=scratch.DENSE.name,
    paper="arXiv 2401.07788",
    headline="a tenth of the values is the lowest share without harm; it must be used at inference as well; gradients "
    "bear less compression than activations (ResNet-18, CIFAR-10)",
    # Of the activations that a stage reads, nine tenths are zero.  Products are as many: only a machine that skips
    # zeros gains.
    signature=replace(scratch.DENSE.signature, zeros_a=Bounds(0.5, 0.85), macs=Bounds(1, 1)),
)

WORKLOADS = (
    TOP_K,
    replace(
        TOP_K,
        name="wire-topk-feedback",
        summary="as wire-topk, and what was not sent of an example is added to its next message",
        technique="top-k with error feedback on the wire",
        train=partial(
            compressed,
            forth=with_memory(ErrorFeedback, TopK(SHARE)),
            back=with_memory(ErrorFeedback, TopK(SHARE)),
            at_inference=False,
        ),
        headline="error feedback does not help training with top-k, but lets the network do without it at inference",
    ),
    replace(
        TOP_K,
        name="wire-bits",
        summary=f"between the stages of a pipeline activations have {BITS_FORWARD} bits and gradients {BITS_BACK}",
        technique=f"{BITS_FORWARD} bits of activations and {BITS_BACK} of gradients on the wire",
        train=partial(compressed, forth=direct(Quantised(BITS_FORWARD)), back=direct(Quantised(BITS_BACK))),
        headline="4 bits of activations and 8 of gradients do no harm; 2 bits of gradients do (ResNet-18, CIFAR-10)",
        # Levels start at a sample's smallest value, which is 0 behind a ReLU: what is small becomes zero.
        signature=replace(scratch.DENSE.signature, zeros_a=Bounds(0.1, 0.7), macs=Bounds(1, 1)),
    ),
    replace(
        TOP_K,
        name="wire-aqsgd",
        summary="of each example's activations the change since its last epoch is sent, its largest tenth",
        technique="AQ-SGD with top-k on the wire",
        train=partial(
            compressed, forth=with_memory(ExampleDifferences, TopK(SHARE)), back=direct(TopK(SHARE)), at_inference=False
        ),
        paper="arXiv 2401.07788, 2206.01299",
        headline="with top-k of less than 30% it harms",
        # The other stage works with what it knows of the example: as dense as the uncompressed activations.
        signature=replace(scratch.DENSE.signature, macs=Bounds(1, 1)),
    ),
)
