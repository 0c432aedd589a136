"""Elementwise functions: arithmetic per value and what their gradient needs again.

Every addition, multiplication, comparison, exponential, square root, division or hyperbolic tangent counts as one
vector operation, an error function as four.  A function that the table does not name counts one operation per value and
keeps its inputs for its gradient.
"""

from dataclasses import dataclass
from typing import Literal

from simhw.roofline.operators import StreamingKind


@dataclass(frozen=True)
class Function:
    """An elementwise function.

    Attributes
    ----------
    kind : str
        As `Streaming` has it.
    operations, gradient_operations : float
        Vector operations per value, forward and for the gradient of one input.
    keeps : str
        What the gradient needs besides the gradient that comes in: the function's output, its inputs, a mask of a byte
        per value, or nothing.
    passes : bool
        The gradient that comes in is the one that goes out: no kernel.
    views : bool
        Forward nothing is moved: the next kernel reads the tensor as it lies.
    """

    kind: StreamingKind = "elementwise"
    operations: float = 1
    gradient_operations: float = 1
    keeps: Literal["output", "inputs", "mask", "nothing"] = "inputs"
    passes: bool = False
    views: bool = False


FUNCTIONS: dict[str, Function] = {
    "add": Function(operations=1, keeps="nothing", passes=True),
    "bias": Function(operations=1, keeps="nothing", passes=True),
    "mask": Function(operations=1, keeps="nothing", passes=True),
    "mul": Function(operations=1, gradient_operations=1),
    "scale": Function(operations=1, gradient_operations=1, keeps="nothing"),
    "dropout": Function(operations=3, gradient_operations=2, keeps="mask"),
    "copy": Function(kind="copy", operations=0, gradient_operations=0, keeps="nothing"),
    "contiguous": Function(kind="copy", operations=0, gradient_operations=0, keeps="nothing", passes=True),
    "transposed": Function(kind="copy", operations=0, gradient_operations=0, keeps="nothing", passes=True),
    "transpose": Function(kind="copy", operations=0, gradient_operations=0, keeps="nothing"),
    "scale_view": Function(kind="copy", operations=1, gradient_operations=1, keeps="nothing"),
    "permute": Function(kind="copy", operations=0, gradient_operations=0, keeps="nothing", views=True),
    "slice": Function(kind="copy", operations=0, gradient_operations=0, keeps="nothing", views=True),
    "cache": Function(kind="copy", operations=0, keeps="nothing", passes=True),
    "relu": Function(kind="activation", operations=1, gradient_operations=1, keeps="output"),
    "relu6": Function(kind="activation", operations=2, gradient_operations=2, keeps="output"),
    "tanh": Function(kind="activation", operations=1, gradient_operations=3, keeps="output"),
    "sigmoid": Function(kind="activation", operations=4, gradient_operations=3, keeps="output"),
    "gelu": Function(kind="activation", operations=8, gradient_operations=14),
    "silu": Function(kind="activation", operations=5, gradient_operations=9),
}
"""Functions by name.  ``copy`` stands for every change of layout: permuting, concatenating, slicing into a new tensor.
``permute`` and ``slice`` are views, of which only the gradients are copied; ``contiguous`` copies forward alone.
``transposed`` and ``transpose`` are as ``contiguous`` and ``copy``, but exchange the innermost dimension, which costs
more; ``scale_view`` scales a part of a tensor as it lies there.
``cache`` keeps keys or values for tokens to come: a copy in inference, nothing in training.
"""


def function_of(name: str) -> Function:
    """The function of that name, or one that keeps its inputs."""
    return FUNCTIONS.get(name, Function())
