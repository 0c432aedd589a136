"""A product of two matrices on one tile of a machine."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, as_bfloat16, nonfinite_values, to_float32
from simhw.errors import ShapeError
from simhw.machine.machine import Machine, machine_of
from simhw.pe.check import check_passes
from simhw.pe.passes import whole_tiles

ROWS_AT_A_TIME = 256
"""Rows of Y that `simulate_gemm` lays out at a time, cut to whole tiles, where each costs its own share."""


@dataclass(frozen=True)
class GemmResult:
    """A product on one tile, a tile pass after another.

    Attributes
    ----------
    cycles : int
        Sum over the tile passes.
    passes : int
    counters : dict of str to int
        Lane-cycles by class and the other counters of the machine's PE.
    output : (M, N) float32 or None
        Values of the bfloat16 read-out, where asked for.
    """

    cycles: int
    passes: int
    counters: dict[str, int]
    output: npt.NDArray[np.float32] | None = None


def simulate_gemm(
    a: npt.ArrayLike, b: npt.ArrayLike, machine: Machine | str, output: bool = False, check: bool = False
) -> GemmResult:
    """Simulate ``a @ b.T`` on one tile of a machine.

    Parameters
    ----------
    a : (M, K) uint16 bfloat16 bit patterns or floating point, of NumPy or PyTorch
        The serial (FPRaker) or scheduled (TensorDash) operand; rows go to the tile's columns (FPRaker) or rows
        (TensorDash).
    b : (N, K)
        The other operand.  K is padded with zeros to whole sets, partial tiles with PEs that hold nobody up.
    machine : Machine, name or path, the latter two maybe with overrides (``fpraker:tile.rows=4``)
    output : bool
        Whether to compute the products' values.
    check : bool
        Whether to replay every pass step by step and compare cycles, counters and output bits.

    Raises
    ------
    ShapeError
        The operands are not two matrices with the same K, or hold NaN or infinity.
    CheckError
        The replay differs.
    """
    machine = machine_of(machine)
    x, y = (_operand(matrix, name, machine) for matrix, name in ((a, "a"), (b, "b")))
    if x.shape[1] != y.shape[1]:
        raise ShapeError(f"a {x.shape} and b {y.shape} differ in K, their last axis")
    x, y = _whole_sets(x, machine), _whole_sets(y, machine)
    tile = machine.tile
    y_values = tile.needs_y or output or check
    # Where all rows of Y cost no more than one, X runs once.
    step = len(y) if tile.cell_rows is None else max(1, ROWS_AT_A_TIME // tile.tile_y) * tile.tile_y
    cycles = passes = 0
    counters: Counter[str] = Counter()
    outputs = []
    replay = partial(check_passes, machine.pe) if check else None
    for start in range(0, len(y), step):
        block = y[start : start + step]
        rows = whole_tiles([block if y_values else block[:, :0]], tile.tile_y)
        result = tile.run(x, tile.prepare(rows), outputs=output or check)
        if replay is not None:
            replay(x, rows, result, "product")
        cycles += result.cycles
        passes += result.passes
        counters.update(result.counters)
        outputs.append(result.outputs)
    values = to_float32(np.concatenate([part for part in outputs if part is not None], axis=1)) if output else None
    return GemmResult(cycles, passes, dict(counters), values)


def _operand(matrix: npt.ArrayLike, name: str, machine: Machine) -> BF16Array:
    """A matrix as bit patterns."""
    array = as_bfloat16(matrix, name, machine.values.conversion)
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(f"{name} has shape {array.shape}: give a matrix of rows by K")
    if bad := nonfinite_values(array):
        raise ShapeError(f"{name}: {bad}")
    return array


def _whole_sets(rows: BF16Array, machine: Machine) -> BF16Array:
    """Rows (n, K) with K padded with zeros to whole sets: a copy only where that, or what kernels are compiled for,
    takes one.
    """
    if padding := -rows.shape[1] % machine.tile.lanes:
        rows = np.pad(rows, ((0, 0), (0, padding)))
    return np.require(rows, requirements=["C", "A", "W", "E"])
