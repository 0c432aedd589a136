"""The baseline tile: every PE multiplies one set of bfloat16 pairs a cycle into the same accumulator as FPRaker's.

A set is 8 pairs, 16 in TensorDash's baseline.  Source: spec page fpraker.md, section 4 (one set per PE per cycle); the
arithmetic is decided: exact products, aligned to emax, summed exactly with S and rounded once; a product more than
`align_range` positions below emax is lost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from tests.oracles.accumulator import Accumulator, Number, decode_rows

LANES = 8


@dataclass(frozen=True)
class BitParallelPass:
    """One tile pass. `useful + idle == rows * cols * lanes * cycles`; `outputs` is (rows of a, rows of b) float32."""

    cycles: int
    outputs: npt.NDArray[np.float32]
    overflows: int
    useful: int
    idle: int


def add_set(
    accumulator: Accumulator, a_set: Sequence[Number | None], b_set: Sequence[Number | None], align_range: int
) -> int:
    """One cycle of a PE: a set of products joins the accumulator. Returns the pairs that have no zero."""
    pairs = [(x, y) for x, y in zip(a_set, b_set, strict=True) if x is not None and y is not None]
    if pairs:
        emax = accumulator.latch(x.exponent + y.exponent for x, y in pairs)
        addends = []
        for x, y in pairs:
            below = emax - (x.exponent + y.exponent)
            if below <= align_range:
                sign = -1 if x.negative != y.negative else 1
                addends.append((sign * x.significand * y.significand, -14 - below))
        accumulator.add(addends)
        accumulator.normalise()
    accumulator.end_set(len(a_set))
    return len(pairs)


def tile_pass(
    a: BF16Array,
    b: BF16Array,
    *,
    accumulator_fraction_bits: int = 12,
    align_range: int = 32,
    chunk: int | None = None,
    rows: int = 8,
    cols: int = 8,
    lanes: int = LANES,
) -> BitParallelPass:
    """`a` (at most cols, K) and `b` (at most rows, K) bit patterns; K is padded with zeros to whole sets of `lanes`."""
    a_rows, b_rows = decode_rows(a, lanes), decode_rows(b, lanes)
    if len(a_rows) > cols or len(b_rows) > rows:
        raise ValueError("more operand rows than the tile holds")
    outputs = np.zeros((len(a_rows), len(b_rows)), dtype=np.float32)
    useful = 0
    overflows = 0
    for column, a_sets in enumerate(a_rows):
        for row, b_sets in enumerate(b_rows):
            accumulator = Accumulator(accumulator_fraction_bits, chunk)
            for a_set, b_set in zip(a_sets, b_sets, strict=True):
                useful += add_set(accumulator, a_set, b_set, align_range)
            result = accumulator.read_out()
            overflows += math.isinf(result)
            outputs[column, row] = result
    cycles = len(a_rows[0])
    return BitParallelPass(cycles, outputs, overflows, useful, rows * cols * lanes * cycles - useful)
