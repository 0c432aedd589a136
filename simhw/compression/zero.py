"""Zero compression, as a CompressingDMA does it: a bit mask and the non-zero values.

For n values in C order the payload is

1. the mask: ceil(n / 8) bytes; bit i % 8 (least significant first) of byte i // 8 is 1 where value i is not zero,
   bits past the last value are 0;
2. the values whose bit is 1, in order, 16 bits each, little-endian.

Only the pattern 0x0000 is a zero, so every tensor comes back bit for bit.  The machines flush -0 and subnormals; with
``flush`` the encoder does so first, as a machine that writes its own results would, and the size is then that of
`simhw.trace.statistics`.  Source: spec page tensordash.md, section 3.
"""

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import EXPONENT_MASK, BF16Array
from simhw.compression.bit_stream import ALL_ONES
from simhw.compression.encoded import Encoded, checked_payload, checked_values, shaped
from simhw.errors import ShapeError
from simhw.jit import kernel

NAME = "zero"


@kernel
def _pack(values: BF16Array, flush: bool, mask: npt.NDArray[np.uint64], kept: npt.NDArray[np.uint16]) -> np.int64:
    """Write the mask of ``values`` and the values it keeps; give their number.  ``kept`` has room for all of them."""
    count = np.int64(0)
    chunk = np.zeros(64, np.uint16)
    flags = np.zeros(64, np.uint8)
    flag_words = flags.view(np.uint64)
    for word in range(mask.size):
        start = 64 * word
        held = min(64, values.size - start)
        if held < 64:
            chunk[:] = np.uint16(0)
        for index in range(held):
            chunk[index] = values[start + index]
        if flush:
            for index in range(64):
                chunk[index] = chunk[index] if (chunk[index] & EXPONENT_MASK) != 0 else np.uint16(0)
        for index in range(64):
            flags[index] = np.uint8(chunk[index] != 0)
        bits = np.uint64(0)
        for byte in range(8):
            # The product gathers the lowest bit of each of the eight bytes in its top byte.
            gathered = (flag_words[byte] * np.uint64(0x0102040810204080)) >> np.uint64(56)
            bits |= gathered << np.uint64(8 * byte)
        mask[word] = bits
        if bits == ALL_ONES:
            for index in range(64):
                kept[count + index] = chunk[index]
            count += 64
        elif bits != 0:
            # Every value is written, a zero only to be overwritten: random zeros would cost a wrong guess each.
            for index in range(held):
                kept[count] = chunk[index]
                count += np.int64(flags[index])
    return count


@kernel
def _unpack(mask: npt.NDArray[np.uint64], kept: npt.NDArray[np.uint16], values: BF16Array) -> np.int64:
    """Fill ``values``; give the number of zeros among the values that the mask keeps.

    ``kept`` holds one value more than the mask has ones, since the next value is read before its bit decides.
    """
    read = np.int64(0)
    zeros = np.int64(0)
    for index in range(kept.size - 1):
        zeros += np.int64(kept[index] == 0)
    for word in range(mask.size):
        start = 64 * word
        held = min(64, values.size - start)
        bits = mask[word]
        if bits == 0:
            for index in range(held):
                values[start + index] = np.uint16(0)
        elif bits == ALL_ONES:
            for index in range(64):
                values[start + index] = kept[read + index]
            read += 64
        else:
            for index in range(held):
                # By arithmetic, not by a branch, which random zeros would make wrong every other time.
                bit = np.uint16((bits >> np.uint64(index)) & np.uint64(1))
                values[start + index] = np.uint16(kept[read] * bit)
                read += np.int64(bit)
    return zeros


def encode(values: BF16Array, channel_axis: int = -1, flush: bool = False) -> Encoded:
    """Compress a tensor.

    Parameters
    ----------
    values : uint16 array, any shape with at least one axis
        bfloat16 bit patterns; need not be contiguous.
    channel_axis : int
        Recorded only, so that both codecs are called alike: the mask runs in C order, its size does not depend on it.
    flush : bool
        Treat -0 and subnormals as zeros, as the machines do.  They decode as 0x0000.

    Returns
    -------
    Encoded
        ``ceil(size / 8) + 2 * nonzero`` bytes.

    Raises
    ------
    ShapeError
        Not a uint16 array with at least one axis, or no such channel axis.
    """
    values, axis = checked_values(values, channel_axis)
    mask = np.empty((values.size + 63) // 64, np.uint64)
    kept = np.empty(values.size, np.uint16)
    count = int(_pack(values.reshape(-1), flush, mask, kept))
    mask_bytes = mask.view(np.uint8)[: (values.size + 7) // 8]
    kept_bytes = kept[:count].view(np.uint8)
    return Encoded(NAME, np.concatenate([mask_bytes, kept_bytes]), values.shape, axis)


def decode(encoded: Encoded) -> BF16Array:
    """The tensor that was compressed, bit for bit.

    Raises
    ------
    ShapeError
        Not what `encode` writes for a tensor of this shape: another codec's, cut short, too long or corrupt.
    """
    payload, size = checked_payload(encoded, NAME)
    mask_size = (size + 7) // 8
    if payload.size < mask_size:
        raise ShapeError(
            f"zero payload of {payload.size:,} bytes is shorter than the mask of shape {encoded.shape}, "
            f"{mask_size:,} bytes; cut short?"
        )
    mask = np.zeros((size + 63) // 64, np.uint64)
    mask.view(np.uint8)[:mask_size] = payload[:mask_size]
    if size % 64 and int(mask[-1]) >> (size % 64):
        raise ShapeError(f"zero payload is corrupt: its mask has a one past the last of {size:,} values")
    count = int(np.bitwise_count(mask).sum())
    if payload.size - mask_size != 2 * count:
        raise ShapeError(
            f"zero payload holds {payload.size - mask_size:,} bytes of values, its mask asks for {2 * count:,}; cut "
            "short or corrupt?"
        )
    kept = np.zeros(count + 1, np.uint16)
    kept[:count].view(np.uint8)[:] = payload[mask_size:]
    values = np.empty(size, np.uint16)
    zeros = int(_unpack(mask, kept, values))
    if zeros:
        raise ShapeError(f"zero payload is corrupt: {zeros:,} of the {count:,} values that its mask keeps are 0")
    return shaped(values, encoded)
