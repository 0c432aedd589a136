"""How wide an accumulator a sum of so many products needs, layer by layer.

Source: Sakr et al., "Accumulation bit-width scaling for ultra-low precision training of deep networks", ICLR 2019, its
first lemma (recalled): a partial sum of i products of variance 1 swamps the next one wholly once it exceeds 2^m, with m
fraction bits.  The variance that is retained of n products is::

    q_i = 2 Q(2^m / sqrt(i)) (1 - 2 Q(2^m / sqrt(i - 1)))        swamped first at i
    k   = sum of q_i over i = 2..n-1, and the rest 1 - 2 Q(2^m / sqrt(n))
    VRR = (sum of i q_i, and n times the rest) / (k n)

A width will do where n (1 - VRR) < ln 50.  Sums in chunks retain the product of what a chunk and the sum of chunks
retain.  Partial swamping, of the theorem behind the lemma, is left out.
"""

from functools import lru_cache
from math import ceil, log

import numpy as np
import numpy.typing as npt

from simhw.lowering import lower
from simhw.trace.layer import Layer, Operation

LOSS = log(50)
"""Of n (1 - VRR), from which on training suffers (Sakr et al., recalled)."""
WIDEST = 24
"""Fraction bits that are looked at: those of float32."""


def retained(width: int, length: int) -> float:
    """Share of the variance that a sum of so many products retains."""
    steps = np.arange(2, max(length, 2), dtype=np.float64)
    first = _swamped(width, steps) * (1 - _swamped(width, steps - 1))
    rest = 1 - float(_swamped(width, np.array([float(length)]))[0])
    return float((steps @ first + length * rest) / (length * (first.sum() + rest)))


def _swamped(width: int, products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How likely a sum of so many products exceeds 2^width: 2 Q(2^width / sqrt(products))."""
    from scipy.special import ndtr

    found: npt.NDArray[np.float64] = 2 * ndtr(-(2.0**width) / np.sqrt(products))
    return found


@lru_cache(maxsize=4096)
def least_width(length: int, chunk: int | None) -> int:
    """Fewest fraction bits that a sum of so many products can do with.

    Parameters
    ----------
    length : int
    chunk : int or None
        Products that are summed apart; None sums all in a row.
    """
    for width in range(1, WIDEST):
        if chunk is None or length <= chunk:
            share = retained(width, length)
        else:
            share = retained(width, chunk) * retained(width, ceil(length / chunk))
        if length * (1 - share) < LOSS:
            return width
    return WIDEST


def reduction_length(layer: Layer, operation: Operation, grown: float = 1.0) -> int:
    """Products of an operation's longest sum; those of a weight gradient grow with the batch."""
    longest = max(family.k(lanes=1) for family in lower(layer, operation, lanes=1))
    return round(longest * grown) if operation == "weight_grad" else longest
