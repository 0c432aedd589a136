"""What a framework executes for one step of a network: inference, or training with gradients and the optimizer's update."""

from dataclasses import dataclass
from typing import Literal

from simhw.errors import ShapeError
from simhw.roofline.layers import Network
from simhw.roofline.operators import Operator

Precision = Literal["fp32", "amp", "fp16", "int8"]
"""Numbers of a step; amp is fp16 with fp32 weights kept for the optimizer; int8 is for inference alone."""
Mode = Literal["inference", "training"]
Fusion = Literal["eager", "fused"]
"""Whether every elementwise function is a kernel of its own, or joins the one before it."""
Optimizer = Literal["sgd", "adam"]
Phase = Literal["forward", "input_grad", "weight_grad", "update"]


@dataclass(frozen=True)
class Run:
    """How a network is run.

    Raises
    ------
    ShapeError
        The batch is not positive, or training is asked for in int8.
    """

    batch: int
    mode: Mode = "training"
    precision: Precision = "fp32"
    fusion: Fusion = "eager"
    optimizer: Optimizer = "sgd"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ShapeError(f"batch is {self.batch}; give at least 1")
        if self.mode == "training" and self.precision == "int8":
            raise ShapeError("int8 is for inference; train in fp32 or amp")


@dataclass(frozen=True)
class Work:
    """An operator and the layer and phase that it belongs to."""

    layer: str
    phase: Phase
    operator: Operator


def step(network: Network, run: Run) -> list[Work]:
    """The operators of one step, in order."""
    raise NotImplementedError
