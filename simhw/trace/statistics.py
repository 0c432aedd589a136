"""What a tensor's values are like: zeros, exponents, fractions, terms and compressed sizes, in one fast pass.

The statistics are measured at capture on whole tensors, so that a sampled trace still tells the truth about them.

Compressed sizes, in bytes (the last byte of a tensor rounded up):

- ``bdc``, exponent base-delta (spec page fpraker.md, section 4): groups of 32 values along the channel axis.  A group
  of n values takes 8 bits for the first exponent, 3 bits for a width w, n - 1 deltas of w bits (two's complement,
  relative to the first exponent, w = 0..6; width code 7 stands for raw 8-bit exponents), and n signs and fractions of 8
  bits.  The last group of a row of channels is short where 32 does not divide the channels, and is counted as short.
- ``zero``, as a CompressingDMA does it: one mask bit per value and 16 bits per non-zero value.  Subnormals count as
  zeros, since the machines flush them.
"""

from collections.abc import Iterator
from math import prod

import numpy as np

from simhw.bfloat16 import BF16Array, term_counts
from simhw.errors import ShapeError
from simhw.trace.geometry import CONVOLUTIONS
from simhw.trace.layer import Layer, TensorName, TensorStatistics

COMPRESSED = ("bdc", "zero")
ZERO_BIN = 128  # the fraction histogram's extra bin, for zeros
# A tensor that is not contiguous is copied in pieces of about this many values.
PIECE_VALUES = 1 << 22


def channel_axis(kind: str, rank: int) -> int:
    """The axis along which compression groups run: 1 for a convolution's A, W and G, the last one for all other kinds.

    For a convolution's W, axis 1 counts the input channels of a group; a matmul's second operand runs along its
    columns.
    """
    return 1 if kind in CONVOLUTIONS else rank - 1


def per_image(kind: str, tensor: TensorName) -> bool:
    """True where the leading axis counts images (or samples, steps, heads), false for weights."""
    return tensor != "w" or kind == "matmul"


def _pieces(bits: BF16Array, axis: int) -> Iterator[tuple[int, BF16Array]]:
    """C-contiguous pieces along the leading axis with the index each starts at; the whole where it is contiguous
    already.
    """
    if bits.flags.c_contiguous or axis == 0:
        yield 0, np.ascontiguousarray(bits)
        return
    step = max(1, PIECE_VALUES // max(1, bits[0].size))
    for start in range(0, bits.shape[0], step):
        yield start, np.ascontiguousarray(bits[start : start + step])


def tensor_statistics(bits: BF16Array, channel_axis: int, per_image: bool = True) -> TensorStatistics:
    """Measure one tensor.

    Parameters
    ----------
    bits : uint16 array, any shape with at least one axis
        bfloat16 bit patterns; need not be contiguous.
    channel_axis : int
        The axis along which compression groups of 32 values run; see `channel_axis`.
    per_image : bool
        Count zeros and terms for each index of the leading axis; otherwise one count for the whole tensor.

    Returns
    -------
    TensorStatistics
        ``exponents`` over all values, ``fractions`` and terms over the non-zero ones; sizes in bytes.

    Raises
    ------
    ShapeError
        The array is not uint16, has no axis, or no such channel axis.
    """
    if bits.dtype != np.uint16 or not bits.ndim:
        raise ShapeError(
            f"statistics need a uint16 array of bfloat16 bit patterns with at least one axis, not {bits.dtype} "
            f"{bits.shape}"
        )
    if not -bits.ndim <= channel_axis < bits.ndim:
        raise ShapeError(f"channel axis {channel_axis} does not exist in shape {bits.shape}")
    axis = channel_axis % bits.ndim
    exponents = np.zeros(256, np.int64)
    fractions = np.zeros(ZERO_BIN, np.int64)
    images = bits.shape[0] if per_image else 1
    zeros_per_image = np.zeros(images, np.int64)
    terms_per_image = np.zeros(images, np.int64)
    terms = term_counts("naf")
    bits_of_exponents = 0
    if bits.size:
        # The compiler is loaded where there is something to measure, not by whoever reads a trace.
        from simhw.trace.scan import exponent_bits, histograms

        for start, piece in _pieces(bits, axis):
            rows = slice(start, start + piece.shape[0]) if per_image else slice(0, 1)
            flat = piece.reshape((piece.shape[0] if per_image else 1, -1))
            histograms(flat, terms, exponents, fractions, zeros_per_image[rows], terms_per_image[rows])
            bits_of_exponents += int(exponent_bits(piece.reshape(prod(piece.shape[:axis]), piece.shape[axis], -1)))
    zeros = int(exponents[0])
    return TensorStatistics(
        size=bits.size,
        zeros=zeros,
        exponents=exponents,
        fractions=fractions,
        zeros_per_image=zeros_per_image,
        terms_per_image=terms_per_image,
        compressed_bytes={
            "bdc": (bits_of_exponents + 8 * bits.size + 7) // 8,
            "zero": (bits.size + 7) // 8 + 2 * (bits.size - zeros),
        },
    )


def layer_statistics(layer: Layer, tensor: TensorName, bits: BF16Array | None = None) -> TensorStatistics:
    """Measure one tensor of a layer with the channel axis and leading axis that its kind has.

    Parameters
    ----------
    layer : Layer
    tensor : {"a", "w", "g"}
    bits : uint16 array, optional
        The tensor's values where the caller has read them already.
    """
    values = layer.source(tensor).read() if bits is None else bits
    return tensor_statistics(values, channel_axis(layer.kind, values.ndim), per_image(layer.kind, tensor))


def statistics_of(layer: Layer, tensor: TensorName) -> TensorStatistics:
    """A tensor's statistics: those recorded, or measured now and kept with the layer where none or not all were."""
    recorded = layer.statistics.get(tensor)
    if recorded is None or (layer.holds(tensor) and not recorded.compressed_bytes.keys() >= set(COMPRESSED)):
        layer.statistics[tensor] = layer_statistics(layer, tensor)
    return layer.statistics[tensor]
