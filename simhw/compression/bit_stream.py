"""A stream of bits in 64-bit words, least significant first, and fields of 1 to 8 bits packed eight at a time.

Eight fields stand one to a byte of a word; `gather` and `spread` move all eight at once between there and the stream.
Words and bytes are views of each other: the processor is taken to be little-endian.
"""

import numpy as np
import numpy.typing as npt

from simhw.jit import kernel

Words = npt.NDArray[np.uint64]
ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def gather(word: np.uint64, width: np.uint64) -> np.uint64:
    """The low ``width`` bits of each byte side by side; the bits above them are 0 in ``word``.  1 to 8 bits."""
    pairs = (word & np.uint64(0x00FF00FF00FF00FF)) | ((word & np.uint64(0xFF00FF00FF00FF00)) >> (np.uint64(8) - width))
    quads = (pairs & np.uint64(0x0000FFFF0000FFFF)) | (
        (pairs & np.uint64(0xFFFF0000FFFF0000)) >> (np.uint64(16) - np.uint64(2) * width)
    )
    return (quads & np.uint64(0xFFFFFFFF)) | ((quads >> np.uint64(32)) << (np.uint64(4) * width))


@kernel
def spread(bits: np.uint64, width: np.uint64) -> np.uint64:
    """What `gather` gave, one field to a byte again; bits above the eight fields do not matter."""
    field = (np.uint64(1) << width) - np.uint64(1)
    quad = (np.uint64(1) << (np.uint64(4) * width)) - np.uint64(1)
    quads = (bits & quad) | (((bits >> (np.uint64(4) * width)) & quad) << np.uint64(32))
    pair = (np.uint64(1) << (np.uint64(2) * width)) - np.uint64(1)
    low_pairs = pair * np.uint64(0x0000000100000001)
    pairs = (quads & low_pairs) | ((quads & ~low_pairs) << (np.uint64(16) - np.uint64(2) * width))
    low_fields = field * np.uint64(0x0001000100010001)
    return (pairs & low_fields) | ((pairs & ~low_fields) << (np.uint64(8) - width))


@kernel
def append(words: Words, position: np.int64, value: np.uint64, bits: np.int64) -> np.int64:
    """Write the low ``bits`` (0 to 64) of ``value`` at bit ``position``, all later bits of that word being 0; give the
    next bit.

    All of the following word is overwritten.
    """
    # In two steps here and below, since a shift by 64 is undefined.
    value &= ~((ALL_ONES << np.uint64(bits >> 1)) << np.uint64(bits - (bits >> 1)))
    shift = np.uint64(position & 63)
    words[position >> 6] |= value << shift
    words[(position >> 6) + 1] = (value >> np.uint64(1)) >> (np.uint64(63) - shift)
    return position + bits


@kernel
def peek(words: Words, position: np.int64) -> np.uint64:
    """The 64 bits from bit ``position`` on."""
    shift = np.uint64(position & 63)
    low, high = np.uint64(words[position >> 6]), np.uint64(words[(position >> 6) + 1])
    return (low >> shift) | ((high << np.uint64(1)) << (np.uint64(63) - shift))
