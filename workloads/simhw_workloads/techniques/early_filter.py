"""Early instance filtering: a tiny network looks at each sample before the network itself does.

It is for training on small devices.  Most pieces of clothing are soon known, and even a tiny network sees which are
not: that is why this runs on Fashion-MNIST.  Source: arXiv 2007.03213; spec page techniques.md, 2.3.
"""

from dataclasses import replace

import torch
from torch import nn

from simhw_workloads.count import mac_counter
from simhw_workloads.data import load
from simhw_workloads.filtering import EarlyFilter, Gate
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.record import Record
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.techniques import scratch
from simhw_workloads.techniques.digits import BATCH, SIZE
from simhw_workloads.techniques.text import FORWARD_SHARE
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

RATE = 0.3
"""Of the losses, that are to be above the threshold."""
STEPS = 1000
SHARE = 0.8
"""Of the steps, that are taken with a filter."""
UNFILTERED = 0.125
"""Of those, at first."""
TESTED = 10_000


def start(run: Run) -> tuple[DigitCNN, Task]:
    """The CNN at its first weights, and pictures of clothing."""
    task = load(run.pick("digits", "fashion"), run.data).task()
    run.seeded()
    return DigitCNN(run.pick(8, SIZE)), task


def schedule(run: Run, share: float = 1.0) -> Schedule:
    """Of a training that takes a share of the steps."""
    return Schedule(round(share * run.pick(120, STEPS)), rate=0.02, warmup=run.pick(5, 30))


def train_plain(run: Run, share: float = 1.0) -> nn.Module:
    """On the samples as they come."""
    model, task = start(run)
    run.fit("train", model, task, schedule(run, share), batch=BATCH)
    run.score("train", model, task, limit=TESTED)
    return model


def train_filtered(run: Run) -> nn.Module:
    """On the samples that a gate chooses, for fewer steps."""
    model, task = start(run)
    gate, steps = Gate(task.rows(torch.arange(1)).inputs.shape[-1]), schedule(run, SHARE)
    hook = EarlyFilter(gate, RATE, round(UNFILTERED * steps.steps), run.seed)
    run.fit("filtered", model, task, steps, batch=BATCH, hooks=[hook])
    run.note(
        looked_at=hook.looked_at,
        taken=hook.taken,
        taught=hook.taught,
        high_rate=hook.high_rate,
        samples_without_filter=schedule(run).steps * BATCH,
        gate_macs=_macs(gate, task),
        network_macs=_macs(model, task),
    )
    run.score("filtered", model, task, limit=TESTED)
    return model


def _macs(model: nn.Module, task: Task) -> int:
    with torch.no_grad(), mac_counter() as counter:
        model.eval()(task.rows(torch.arange(1)).inputs)
    model.train()
    macs: int = counter.macs
    return macs


def work(record: Record) -> float:
    """Share of the work without a filter: samples trained on, the gate's own training, and its looks."""
    gate = record.count("taught") + FORWARD_SHARE * record.count("looked_at")
    done = record.samples + gate * record.count("gate_macs") / record.count("network_macs")
    return done / record.count("samples_without_filter")


DENSE = replace(
    scratch.DENSE,
    name="fashion-cnn-scratch",
    summary="a small plain CNN on clothing, half an epoch from scratch",
    dataset="Fashion-MNIST at 1x28x28",
    train=train_plain,
)
FILTER = replace(
    DENSE,
    name="early-filter",
    summary="a tiny network looks at each sample first; the network trains on those it is expected to lose much on",
    family="dynamic",
    technique="early instance filtering",
    train=train_filtered,
    phases=("filtered",),
    baseline=DENSE.name,
    paper="arXiv 2007.03213",
    headline="with error-map pruning, 68% of the computation saved at full accuracy (ResNet-110, CIFAR-10); LeNet on "
    "MNIST 79% saved",
    # A sample takes the same products; there are fewer samples.
    signature=replace(DENSE.signature, macs=Bounds(1, 1)),
    work=work,
)

WORKLOADS = (DENSE, FILTER)
