"""The oracle: a tile pass one PE, set, cycle and lane after another, in plain Python, apart from the kernel."""

from collections import Counter
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, to_float32
from simhw.machine.values import TileParameters


def rounded(value: Fraction) -> int:
    """The bit pattern nearest to a sum, ties to even: of all 65,280 finite ones, found by halving."""
    size, low, high = abs(value), 0, 0x7F80
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exact(middle) <= size else (low, middle)
    middle = (exact(low) + (exact(high) if high < 0x7F80 else Fraction(2) ** 128)) / 2
    nearest = high if size > middle or (size == middle and low & 1) else low
    # Numbers too small for a hidden one are zeros.
    return 0 if nearest < 0x80 else nearest | (0x8000 if value < 0 else 0)


def exact(bits: int) -> Fraction:
    """What a bit pattern is worth."""
    return Fraction(float(to_float32(np.array([bits], np.uint16))[0]))


class BitSerialReplay:
    """See `simhw.pe.protocol.Replay`."""

    def __init__(self, lanes: int, tile: TileParameters) -> None:
        self.lanes, self.tile = lanes, tile

    def tile_pass(
        self, x: BF16Array, y: BF16Array, real_y: npt.NDArray[np.bool_]
    ) -> tuple[int, Counter[str], BF16Array]:
        counts, slowest = Counter[str](useful=0, no_bit=0, waiting=0, overflows=0), 0
        outputs = np.zeros((len(x), len(y)), np.uint16)
        for row, column in np.ndindex(outputs.shape):
            cycles, total = 0, Fraction(0)
            for first in range(0, x.shape[1], self.lanes):
                values = [int(value) for value in x[row, first : first + self.lanes]]
                # The bits of each significand, most significant first; a zero or subnormal has none.
                lanes = [f"{0x80 | value & 0x7F:b}".rstrip("0") if value & 0x7F80 else "" for value in values]
                for cycle in range(max(1, *map(len, lanes))):
                    cycles += 1
                    for k, bits in enumerate(lanes):
                        if real_y[column]:
                            counts["useful" if bits[cycle : cycle + 1] == "1" else "no_bit"] += 1
                        if bits[cycle : cycle + 1] == "1" and int(y[column, first + k]) & 0x7F80:
                            weight = Fraction(2) ** ((values[k] >> 7 & 0xFF) - 127 - cycle)
                            product = weight * exact(int(y[column, first + k]))
                            total += -product if values[k] & 0x8000 else product
            outputs[row, column] = rounded(total) if real_y[column] else 0
            counts["overflows"] += int(outputs[row, column] & 0x7FFF == 0x7F80)
            slowest = max(slowest, cycles)
        counts["waiting"] = self.tile.rows * self.tile.cols * self.lanes * slowest - counts["useful"] - counts["no_bit"]
        return slowest, counts, outputs
