"""The compiled passes over a tensor's values that its statistics are made of."""

import numpy as np
import numpy.typing as npt

from simhw.jit import kernel

BDC_GROUP = 32
BDC_BASE_BITS = 8
BDC_WIDTH_BITS = 3
BDC_RAW_BITS = 8
BDC_LARGEST_WIDTH = 6


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
def histograms(
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
def exponent_bits(values: npt.NDArray[np.uint16]) -> np.int64:
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
