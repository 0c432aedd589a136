"""Kernels at the two ends of a training step: the loss, and the optimizer's update of all parameters at once."""

from collections.abc import Sequence

from simhw.roofline.layers.network import Linear, Network, NetworkLayer, Weight
from simhw.roofline.numbers import BYTES, Number
from simhw.roofline.operators import Operator, Streaming

# LAMB (arXiv 1904.00962) as kernels that take all tensors at once: moments and direction, norms of each tensor, update.
LAMB = (("moments", 4, 3, 14), ("norms", 2, 0, 4), ("update", 2, 1, 2))
# Function, tensors read, tensors written, operations per value.  Source: PyTorch 2, torch/optim/sgd.py and adamw.py,
# the for-each implementations that are the default on a GPU.
FOREACH: dict[str, tuple[tuple[str, int, int, int], ...]] = {
    "sgd": (("weight_decay", 2, 1, 2), ("momentum", 1, 1, 1), ("add_gradient", 2, 1, 1), ("update", 2, 1, 2)),
    "lamb": LAMB,
    "adam": (
        ("weight_decay", 1, 1, 1),
        ("mean", 2, 1, 3),
        ("decay_square", 1, 1, 1),
        ("square", 2, 1, 3),
        ("root", 1, 1, 1),
        ("correction", 1, 1, 1),
        ("epsilon", 1, 1, 1),
        ("update", 3, 1, 3),
    ),
}
FUSED: dict[str, tuple[tuple[str, int, int, int], ...]] = {
    "sgd": (("update", 3, 2, 6),),
    "lamb": LAMB,
    "adam": (("update", 4, 3, 14),),
}
LOSS_OPERATIONS = 5
"""Per value of the log-softmax: maximum, difference, exponential, sum, difference of the logarithm."""


CAPTURED: dict[str, dict[str, tuple[int, int, int]]] = {"adam": {"correction": (1, 1, 1), "rate": (1, 1, 1)}}
"""Functions that a graph needs: corrections and rate lie on the device, and dividing tensors by a list of such values
has no multi-tensor kernel, so each tensor gets its own.  Source: adamw.py, `capturable`; the kernels of
measured steps.
"""


def update_operators(
    tensors: Sequence[int],
    optimizer: str,
    number: Number,
    fused: bool,
    scaled: bool,
    captured: bool = False,
) -> list[Operator]:
    """The optimizer's update of all trainable parameters, with weight decay, and momentum in SGD.

    PyTorch 2 runs each elementary function of the update over all tensors in one multi-tensor kernel: four for SGD (44
    bytes a parameter in fp32), eight for AdamW (80).  Fused, one kernel does all (20 and 28 bytes).  LAMB is three
    kernels in either (48).  With loss scaling a kernel before them divides every gradient and looks for infinities.
    In a graph (`captured`) AdamW divides every tensor by its correction and by the rate in kernels of its own.

    Parameters
    ----------
    tensors : sequence of int
        Values of each tensor of parameters.
    optimizer : str
    number : str
        Of parameters and state.
    fused, scaled, captured : bool
    """
    if not tensors:
        return []
    functions = (FUSED if fused else FOREACH)[optimizer]
    if scaled:
        functions = (("unscale", 1, 1, 2), *functions)
    alone = CAPTURED.get(optimizer, {}) if captured and not fused else {}
    parameters = sum(tensors)
    size = float(BYTES[number])
    updates: list[Operator] = [
        Streaming(
            "optimizer",
            name if name == "unscale" else f"{optimizer}_{name}",
            1,
            parameters,
            reads * size * parameters,
            writes * size * parameters,
            float(operations) * parameters,
            number,
            pieces=len(tensors),
        )
        for name, reads, writes, operations in functions
        if name not in alone
    ]
    for reads, writes, operations in alone.values():
        updates += [
            Streaming(
                "elementwise", "divide", 1, each, reads * size * each, writes * size * each, operations * each, number
            )
            for each in tensors
        ]
    return updates


def accumulation_operators(layer: NetworkLayer, number: Number) -> list[Operator]:
    """The kernel that adds a pass's gradients of a layer to those of the passes before it."""
    if not layer.parameters or not getattr(layer, "trainable", False):
        return []
    size = float(BYTES[number]) * layer.parameters
    return [
        Streaming("elementwise", "accumulate", 1, layer.parameters, 2 * size, size, float(layer.parameters), number)
    ]


def loss_operators(network: Network, batch: int, number: Number, mixed: bool) -> tuple[list[Operator], list[Operator]]:
    """Cross-entropy of what the last layer gives out if that is a linear layer's, forward and backward; else nothing.

    Log-softmax reads the logits and writes in fp32 under autocast (`mixed`), the likelihood of the labels reads one
    value a row; backward a gradient of zeros but for the labels is written, and one kernel reads it and the log-softmax
    and writes the logits' gradient.
    """
    last = next((layer for layer in reversed(network.layers) if not isinstance(layer, Weight)), None)
    if not isinstance(last, Linear):
        return [], []
    rows, columns = last.rows * batch, last.out_features
    values = float(rows * columns)
    inner: Number = "fp32" if mixed else number
    logits, wide = BYTES[number] * values, BYTES[inner] * values
    picked = float(rows * (BYTES[inner] + 8))
    forward: list[Operator] = [
        Streaming("softmax", "log_softmax", rows, columns, logits, wide, LOSS_OPERATIONS * values, inner),
        Streaming("reduction", "nll_loss", 1, rows, picked, BYTES[inner], rows, inner),
    ]
    backward: list[Operator] = [
        Streaming("elementwise", "nll_loss_grad", rows, columns, 8.0 * rows, wide, 0.0, inner),
        Streaming("softmax", "log_softmax_grad", rows, columns, 2 * wide, logits, 4 * values, inner),
    ]
    return forward, backward
