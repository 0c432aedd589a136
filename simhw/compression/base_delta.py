"""Exponent base-delta compression (BDC): neighbouring channels have similar exponents, so most bits of them need not
move.

A tensor of n values is cut into groups of 32 values along the channel axis; the last group of a row of channels is
short where 32 does not divide them.  The payload is

1. n bytes, one per value in C order: sign in the top bit, the 7 fraction bits below it, as they are;
2. a stream of bits, least significant first, of which the last byte is filled up with zeros.  A group of m values has
   8 bits for the first exponent (the base), 3 bits for a width code w, and m - 1 fields in the order of the channels:

   - w = 0..6: the exponent less the base, w bits of two's complement, w the smallest that holds all of the group;
   - w = 7, where six bits do not: the exponents themselves, 8 bits each.

Groups follow each other in C order of (axes before the channels, group, axes behind the channels).  Every tensor comes
back bit for bit: exponents 0 and 255 are exponents like any other.  The size is that of `simhw.trace.statistics`.
The bits of a group are those of the spec (page fpraker.md, section 4); where they lie in memory is our choice.
"""

from math import prod

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import FRACTION_BITS, BF16Array
from simhw.compression.bit_stream import Words, append, gather, peek, spread
from simhw.compression.encoded import Encoded, Payload, checked_payload, checked_values, shaped
from simhw.errors import ShapeError
from simhw.jit import kernel
from simhw.trace.scan import BDC_BASE_BITS, BDC_GROUP, BDC_RAW_BITS, BDC_WIDTH_BITS

NAME = "bdc"
HEADER_BITS = BDC_BASE_BITS + BDC_WIDTH_BITS
RAW_CODE = (1 << BDC_WIDTH_BITS) - 1
ONES = np.uint64(0x0101010101010101)  # one in each byte
# Groups that are gathered, then written, together; few enough to stay in the first-level cache.
BATCH = 128
EXPONENT_SHIFT = np.uint16(FRACTION_BITS)
Exponents = npt.NDArray[np.uint8]  # (BATCH, 32)
# What the decoder finds wrong with a group.
SOUND, CUT_SHORT, NOT_THE_SMALLEST = np.int64(0), np.int64(1), np.int64(2)


@kernel
def _width_code(exponents: Exponents, group: int, count: int) -> np.int64:
    """The smallest width whose two's complement holds every delta of a group of ``count`` exponents; 7 where six bits
    do not.
    """
    base = exponents[group, 0]
    low, high = base, base
    # Comparisons, since Numba's min and max widen bytes, and with them the vectors.
    if count == BDC_GROUP:  # a known length, which compiles to a few vector operations
        for index in range(BDC_GROUP):
            exponent = exponents[group, index]
            low = exponent if exponent < low else low
            high = exponent if exponent > high else high
    else:
        for index in range(count):
            exponent = exponents[group, index]
            low = exponent if exponent < low else low
            high = exponent if exponent > high else high
    if low == high:
        return np.int64(0)
    # w bits hold -2**(w-1) .. 2**(w-1) - 1: the larger of the rise and one less than the fall sets the width.
    reach = max(np.int64(high) - np.int64(base), np.int64(base) - np.int64(low) - 1)
    code = np.int64(1)
    for bits in range(RAW_CODE - 1):
        code += np.int64(reach >> bits != 0)
    return code


@kernel
def _write_groups(
    exponents: Exponents, packed: Words, groups: int, count: int, words: Words, position: np.int64
) -> np.int64:
    """Append ``groups`` groups of ``count`` exponents at bit ``position``; give the next.  ``packed`` is ``exponents``,
    eight to a word.
    """
    for group in range(groups):
        base, code = np.uint64(exponents[group, 0]), _width_code(exponents, group, count)
        position = append(words, position, base | (np.uint64(code) << np.uint64(BDC_BASE_BITS)), np.int64(HEADER_BITS))
        if code == 0:
            continue
        width = np.int64(BDC_RAW_BITS) if code == RAW_CODE else code
        field = ((np.uint64(1) << np.uint64(width)) - np.uint64(1)) * ONES
        # Only the low w <= 6 bits of a delta are kept, so sums of as many bits never carry into the next byte.
        minus_base = (ONES * ((np.uint64(256) - base) & np.uint64(0xFF))) & field
        for word in range((count + 7) >> 3):
            fields = min(count - 8 * word, 8)
            deltas = packed[group, word] if code == RAW_CODE else ((packed[group, word] & field) + minus_base) & field
            bits = gather(deltas, np.uint64(width))
            if word == 0:  # the base itself has no field
                bits >>= np.uint64(width)
                fields -= 1
            position = append(words, position, bits, fields * width)
    return position


