"""TensorDash's GCN, a language model of gated convolutions: the network of its evaluation that has no zeros.

On characters of Python's language reference in place of WikiText-2.  That GCN means gated convolutions (Dauphin et al.,
ICML 2017) is recalled from TensorDash's text, confidence 0.85.
"""

import torch
from torch import nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data.text import characters, vocabulary_of
from simhw_workloads.models.gated_convolution import GatedConvModel, gated_conv_full
from simhw_workloads.schedule import Schedule
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload


def train(run: Run) -> nn.Module:
    """Six gated bottlenecks."""
    task = characters(run.pick(16, 64))
    run.seeded()
    model = GatedConvModel(vocabulary_of(task), run.pick(16, 96), run.pick(8, 64), run.pick(2, 6))
    schedule = Schedule(run.pick(4, 600), 3e-3, warmup=run.pick(1, 30), kind="adamw")
    run.fit("dense", model, task, schedule, batch=run.pick(8, 32))
    run.score("dense", model, task, limit=run.pick(100, 700))
    return model


def _full() -> Network:
    with torch.device("meta"):
        model = gated_conv_full()
    return network_of(model, torch.ones(1, 64, dtype=torch.int64), "gated-conv-14")


WORKLOADS = (
    Workload(
        name="gated-conv",
        summary="a language model of gated convolutions (TensorDash's GCN) of the characters of a reference",
        model="gated convolutions (6 x 96)",
        dataset="Python's language reference, characters",
        train=train,
        budget_s=200,
        family="papers",
        paper="Dauphin et al., ICML 2017",
        headline="TensorDash's GCN, on WikiText-2, has virtually no zeros: 1% faster",
        # Only the padding before the first token is zero, four places of each text, and as Conv1d's input alone.
        signature=Signature(
            zeros_a=Bounds(0, 0.08),
            zeros_w=Bounds(0, 0.001),
            zeros_g=Bounds(0, 0.001),
            weight_grad=Bounds(1, 1),
            kinds=frozenset({"conv1d", "linear"}),
        ),
        shapes=lambda _: _full(),
        roofline_batch=32,
    ),
)
