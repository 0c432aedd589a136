"""Streaming kernels measured in PyTorch, read from ``DEVICE_streaming.csv`` and the updates and copies of
``DEVICE_other.csv``.

A row of ``backward`` stands for all kernels that the step model makes for a layer's gradients, so that the same
operators tell of kernels and of whole steps.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TypeVar

from simhw.errors import ShapeError
from simhw.files.reading import parse_whole
from simhw.roofline.calibration.measured_rows import MeasuredRow, measured_rows
from simhw.roofline.calibration.pytorch.kernels import Timed, number_of
from simhw.roofline.layers.network import (
    Embedding,
    Linear,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    Softmax,
)
from simhw.roofline.numbers import BYTES, Number, Precision
from simhw.roofline.operators import Layout, Operator, Streaming, convolved
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step
from simhw.roofline.step.update import update_operators

VOCABULARY = 30522
"""Of the table that embeddings were looked up in (BERT's)."""
POOL = (3, 2, 1)
"""Kernel, stride and padding of the max pool (ResNet's)."""
UPDATES = {"sgd": ("sgd", False), "adamw": ("adam", False), "adamw_fused": ("adam", True)}
"""Optimizer, and whether one kernel does the whole update, by the file's names."""

Read = TypeVar("Read")
LAYERS: dict[str, Callable[[tuple[int, ...]], NetworkLayer]] = {
    "add": lambda size: Pointwise("layer", "add", prod(size), inputs=2),
    "mul": lambda size: Pointwise("layer", "mul", prod(size), inputs=2),
    "relu": lambda size: Pointwise("layer", "relu", prod(size)),
    "gelu": lambda size: Pointwise("layer", "gelu", prod(size)),
    "softmax": lambda size: Softmax("layer", 1, prod(size)),
    "layer_norm": lambda size: Normalization("layer", "layernorm", prod(size), prod(size)),
    "batch_norm": lambda size: Normalization("layer", "batchnorm", size[0], prod(size)),
    "max_pool": lambda size: _max_pool(size),
    "cross_entropy": lambda size: Linear("layer", 1, prod(size)),
    "embedding": lambda size: Embedding("layer", VOCABULARY, prod(size), 1),
}
"""Layers of one sample (a row of the file) whose kernels a kind of row measured."""


def layer_operators(
    layer: NetworkLayer, batch: int, precision: Precision, layout: Layout, backward: bool
) -> list[Operator]:
    """Streaming kernels of one layer in a training step, that something trainable stands before."""
    work = step(Network("measured", (Linear("before", 1, 1), layer)), Run(batch, "training", precision, layout=layout))
    # The loss is a layer of its own: it stands for rows of cross-entropy, whose logits are a linear layer's.
    name = "loss" if isinstance(layer, Linear) else layer.name
    # Called again and again on the same tensors, a gradient finds what was kept for it where the forward pass left it.
    return [
        replace(each.operator, kept_bytes=0.0)
        for each in work
        if each.layer == name
        and (each.phase != "forward") == backward
        and isinstance(each.operator, Streaming)
        and each.operator.name != "count"  # functions count no batches, modules do
    ]


def _max_pool(size: tuple[int, ...]) -> NetworkLayer:
    channels, *extent = size
    kernel, stride, padding = ((each,) * len(extent) for each in POOL)
    out = convolved(tuple(extent), kernel, stride, padding, (1,) * len(extent))
    return Pool("layer", "max", channels, tuple(extent), out, kernel)


def _streaming(row: MeasuredRow) -> Timed:
    kind, operation, rows = row.text("kind"), row.text("operation"), row.count("rows")
    size = [parse_whole(each) or 0 for each in row.text("width").split("x")]
    if min(size) < 1:
        row.fail(f"column 'width' is {row.text('width')!r}; give a whole number, or C x H x W such as 64x56x56")
    if operation not in ("forward", "backward"):
        row.fail(f"column 'operation' is {operation!r}; give forward or backward")
    number = number_of(row)
    operators = _operators(row, kind, rows, tuple(size), number, operation == "backward")
    eager = row.quantity("eager_us") * 1e-6 if row.text("eager_us") else None
    shape = (kind, rows, *size)
    return Timed(tuple(operators), row.quantity("ms") * 1e-3, eager, f"{kind} {operation}", shape, row.place)


def _operators(
    row: MeasuredRow, kind: str, rows: int, size: tuple[int, ...], number: Number, backward: bool
) -> list[Operator]:
    values, width = rows * prod(size), BYTES[number]
    if kind == "copy":
        return [Streaming("copy", "clone", rows, prod(size), width * values, width * values, 0.0, number)]
    if kind == "sum":  # over the rows, as a bias' gradient
        read, written = float(width) * values, float(width) * prod(size)
        return [Streaming("reduction", "bias_grad", prod(size), rows, read, written, values, number)]
    if kind not in LAYERS:
        row.fail(f"column 'kind' is {kind!r}; give one of {', '.join((*LAYERS, 'copy', 'sum'))}")
    if kind in ("batch_norm", "max_pool") and len(size) < 2:
        row.fail(f"column 'width' is {row.text('width')!r}; give C x H x W for {kind}")
    precision: Precision = "fp32" if number == "fp32" else "bf16"
    return layer_operators(LAYERS[kind](size), rows, precision, "nchw", backward)


def _update(row: MeasuredRow) -> Timed | None:
    kind = row.text("kind")
    if kind not in (*UPDATES, "bandwidth"):
        return None
    size, tensors = row.count("size"), row.count("steps")
    operators: list[Operator]
    if kind == "bandwidth":
        operators = [Streaming("copy", "clone", 1, size, float(size), float(size), 0.0, number_of(row))]
    else:
        optimizer, fused = UPDATES[kind]
        each, more = divmod(size, tensors)
        sizes = [each + (place < more) for place in range(tensors)]
        operators = update_operators(sizes, optimizer, number_of(row), fused, scaled=False)
    return Timed(tuple(operators), row.quantity("ms") * 1e-3, None, kind, (kind, size), row.place)


def read_streaming(folder: Path, device: str) -> list[Timed]:
    """The calls of ``DEVICE_streaming.csv``.

    Raises
    ------
    SimhwError
        The file is missing, or a row of it cannot be read.
    """
    return [_checked(_streaming, row) for row in measured_rows(folder, f"{device}_streaming")]


def read_updates(folder: Path, device: str) -> list[Timed]:
    """Optimizers and copies of ``DEVICE_other.csv``; raises as `read_streaming`."""
    rows = (_checked(_update, row) for row in measured_rows(folder, f"{device}_other"))
    return [row for row in rows if row is not None]


def _checked(read: Callable[[MeasuredRow], Read], row: MeasuredRow) -> Read:
    try:
        return read(row)
    except ShapeError as error:  # sizes that do not fit each other
        row.fail(str(error))
