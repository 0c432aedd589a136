"""Kinds of layers, and the geometry of those that are convolutions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simhw.errors import ShapeError, quoted

TRANSPOSED_CONVOLUTIONS = {"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}
CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3, **TRANSPOSED_CONVOLUTIONS}
RECURRENT = ("lstm", "gru")
KINDS = (*CONVOLUTIONS, "linear", "matmul", *RECURRENT)


@dataclass(frozen=True)
class Geometry:
    """Stride, padding and dilation per spatial dimension, and groups; all empty (groups 1) for kinds that are not
    convolutions.

    A transposed convolution's are those of the convolution that it mirrors; only it has an output padding.
    """

    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    output_padding: tuple[int, ...] = ()


def integers(value: object, number: int | None, what: str) -> tuple[int, ...]:
    """A sequence of so many integers, of any number where that is None; a single one stands for all.

    Raises
    ------
    ShapeError
        It is something else; `what` names it.
    """
    if isinstance(value, (int, np.integer)) and number is not None:
        return (int(value),) * number
    if isinstance(value, np.ndarray):
        value = value.tolist()
    sized = (
        isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and (number is None or len(value) == number)
    )
    if sized and all(isinstance(item, (int, np.integer)) for item in value):  # type: ignore[attr-defined]  # a sequence, as just found
        return tuple(int(item) for item in value)  # type: ignore[attr-defined]
    raise ShapeError(
        f"{what}={quoted(value)}: give {'integers' if number is None else f'an integer or {number} integers'}"
    )


def mapping(value: object, what: str, names: Collection[str]) -> Mapping[Any, Any]:
    """A mapping that has no other keys than these; nothing is an empty one.

    Raises
    ------
    ShapeError
        It is something else, or has other keys; `what` names it.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ShapeError(f"{what} is {quoted(value)}: give a mapping with some of {', '.join(names)}")
    unknown = [key for key in value if key not in names]
    if unknown:
        raise ShapeError(f"{what} has unknown keys {quoted(unknown)}: known are {', '.join(names)}")
    return value


def geometry_of(kind: str, given: Geometry | Mapping[str, object] | None) -> Geometry:
    """The geometry of a layer of this kind, completed and checked.

    Raises
    ------
    ShapeError
        A field is unknown, not an integer or one for each dimension, or out of range; or the kind does not have it.
    """
    fields = mapping(vars(given) if isinstance(given, Geometry) else given, "geometry", Geometry.__dataclass_fields__)
    dims, extra = CONVOLUTIONS.get(kind, 0), fields.get("output_padding")
    if extra and kind not in TRANSPOSED_CONVOLUTIONS:
        raise ShapeError(f"geometry output_padding={quoted(extra)}: only a transposed convolution has one, not {kind}")
    if not dims:
        return Geometry()
    geometry = Geometry(
        stride=integers(fields.get("stride", 1), dims, "geometry stride"),
        padding=integers(fields.get("padding", 0), dims, "geometry padding"),
        dilation=integers(fields.get("dilation", 1), dims, "geometry dilation"),
        groups=integers(fields.get("groups", 1), 1, "geometry groups")[0],
        output_padding=integers(extra or 0, dims, "geometry output_padding") if kind in TRANSPOSED_CONVOLUTIONS else (),
    )
    limits = [max(steps) for steps in zip(geometry.stride, geometry.dilation, strict=True)]
    if any(not 0 <= extra < limit for extra, limit in zip(geometry.output_padding, limits, strict=False)):
        raise ShapeError(f"geometry {geometry}: output_padding must be smaller than stride or dilation")
    if min(geometry.stride) < 1 or min(geometry.dilation) < 1 or min(geometry.padding) < 0 or geometry.groups < 1:
        raise ShapeError(f"geometry {geometry}: stride, dilation and groups start at 1, padding at 0")
    return geometry


def output_spatial(kind: str, geometry: Geometry, a: tuple[int, ...], w: tuple[int, ...]) -> tuple[int, ...]:
    """Spatial extent of the output of a convolution with input and weights of these shapes."""
    inputs, kernel = a[2:], w[2:]
    spans = [dilation * (taps - 1) + 1 for dilation, taps in zip(geometry.dilation, kernel, strict=True)]
    dims = zip(inputs, geometry.padding, spans, geometry.stride, strict=True)
    if kind in TRANSPOSED_CONVOLUTIONS:
        sizes = [(size - 1) * step - 2 * pad + span for size, pad, span, step in dims]
        return tuple(size + extra for size, extra in zip(sizes, geometry.output_padding, strict=True))
    return tuple((size + 2 * pad - span) // step + 1 for size, pad, span, step in dims)
