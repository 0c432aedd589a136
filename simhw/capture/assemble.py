"""From the recorded products to the layers of a trace: axes restored, time steps stacked, names made unique."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.capture.product import Product
from simhw.errors import CaptureError, ShapeError
from simhw.trace.layer import OPERATIONS, Layer


def layers(products: Sequence[Product]) -> tuple[list[Layer], list[str]]:
    """The layers of a step, in the order in which they first ran, and the names of those that ran forward within the
    backward pass.

    The time steps of a recurrent layer become one layer, as far as they have the same shapes and ran the same
    operations: with an initial state of zeros that needs no gradient, the first step has no input gradient and stands
    alone.

    Raises
    ------
    CaptureError
        The parts of a layer do not fit each other: capture has misunderstood the step.
    """
    groups: dict[object, list[Product]] = {}
    for product in products:
        groups.setdefault(_group(product), []).append(product)
    seen: Counter[str] = Counter()
    result, recomputed = [], []
    for group in groups.values():
        first = group[0]
        seen[first.name] += 1
        name = first.name if seen[first.name] == 1 else f"{first.name}#{seen[first.name]}"
        kind = _kind(first)
        if first.recurrent is not None:
            kind = first.recurrent.kind
        a, g = _stacked([p.a for p in group], group), _stacked([p.g for p in group], group)
        operations = [operation for operation in OPERATIONS if operation in first.operations]
        try:
            result.append(
                Layer(name, kind, first.geometry, a, first.w, g, operations, first.shapes, scales=first.scales)
            )
        except ShapeError as error:
            raise CaptureError(f"{error}; capture has misunderstood this layer") from error
        if first.recomputed:
            recomputed.append(name)
    return result, recomputed


def _kind(product: Product) -> str:
    if not product.convolves:
        return product.form
    stem = "conv" if product.form == "convolution" else "conv_transpose"
    return f"{stem}{len(product.geometry.stride)}d"


def _group(product: Product) -> object:
    """Equal for the time steps that are one layer; every other product is its own."""
    call = product.recurrent
    if call is None or product.a is None or (call.times > 1 and len(product.a) == call.times * call.batch):
        return product
    operations = frozenset(product.operations)
    return (
        call.kind,
        call.number,
        product.name,
        product.phase,
        product.recomputed,
        operations,
        product.a.shape,
        id(product.w),
    )


def _stacked(tensors: list[BF16Array | None], group: list[Product]) -> BF16Array | None:
    """The tensor of a group with the axes that it has in a trace."""
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        return None
    product, rows, features = group[0], len(present[0]), present[0].shape[-1]
    call = product.recurrent
    if call is not None:
        if len(present) == 1 and call.times > 1 and rows == call.times * call.batch:
            return present[0].reshape(call.times, call.batch, features)
        return np.stack(present)
    if product.form == "linear" and product.leading and math.prod(product.leading) == rows:
        return present[0].reshape(*product.leading, features)
    return present[0]
