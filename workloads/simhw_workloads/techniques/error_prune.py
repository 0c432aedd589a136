"""Error-map pruning: of what comes back to a convolution, the less important channels do nothing.

It is for training on small devices.  Source: arXiv 2007.03213; spec page techniques.md, 2.3.
"""

from dataclasses import replace

from torch import nn

from simhw_workloads.error_pruning import prune_errors
from simhw_workloads.techniques import scratch
from simhw_workloads.techniques.digits import BATCH, untrained
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

KEPT = 0.5
"""Share of the channels of an error map."""


def train(run: Run) -> nn.Module:
    """The network with pruned errors."""
    model, task = untrained(run)
    prune_errors(model, KEPT)
    run.note(channels_kept=KEPT)
    run.fit("pruned", model, task, scratch.schedule(run), batch=BATCH)
    run.score("pruned", model, task)
    return model


WORKLOADS = (
    replace(
        scratch.DENSE,
        name="error-prune",
        summary="of the gradient that comes back to a convolution the more important half of its channels goes on",
        family="dynamic",
        technique="error-map pruning",
        train=train,
        phases=("pruned",),
        baseline=scratch.DENSE.name,
        paper="arXiv 2007.03213",
        headline="with early instance filtering, 68% of the computation saved at full accuracy (ResNet-110, CIFAR-10); "
        "LeNet on MNIST 79% saved",
        # Half of the channels of each convolution's G are zero; A and W are as they were.
        signature=replace(scratch.DENSE.signature, zeros_g=Bounds(0.45, 0.55), macs=Bounds(1, 1)),
    ),
)