@kernel
def _read_groups(
    exponents: Exponents, packed: Words, groups: int, count: int, words: Words, position: np.int64, end: int
) -> tuple[np.int64, np.int64, np.int64]:
    """Read ``groups`` groups of ``count`` exponents from bit ``position`` on; give the next, how many are sound and
    what stopped it.
    """
    for group in range(groups):
        if position + HEADER_BITS > end:
            return position, np.int64(group), CUT_SHORT
        header = peek(words, position)
        position += HEADER_BITS
        base = header & np.uint64(0xFF)
        code = np.int64((header >> np.uint64(BDC_BASE_BITS)) & np.uint64(RAW_CODE))
        width = np.int64(BDC_RAW_BITS) if code == RAW_CODE else code
        if position + (count - 1) * width > end:
            return position, np.int64(group), CUT_SHORT
        if code == 0:
            for word in range((count + 7) >> 3):
                packed[group, word] = ONES * base
            continue
        # Of a w-bit delta d, (d xor s) - s with s = 2**(w-1) is the signed value; no byte of (d xor s) reaches 128.
        sign = np.uint64(1) << np.uint64(width - 1)
        offset = ONES * ((base - sign) & np.uint64(0xFF))
        for word in range((count + 7) >> 3):
            # What is read beyond a short group fills bytes that nobody looks at.
            if word == 0:  # the base itself has no field
                bits = peek(words, position) << np.uint64(width)
                position += (min(count, 8) - 1) * width
            else:
                bits = peek(words, position)
                position += min(count - 8 * word, 8) * width
            fields = spread(bits, np.uint64(width))
            if code == RAW_CODE:
                packed[group, word] = fields | base if word == 0 else fields
            else:
                biased = fields ^ (ONES * sign)
                packed[group, word] = (biased + (offset & ~(ONES << np.uint64(7)))) ^ (offset & (ONES << np.uint64(7)))
        # An exponent that leaves 0..255 wraps far from the base, so it does not pass either.
        if _width_code(exponents, group, count) != code:
            return position, np.int64(group), NOT_THE_SMALLEST
    return position, np.int64(groups), SOUND


