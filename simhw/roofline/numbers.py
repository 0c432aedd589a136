"""Kinds of numbers: bytes of a value, the width in which products add up, and which of them a step uses.

A kind is added here: a name in `Number` and a line of `FORMATS`.  A device predicts in it once every table of its file
has an entry for it.  A way to run a step is a name in `Precision` and a line of `PRECISIONS`.
"""

from dataclasses import dataclass
from typing import Literal

Number = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "int8"]


@dataclass(frozen=True)
class Format:
    """How a kind of number is stored.

    Attributes
    ----------
    bytes : int
        Of one value in memory.  tf32 is stored as fp32 is.
    accumulator_bytes : int
        Of one partial sum of a product.
    """

    bytes: int
    accumulator_bytes: int = 4


FORMATS: dict[Number, Format] = {
    "fp32": Format(4),
    "tf32": Format(4),
    "bf16": Format(2),
    "fp16": Format(2),
    "fp8": Format(1),
    "int8": Format(1),
}
BYTES: dict[Number, int] = {number: form.bytes for number, form in FORMATS.items()}
"""Bytes of one value."""
EVERY_DEVICE: tuple[Number, ...] = ("fp32",)
"""Numbers that every device's file has rates for; others are up to the file."""

Precision = Literal["fp32", "amp", "fp16", "int8", "tf32", "bf16-amp", "bf16", "fp8"]


@dataclass(frozen=True)
class StepNumbers:
    """Numbers of a step.

    Attributes
    ----------
    products : str
        Of products and, where nothing is mixed, of all else.
    weights : str
        In which parameters and the optimizer's state are kept.  If they differ from `products`, the step is mixed, as
        PyTorch's autocast does it.
    scales_loss : bool
        Whether training scales the loss, so that small gradients are not lost.
    trains : bool
        Whether training is run in them.
    """

    products: Number
    weights: Number
    scales_loss: bool = False
    trains: bool = True

    @property
    def mixed(self) -> bool:
        """Whether weights are kept in other numbers than products work in."""
        return self.products != self.weights


PRECISIONS: dict[Precision, StepNumbers] = {
    "fp32": StepNumbers("fp32", "fp32"),
    "amp": StepNumbers("fp16", "fp32", scales_loss=True),
    "fp16": StepNumbers("fp16", "fp16"),
    "int8": StepNumbers("int8", "int8", trains=False),
    "tf32": StepNumbers("tf32", "tf32"),
    "bf16-amp": StepNumbers("bf16", "fp32"),
    "bf16": StepNumbers("bf16", "bf16"),
    "fp8": StepNumbers("fp8", "fp8", trains=False),
}
"""What `--precision` offers.  bf16 has fp32's range, so that no loss is scaled."""
