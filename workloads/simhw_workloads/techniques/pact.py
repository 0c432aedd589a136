"""ResNet-18 with PACT at 4 bits: the products of its blocks are of small integers."""

from dataclasses import replace
from functools import partial

from simhw_workloads.models.pact import BITS, resnet18_pact
from simhw_workloads.techniques.cnns import ALEXNET, full_size, train
from simhw_workloads.workload import Bounds, Signature

WORKLOADS = (
    replace(
        ALEXNET,
        name="resnet18-pact",
        summary=f"ResNet-18 whose activations and weights have {BITS} bits, at a quarter of its width",
        model="ResNet-18 (width 0.25)",
        technique=f"PACT, {BITS} bits",
        train=partial(train, build=resnet18_pact, width=0.25, steps=1000, rate=0.05),
        budget_s=600,
        paper="arXiv 1805.06085",
        headline="ResNet18-Q of FPRaker's networks, there on ImageNet",
        # Integers: half of the activations are 0 by ReLU, others and small weights by rounding.  A term stands for a
        # signed power of two, and no integer up to 15 has more than three.
        signature=Signature(
            zeros_a=Bounds(0.4, 0.95),
            zeros_w=Bounds(0.1, 0.7),
            zeros_g=Bounds(0, 0.1),
            terms_a=Bounds(0.05, 1.2),
            terms_w=Bounds(0.4, 1.6),
            weight_grad=Bounds(1, 1),
        ),
        shapes=partial(full_size, build=resnet18_pact),
    ),
)
