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
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, term_counts
from simhw.errors import ShapeError
from simhw.jit import kernel
from simhw.trace.geometry import CONVOLUTIONS
from simhw.trace.layer import Layer, TensorName, TensorStatistics

COMPRESSED = ("bdc", "zero")
BDC_GROUP = 32
BDC_BASE_BITS = 8
BDC_WIDTH_BITS = 3
BDC_RAW_BITS = 8
BDC_LARGEST_WIDTH = 6
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


@kernel
def _scan(
    values: npt.NDArray[np.uint16],
    exponents: npt.NDArray[np.int64],
    fractions: npt.NDArray[np.int64],
) -> None:
    """Add a run of values to the histograms; ``fractions`` has a last bin for zeros."""
    # Two tables each: runs of equal values would otherwise wait for their own last store.
    even_exponents = np.zeros(256, np.uint32)
    odd_exponents = np.zeros(256, np.uint32)
    even_fractions = np.zeros(129, np.uint32)
    odd_fractions = np.zeros(129, np.uint32)
    pairs = values.size // 2
    for pair in range(pairs):
        first = np.uint32(values[2 * pair])
        second = np.uint32(values[2 * pair + 1])
        first_exponent = (first >> np.uint32(7)) & np.uint32(0xFF)
        second_exponent = (second >> np.uint32(7)) & np.uint32(0xFF)
        even_exponents[first_exponent] += np.uint32(1)
        odd_exponents[second_exponent] += np.uint32(1)
        even_fractions[first & np.uint32(0x7F) if first_exponent != 0 else np.uint32(128)] += np.uint32(1)
        odd_fractions[second & np.uint32(0x7F) if second_exponent != 0 else np.uint32(128)] += np.uint32(1)
    if values.size % 2:
        last = np.uint32(values[values.size - 1])
        exponent = (last >> np.uint32(7)) & np.uint32(0xFF)
        even_exponents[exponent] += np.uint32(1)
        even_fractions[last & np.uint32(0x7F) if exponent != 0 else np.uint32(128)] += np.uint32(1)
    for index in range(256):
        exponents[index] += np.int64(even_exponents[index]) + np.int64(odd_exponents[index])
    for index in range(129):
        fractions[index] += np.int64(even_fractions[index]) + np.int64(odd_fractions[index])


@kernel
def _histograms(
    images: npt.NDArray[np.uint16],
    terms: npt.NDArray[np.int64],
    exponents: npt.NDArray[np.int64],
    fractions: npt.NDArray[np.int64],
    zeros_per_image: npt.NDArray[np.int64],
    terms_per_image: npt.NDArray[np.int64],
) -> None:
    """Histograms over all of ``images`` (images, values), and zeros and terms of each image."""
    image_fractions = np.zeros(129, np.int64)
    # The 32-bit counters of a run hold any run that is shorter than this.
    run = 1 << 30
    for image in range(images.shape[0]):
        image_fractions[:] = 0
        for start in range(0, images.shape[1], run):
            _scan(images[image, start : start + run], exponents, image_fractions)
        total = np.int64(0)
        for fraction in range(128):
            total += image_fractions[fraction] * terms[fraction]
            fractions[fraction] += image_fractions[fraction]
        zeros_per_image[image] += image_fractions[128]
        terms_per_image[image] += total


@kernel
def _exponent_bits(values: npt.NDArray[np.uint16]) -> np.int64:
    """Bits that base-delta takes for the exponents of ``values`` (outer, channels, inner), groups running along
    channels.
    """
    outer, channels, inner = values.shape
    bits = np.int64(0)
    # Positions side by side along the vector; small enough to stay in the first-level cache.
    width = min(inner, 1024)
    base = np.empty(width, np.int16)
    low = np.empty(width, np.int16)
    high = np.empty(width, np.int16)
    for image in range(outer):
        for start in range(0, channels, BDC_GROUP):
            stop = min(start + BDC_GROUP, channels)
            rest = np.int64(stop - start - 1)
            for left in range(0, inner, width):
                count = min(width, inner - left)
                if inner == 1:
                    exponent = np.int16((values[image, start, 0] >> np.uint16(7)) & np.uint16(0xFF))
                    lowest, highest = exponent, exponent
                    for channel in range(start, stop):
                        other = np.int16((values[image, channel, 0] >> np.uint16(7)) & np.uint16(0xFF))
                        lowest = min(lowest, other)
                        highest = max(highest, other)
                    base[0], low[0], high[0] = exponent, lowest, highest
                else:
                    row = values[image, start]
                    for position in range(count):
                        exponent = np.int16((row[left + position] >> np.uint16(7)) & np.uint16(0xFF))
                        base[position] = exponent
                        low[position] = exponent
                        high[position] = exponent
                    for channel in range(start + 1, stop):
                        row = values[image, channel]
                        for position in range(count):
                            exponent = np.int16((row[left + position] >> np.uint16(7)) & np.uint16(0xFF))
                            low[position] = min(low[position], exponent)
                            high[position] = max(high[position], exponent)
                for position in range(count):
                    # w bits hold -2**(w-1) .. 2**(w-1) - 1: the larger of the rise and one less than the fall sets the
                    # width.
                    rise = np.int64(high[position]) - np.int64(base[position])
                    fall = np.int64(base[position]) - np.int64(low[position])
                    reach = max(rise, fall - 1)
                    delta = np.int64(0)
                    if rise > 0 or fall > 0:
                        delta = np.int64(1)
                        while reach > 0:
                            reach >>= 1
                            delta += 1
                        if delta > BDC_LARGEST_WIDTH:
                            delta = np.int64(BDC_RAW_BITS)
                    bits += BDC_BASE_BITS + BDC_WIDTH_BITS + rest * delta
    return bits


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
    exponent_bits = 0
    if bits.size:
        for start, piece in _pieces(bits, axis):
            rows = slice(start, start + piece.shape[0]) if per_image else slice(0, 1)
            flat = piece.reshape((piece.shape[0] if per_image else 1, -1))
            _histograms(flat, terms, exponents, fractions, zeros_per_image[rows], terms_per_image[rows])
            exponent_bits += int(_exponent_bits(piece.reshape(prod(piece.shape[:axis]), piece.shape[axis], -1)))
    zeros = int(exponents[0])
    return TensorStatistics(
        size=bits.size,
        zeros=zeros,
        exponents=exponents,
        fractions=fractions,
        zeros_per_image=zeros_per_image,
        terms_per_image=terms_per_image,
        compressed_bytes={
            "bdc": (exponent_bits + 8 * bits.size + 7) // 8,
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
