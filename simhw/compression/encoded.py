"""What the two formats share: the encoded tensor, and the checks of what goes in and what comes out."""

from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.errors import ShapeError

Payload = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A compressed tensor: its bytes, and what a decoder must know beside them.

    Attributes
    ----------
    codec : str
        The format: a key of `simhw.compression.CODECS`.
    payload : (nbytes,) uint8
        The compressed bytes.  Shape and axis are not among them: the machine knows a layer's geometry.
    shape : tuple of int
        Shape of the tensor.
    channel_axis : int
        The axis along which groups run, counted from the front.
    """

    codec: str
    payload: Payload
    shape: tuple[int, ...]
    channel_axis: int

    @property
    def nbytes(self) -> int:
        """Compressed size [bytes]."""
        return self.payload.size

    @property
    def ratio(self) -> float:
        """Compressed over uncompressed bytes; 1 for an empty tensor."""
        raw_bytes = 2 * prod(self.shape)
        return self.nbytes / raw_bytes if raw_bytes else 1.0


class Codec(Protocol):
    """A lossless format; the modules `base_delta` and `zero` are the two codecs."""

    def encode(self, values: BF16Array, channel_axis: int = -1) -> Encoded:
        """Compress a tensor."""

    def decode(self, encoded: Encoded) -> BF16Array:
        """The tensor that was compressed, bit for bit."""


def checked_values(values: BF16Array, channel_axis: int) -> tuple[BF16Array, int]:
    """The values in C order (a copy only where they are not yet), and the axis counted from the front.

    Raises
    ------
    ShapeError
        Not a uint16 array with at least one axis, or no such channel axis.
    """
    if not isinstance(values, np.ndarray) or values.dtype != np.uint16 or not values.ndim:
        what = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ShapeError(
            f"compression needs a uint16 array of bfloat16 bit patterns with at least one axis, not {what}"
        )
    if not -values.ndim <= channel_axis < values.ndim:
        raise ShapeError(f"channel axis {channel_axis} does not exist in shape {values.shape}")
    return np.ascontiguousarray(values), channel_axis % values.ndim


def checked_payload(encoded: Encoded, codec: str) -> tuple[Payload, int]:
    """The payload in C order and the number of values that the shape claims; nothing is allocated for them yet.

    Raises
    ------
    ShapeError
        Another codec's tensor; a payload that is not a row of bytes; an impossible shape or channel axis.
    """
    payload, shape = encoded.payload, encoded.shape
    if encoded.codec != codec:
        raise ShapeError(f"a tensor encoded by codec {encoded.codec!r} cannot be decoded by {codec!r}")
    if not isinstance(payload, np.ndarray) or payload.dtype != np.uint8 or payload.ndim != 1:
        what = f"{payload.dtype} {payload.shape}" if isinstance(payload, np.ndarray) else type(payload).__name__
        raise ShapeError(f"{codec} payload must be a one-dimensional uint8 array, not {what}")
    if not shape or not all(isinstance(axis, int) and axis >= 0 for axis in shape):
        raise ShapeError(f"{codec} payload has an impossible shape {shape}")
    if not (isinstance(encoded.channel_axis, int) and 0 <= encoded.channel_axis < len(shape)):
        raise ShapeError(f"channel axis {encoded.channel_axis} does not exist in shape {shape}")
    return np.ascontiguousarray(payload), prod(shape)


def shaped(values: BF16Array, encoded: Encoded) -> BF16Array:
    """Decoded values in their tensor's shape.

    Raises
    ------
    ShapeError
        NumPy cannot hold the shape (too many axes, or an empty tensor with an axis beyond 64 bits).
    """
    try:
        return values.reshape(encoded.shape)
    except (ValueError, OverflowError) as error:
        raise ShapeError(f"{encoded.codec} payload has an impossible shape {encoded.shape}: {error}") from error
