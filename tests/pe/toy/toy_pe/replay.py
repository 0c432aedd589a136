"""A tile pass of toy PEs, one PE and one set after another, in plain Python."""

from collections import Counter
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.machine.values import TileParameters
from toy_pe.parameters import ToyParameters


def value_of(bits: int) -> Fraction:
    """What a bit pattern is worth; subnormals are zeros."""
    field = (bits >> 7) & 0xFF
    size = Fraction(128 + (bits & 0x7F)) * Fraction(2) ** (field - 134) if field else Fraction(0)
    return -size if bits & 0x8000 else size


def rounded(value: Fraction) -> int:
    """The nearest bit pattern, ties to even; too large is an infinity, too small a zero."""
    if not value:
        return 0
    sign, size, exponent = (0x8000 if value < 0 else 0), abs(value), 0
    while size >= 2:
        size, exponent = size / 2, exponent + 1
    while size < 1:
        size, exponent = size * 2, exponent - 1
    significand = round(size * 128)  # to even where two are as near
    if significand == 256:
        significand, exponent = 128, exponent + 1
    if exponent + 127 <= 0:
        return 0
    return sign | (0x7F80 if exponent + 127 >= 255 else (exponent + 127) << 7 | (significand - 128))


class ToyReplay:
    """See `simhw.pe.protocol.Replay`."""

    def __init__(self, pe: ToyParameters, tile: TileParameters) -> None:
        self.pe, self.tile = pe, tile

    def tile_pass(
        self, x: BF16Array, y: BF16Array, real_y: npt.NDArray[np.bool_]
    ) -> tuple[int, Counter[str], BF16Array]:
        lanes, counts = self.pe.lanes, Counter[str](useful=0, zero=0, waiting=0, skipped_sets=0, overflows=0)
        outputs = np.zeros((len(x), len(y)), np.uint16)
        slowest = 1
        for row, column in np.ndindex(outputs.shape):
            if not real_y[column]:
                continue
            cycles, total = 0, Fraction(0)
            for first in range(0, x.shape[1], lanes):
                pairs = [(value_of(int(x[row, k])), value_of(int(y[column, k]))) for k in range(first, first + lanes)]
                if not any(of_x for of_x, _ in pairs) and not self.pe.empty_set_cycles:
                    counts["skipped_sets"] += 1
                    continue
                cycles += 1
                for of_x, of_y in pairs:
                    counts["useful" if of_x else "zero"] += 1
                    total += of_x * of_y
            outputs[row, column] = rounded(total)
            counts["overflows"] += outputs[row, column] & 0x7FFF == 0x7F80
            slowest = max(slowest, cycles)
        counts["waiting"] = self.tile.rows * self.tile.cols * lanes * slowest - counts["useful"] - counts["zero"]
        return slowest, counts, outputs
