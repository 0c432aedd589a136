"""Rows of the parallel operand laid side by side for the vector kernels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simhw.pe.fpraker import encode_parallel
from simhw.pe.vector import WIDTH
from simhw.tile.passes import ParallelRows, nonzero_per_k


@dataclass(frozen=True)
class Group:
    """WIDTH parallel rows laid out for the kernel; the last `WIDTH - lanes` belong to no tile."""

    exponents: npt.NDArray[np.unsignedinteger]
    significands: npt.NDArray[np.unsignedinteger]
    lanes: int
    real: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Prepared:
    """Rows of Y laid out for the kernel, and how many real rows have a non-zero value at each k."""

    groups: list[Group]
    nonzero_rows: npt.NDArray[np.int64]
    real_rows: int


def lay_out(parallel: ParallelRows, word: npt.DTypeLike) -> Prepared:
    """Lay out rows of Y, WIDTH side by side, as unsigned words of the given type."""
    rows = parallel.rows
    groups = []
    for start in range(0, len(rows), WIDTH):
        part = rows[start : start + WIDTH]
        exponents, significands = np.empty(part.shape[1] * WIDTH, word), np.empty(part.shape[1] * WIDTH, word)
        encode_parallel(part, exponents, significands)
        groups.append(Group(exponents, significands, len(part), parallel.real[start : start + WIDTH]))
    return Prepared(groups, nonzero_per_k(rows), int(parallel.real.sum()))
