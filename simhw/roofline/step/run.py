"""How a network is run: batch, numbers, fusion, launching, and what training adds."""

from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

from simhw.errors import ShapeError, quoted
from simhw.roofline.numbers import PRECISIONS, Number, Precision, StepNumbers
from simhw.roofline.operators import Layout
from simhw.roofline.step.attention import Attend

Mode = Literal["inference", "training"]
Fusion = Literal["eager", "fused"]
"""Whether every elementwise function is a kernel of its own, or joins the one before it."""
Launch = Literal["eager", "graph"]
"""Whether the framework issues every kernel of a step, or the device replays them as one graph."""
Optimizer = Literal["sgd", "adam", "lamb"]
Zero = Literal[1, 2, 3]
"""Stage of ZeRO (arXiv 1910.02054): devices share the optimizer's state; gradients too; and weights."""
MAX_COUNT = 2**63 - 1
"""Of products, parameters or values of a layer in a step: what hardware counts in 64 bits, far above all that any
device holds.
"""
MAX_PASSES = 1 << 20
"""Of one step forward and backward."""
MAX_SHARDS = 1 << 20


def usual_precision(mode: Mode, numbers: Collection[Number]) -> Precision:
    """What a device's users run: mixed in training, narrow in inference; with bf16 where it has no rates for fp16."""
    narrow = "fp16" in numbers
    if mode == "training":
        return "amp" if narrow else "bf16-amp"
    return "fp16" if narrow else "bf16"


@dataclass(frozen=True)
class Run:
    """How a network is run.

    Attributes
    ----------
    batch : int
        Samples that pass through the network at once.
    mode, precision, fusion, optimizer, launch, layout, attention : str
    accumulate : int
        Passes forward and backward whose gradients are added up before the weights are updated.
    checkpoint : bool
        Training keeps the inputs of blocks alone, and runs each block forward again before it goes back through it.
    shards, zero : int
        Devices that share the optimizer's state, and what they share beside it.

    Raises
    ------
    ShapeError
        A count is no positive whole number, another value is none of those known, or training is asked for in int8.
    """

    batch: int
    mode: Mode = "training"
    precision: Precision = "fp32"
    fusion: Fusion = "eager"
    optimizer: Optimizer = "sgd"
    launch: Launch = "eager"
    layout: Layout = "nchw"
    attention: Attend = "products"
    accumulate: int = 1
    checkpoint: bool = False
    shards: int = 1
    zero: Zero = 1

    def __post_init__(self) -> None:
        for name, known in (
            ("mode", Mode),
            ("precision", Precision),
            ("fusion", Fusion),
            ("optimizer", Optimizer),
            ("launch", Launch),
            ("layout", Layout),
            ("attention", Attend),
            ("zero", Zero),
        ):
            if getattr(self, name) not in get_args(known):
                raise ShapeError(
                    f"{name} is {quoted(getattr(self, name))}; give one of {', '.join(map(str, get_args(known)))}"
                )
        for name, most in (("batch", MAX_COUNT), ("accumulate", MAX_PASSES), ("shards", MAX_SHARDS)):
            value = getattr(self, name)
            whole = issubclass(type(value), Integral) and type(value) is not bool  # numpy's integers too
            if not whole or not 1 <= value <= most:
                raise ShapeError(f"{name} is {quoted(value)}; give a whole number from 1 to {most:,}")
        if self.mode == "training" and not self.numbers.trains:
            raise ShapeError(f"{self.precision} is for inference; train in fp32 or amp")

    @property
    def numbers(self) -> StepNumbers:
        """Numbers of products and of weights."""
        return PRECISIONS[self.precision]

    @property
    def samples(self) -> int:
        """Samples of a step."""
        return self.batch * (self.accumulate if self.mode == "training" else 1)