@kernel
def _write_exponents(values: BF16Array, words: Words) -> np.int64:
    """Write the groups of ``values`` (outer, channels, inner), the first of ``words`` being 0; give the
    number of bits.
    """
    outer, channels, inner = values.shape
    exponents = np.zeros((BATCH, BDC_GROUP), np.uint8)
    flat, packed = exponents.reshape(-1), exponents.view(np.uint64)
    position = np.int64(0)
    for image in range(outer):
        if inner == 1:  # the groups of a row lie one behind the other
            for left in range(0, channels, flat.size):
                line = values[image, left : left + flat.size, 0]
                for index in range(line.size):
                    flat[index] = np.uint8(line[index] >> EXPONENT_SHIFT)
                position = _write_groups(exponents, packed, line.size // BDC_GROUP, BDC_GROUP, words, position)
                if line.size % BDC_GROUP:
                    last = line.size // BDC_GROUP
                    position = _write_groups(exponents[last:], packed[last:], 1, line.size % BDC_GROUP, words, position)
            continue
        for start in range(0, channels, BDC_GROUP):
            count = min(BDC_GROUP, channels - start)
            for left in range(0, inner, BATCH):
                groups = min(BATCH, inner - left)
                for channel in range(count):
                    line = values[image, start + channel, left : left + groups]
                    for index in range(groups):
                        exponents[index, channel] = np.uint8(line[index] >> EXPONENT_SHIFT)
                position = _write_groups(exponents, packed, groups, count, words, position)
    return position


@kernel
def _read_exponents(words: Words, end: int, values: BF16Array) -> tuple[np.int64, np.int64, np.int64]:
    """Add the exponents to ``values`` (outer, channels, inner), which hold the signs and fractions.

    ``words`` is the stream of ``end`` bits with two words to spare.  Gives the bits read, the groups that are sound and
    what is wrong with the next one.
    """
    outer, channels, inner = values.shape
    exponents = np.zeros((BATCH, BDC_GROUP), np.uint8)
    flat, packed = exponents.reshape(-1), exponents.view(np.uint64)
    position, done = np.int64(0), np.int64(0)
    for image in range(outer):
        if inner == 1:
            for left in range(0, channels, flat.size):
                line = values[image, left : left + flat.size, 0]
                position, sound, fault = _read_groups(
                    exponents, packed, line.size // BDC_GROUP, BDC_GROUP, words, position, end
                )
                done += sound
                if fault == SOUND and line.size % BDC_GROUP:
                    last = line.size // BDC_GROUP
                    position, sound, fault = _read_groups(
                        exponents[last:], packed[last:], 1, line.size % BDC_GROUP, words, position, end
                    )
                    done += sound
                if fault != SOUND:
                    return position, done, fault
                for index in range(line.size):
                    line[index] |= np.uint16(flat[index]) << EXPONENT_SHIFT
            continue
        for start in range(0, channels, BDC_GROUP):
            count = min(BDC_GROUP, channels - start)
            for left in range(0, inner, BATCH):
                groups = min(BATCH, inner - left)
                position, sound, fault = _read_groups(exponents, packed, groups, count, words, position, end)
                done += sound
                if fault != SOUND:
                    return position, done, fault
                for channel in range(count):
                    line = values[image, start + channel, left : left + groups]
                    for index in range(groups):
                        line[index] |= np.uint16(exponents[index, channel]) << EXPONENT_SHIFT
    return position, done, SOUND


@kernel
def _split(values: BF16Array, rest: Payload) -> None:
    """Sign and fraction of each of the flat ``values``, one byte each."""
    for index in range(values.size):
        rest[index] = np.uint8(((values[index] >> np.uint16(8)) & np.uint16(0x80)) | (values[index] & np.uint16(0x7F)))


@kernel
def _join(rest: Payload, values: BF16Array) -> None:
    """The values with their signs and fractions, and exponents of 0."""
    for index in range(values.size):
        other = np.uint16(rest[index])
        values[index] = ((other & np.uint16(0x80)) << np.uint16(8)) | (other & np.uint16(0x7F))


def _layout(shape: tuple[int, ...], axis: int) -> tuple[tuple[int, int, int], int]:
    """The shape as (outer, channels, inner), and the number of groups."""
    outer, channels, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    return (outer, channels, inner), outer * -(-channels // BDC_GROUP) * inner


def encode(values: BF16Array, channel_axis: int = -1) -> Encoded:
    """Compress a tensor.

    Parameters
    ----------
    values : uint16 array, any shape with at least one axis
        bfloat16 bit patterns; need not be contiguous.
    channel_axis : int
        The axis along which groups of 32 run; `simhw.trace.statistics.channel_axis` gives that of a layer's tensors.

    Returns
    -------
    Encoded
        ``size + ceil((sum over groups of 11 + (m - 1) w) / 8)`` bytes.

    Raises
    ------
    ShapeError
        Not a uint16 array with at least one axis, or no such channel axis.
    """
    values, axis = checked_values(values, channel_axis)
    layout, groups = _layout(values.shape, axis)
    # The most it can be, every group being raw, and the two words that an append touches.
    words = np.empty((HEADER_BITS * groups + BDC_RAW_BITS * (values.size - groups)) // 64 + 2, np.uint64)
    words[0] = 0
    bits = int(_write_exponents(values.reshape(layout), words)) if values.size else 0
    stream = words.view(np.uint8)[: (bits + 7) // 8]
    payload = np.empty(values.size + stream.size, np.uint8)
    _split(values.reshape(-1), payload[: values.size])
    payload[values.size :] = stream
    return Encoded(NAME, payload, values.shape, axis)


def decode(encoded: Encoded) -> BF16Array:
    """The tensor that was compressed, bit for bit.

    Raises
    ------
    ShapeError
        Not what `encode` writes for a tensor of this shape: another codec's, cut short, too long or corrupt.
    """
    payload, size = checked_payload(encoded, NAME)
    layout, groups = _layout(encoded.shape, encoded.channel_axis)
    smallest = size + (HEADER_BITS * groups + 7) // 8
    if payload.size < smallest:
        raise ShapeError(
            f"bdc payload of {payload.size:,} bytes; shape {encoded.shape} takes {smallest:,} at least; cut short?"
        )
    values = np.empty(size, np.uint16)
    _join(payload[:size], values)
    end = 8 * (payload.size - size)
    words = np.zeros(end // 64 + 2, np.uint64)
    words.view(np.uint8)[: payload.size - size] = payload[size:]
    bits = 0
    if size:
        bits, sound, fault = (int(x) for x in _read_exponents(words, end, values.reshape(layout)))
        if fault == CUT_SHORT:
            raise ShapeError(f"bdc payload ends within group {sound:,} of {groups:,}; cut short or corrupt?")
        if fault == NOT_THE_SMALLEST:
            raise ShapeError(
                f"bdc payload is corrupt: the width of group {sound:,} of {groups:,} is not the smallest that holds "
                "its exponents"
            )
    if (bits + 7) // 8 != end // 8:
        raise ShapeError(
            f"bdc payload is corrupt: its {groups:,} groups take {(bits + 7) // 8:,} bytes of the {end // 8:,} that "
            "are there"
        )
    if bits % 8 and int(payload[-1]) >> (bits % 8):
        raise ShapeError(f"bdc payload is corrupt: ones follow its last group, number {groups:,}")
    return shaped(values, encoded)
