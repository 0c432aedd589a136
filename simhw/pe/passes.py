"""What every tile can do: take rows of X and rows of Y, run the tile passes that they make, and count.

X is the serial (FPRaker) or scheduled (TensorDash) side.  Rows of Y are laid out once by `prepare` and then met by any
number of rows of X, since laying out costs about as much as four products a value.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel

CELL_ROWS = 32
"""Rows of Y in a cell where each costs the simulator its own share: a cell that held all of them could be of any size.
"""


@dataclass(frozen=True)
class TilePasses:
    """Tile passes that ran, one after another, on one tile.

    Attributes
    ----------
    passes : int
    durations : (passes,) int64
        Cycles of each pass.
    counters : Counter
        Lane-cycles by class, which add up to ``lanes of the tile * cycles``, and the tile's other counts.
    outputs : (rows of X, real rows of Y) uint16 or None
        The bfloat16 read-out of every product, where asked for.
    """

    durations: npt.NDArray[np.int64]
    counters: Counter[str]
    outputs: BF16Array | None = None

    @property
    def passes(self) -> int:
        """Number of passes."""
        return len(self.durations)

    @property
    def cycles(self) -> int:
        """Sum over the passes."""
        return int(self.durations.sum())


@dataclass(frozen=True)
class ParallelRows:
    """Rows of Y in whole tiles: `rows` (tiles * tile_y, K) with rows of zeros where `real` is False."""

    rows: BF16Array
    real: npt.NDArray[np.bool_]


class Tile(Protocol):
    """A tile of one machine."""

    lanes: int
    """Values of K in a set or step."""
    tile_x: int
    """Rows of X in a tile pass."""
    tile_y: int
    """Rows of Y in a tile pass."""
    needs_y: bool
    """False where cycles and counters depend on X and the number of rows of Y alone."""
    vector_rows: int | None
    """Rows of Y that the kernel runs side by side, and so as fast as one; all of X meets them before the next.  None
    where all rows of Y go together."""
    cell_rows: int | None
    """Rows of Y in a cell, the least that a sample takes; None where more of them cost nothing, so a cell has all."""
    fixed_time: bool
    """True where a pass takes one cycle a set whatever the values."""

    def prepare(self, parallel: ParallelRows) -> Any:
        """Lay out rows of Y for `run`; independent of X."""

    def run(self, x: BF16Array, prepared: Any, outputs: bool = False) -> TilePasses:
        """Run every row of X (n, K) against the prepared rows of Y, a tile pass at a time."""


@runtime_checkable
class StackingTile(Protocol):
    """A tile that takes many products of one shape at once, so that small ones cost Python no more than a large one."""

    def run_stacked(self, x: BF16Array, y: BF16Array, real: npt.NDArray[np.bool_]) -> TilePasses:
        """Run every product's rows of X against its rows of Y, a tile pass at a time.

        Parameters
        ----------
        x : (products, rows, K) uint16
        y : (products, rows, K) uint16
        real : (rows of Y filled up to whole tiles,) bool
            False for those that only fill a tile, in every product.
        """


def whole_tiles(blocks: Sequence[BF16Array], tile_y: int) -> ParallelRows:
    """Stack blocks of rows (each from one product), every one filled up with rows of zeros to whole tiles of
    ``tile_y``.
    """
    sizes = [-(-len(block) // tile_y) * tile_y for block in blocks]
    rows = np.zeros((sum(sizes), blocks[0].shape[1]), dtype=np.uint16)
    real = np.zeros(len(rows), dtype=np.bool_)
    start = 0
    for block, size in zip(blocks, sizes, strict=True):
        rows[start : start + len(block)] = block
        real[start : start + len(block)] = True
        start += size
    return ParallelRows(rows, real)


def nonzero_per_k(rows: BF16Array) -> npt.NDArray[np.int64]:
    """How many of the rows (n, K) have a non-zero value at each k: (K,)."""
    # Kernels that allocate arrays take longer to compile.
    nonzero = np.zeros(rows.shape[1], np.int64)
    count_nonzero_rows(rows, nonzero)
    return nonzero


@kernel
def count_nonzero_rows(rows: BF16Array, nonzero: npt.NDArray[np.int64]) -> None:
    """Add to `nonzero` (K,) how many of the rows (n, K) are not zero at each k."""
    count, reduction = rows.shape
    for row in range(count):
        for k in range(reduction):
            nonzero[k] += (rows[row, k] & 0x7F80) != 0


@kernel
def count_useful(x: BF16Array, nonzero_rows: npt.NDArray[np.int64]) -> int:
    """Pairs of non-zeros between rows of X (n, K) and rows of Y that have `nonzero_rows` (K,) non-zeros at each k."""
    useful = 0
    for row in range(x.shape[0]):
        for k in range(x.shape[1]):
            if x[row, k] & 0x7F80:
                useful += nonzero_rows[k]
    return useful
