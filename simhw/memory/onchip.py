"""On chip: what passes between global buffers, transposers, scratchpads and tiles, and how long the buffers take for
it.

A set of a tile pass needs one access for each of the tile's rows of X and of Y.  Tiles form a grid, as wide as there
are tiles of Y: those of one row of it take the same rows of X, those of one column the same of Y, and an access is
broadcast.  Scratchpads keep a slice of K of some tiles of X and of Y, which all meet each other before the next slice,
their partial sums waiting beside the PEs; so an access serves as many passes.  The accesses of a tile's rows are issued
together and take as many cycles as the most of them that fall in one bank: neighbouring columns of an image lie a
container's channels apart, which is why nine banks and not eight serve eight columns at once.  An operand whose sets do
not run along channels passes through the transposers.  Source: spec pages fpraker.md section 4, tensordash.md section
3; the grid and the slices are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, isqrt

import numpy as np
import numpy.typing as npt

from simhw.lowering.view import view_layer
from simhw.memory.parameters import Memory
from simhw.trace.geometry import TRANSPOSED_CONVOLUTIONS
from simhw.trace.layer import MIRRORED_OPERATION, MIRRORED_TENSOR, OPERANDS, Layer, Operation, TensorName

TRANSPOSED: dict[Operation, tuple[TensorName, ...]] = {"forward": (), "input_grad": ("w",), "weight_grad": ("a", "g")}
"""Tensors whose sets do not run along their channels, which is how containers hold them."""


@dataclass(frozen=True)
class PassShape:
    """Tile passes of clusters of one shape: products that share an operand, so that every tile of X meets every tile of
    Y.

    Attributes
    ----------
    x, y : str
        The tensors on the machine's X and Y side.
    clusters : int
    x_tiles, y_tiles : int
        Of one cluster.
    sets : float
        Sets of a pass, on average.
    """

    x: TensorName
    y: TensorName
    clusters: int
    x_tiles: int
    y_tiles: int
    sets: float

    @property
    def passes(self) -> int:
        return self.clusters * self.x_tiles * self.y_tiles


@dataclass(frozen=True)
class TileShape:
    """Rows of X and of Y that a tile takes, lanes of a set, and tiles."""

    rows_x: int
    rows_y: int
    lanes: int
    tiles: int


@dataclass(frozen=True)
class OnChip:
    """Accesses of an operation, and the cycles that the busiest memories take for them.

    Attributes
    ----------
    buffer_reads : dict of tensor name to float
        Accesses of each global buffer on behalf of the tiles.
    scratchpad_reads, scratchpad_writes : float
        Accesses of a set's lanes each.
    transposed : float
        Accesses that pass through transposers.
    buffer_cycles : float
        That the slowest buffer needs, bank conflicts included.
    transposer_cycles : float
    """

    buffer_reads: dict[TensorName, float]
    scratchpad_reads: float
    scratchpad_writes: float
    transposed: float
    buffer_cycles: float
    transposer_cycles: float


def on_chip(layer: Layer, operation: Operation, shapes: Sequence[PassShape], tile: TileShape, memory: Memory) -> OnChip:
    """Accesses and cycles of an operation; linear in the number of tile passes."""
    reads: dict[TensorName, float] = dict.fromkeys(OPERANDS[operation], 0.0)
    busy = dict(reads)
    pad_reads = pad_writes = transposed = 0.0
    # A transposed convolution's W lies as that of the convolution which it mirrors.
    seen = MIRRORED_OPERATION[operation] if layer.kind in TRANSPOSED_CONVOLUTIONS else operation
    side = slice_reuse(tile, memory)
    for shape in shapes:
        grid_y = min(shape.y_tiles, tile.tiles)
        grid_x = min(shape.x_tiles, max(1, tile.tiles // grid_y))
        reuse_x, reuse_y = min(side, -(-shape.x_tiles // grid_x)), min(side, -(-shape.y_tiles // grid_y))
        sets = shape.clusters * shape.sets
        # A slice of X meets `reuse_y` tiles of Y in each tile of its row of the grid before it is dropped, and the
        # other way round.
        groups = (
            (shape.x, sets * shape.x_tiles, tile.rows_x, _fetches(shape.y_tiles, grid_y, reuse_y)),
            (shape.y, sets * shape.y_tiles, tile.rows_y, _fetches(shape.x_tiles, grid_x, reuse_x)),
        )
        for tensor, slices_of_all, rows, (fetches, copies) in groups:
            number = slices_of_all * fetches
            buffer = getattr(memory.buffers, tensor)
            wide = ceil(tile.lanes * memory.value_bytes / buffer.access_bytes)
            together = max(1, buffer.banks // rows)
            reads[tensor] += number * rows * wide
            busy[tensor] += (
                number
                * wide
                * meeting_cycles(layer, operation, tensor, rows * together, memory)
                / together
                / buffer.instances
            )
            pad_writes += slices_of_all * rows * copies
            if tensor in TRANSPOSED[seen]:
                transposed += number * rows * wide
        pad_reads += shape.passes * shape.sets * (tile.rows_x + tile.rows_y)
        # Partial sums leave the PEs and come back between slices, and leave once more as outputs.
        slices = (
            max(1.0, ceil(shape.sets * tile.lanes / slice_values(tile, memory))) if max(reuse_x, reuse_y) > 1 else 1.0
        )
        sums = shape.passes * tile.rows_x * tile.rows_y * memory.partial_value_bytes / (tile.lanes * memory.value_bytes)
        pad_reads, pad_writes = pad_reads + sums * slices, pad_writes + sums * slices
    return OnChip(
        buffer_reads=reads,
        scratchpad_reads=pad_reads,
        scratchpad_writes=pad_writes,
        transposed=transposed,
        buffer_cycles=max(busy.values()),
        transposer_cycles=transposed / memory.transposers.count,
    )


def _fetches(tiles: int, grid: int, reuse: int) -> tuple[int, int]:
    """How often an operand's slice is fetched to meet so many tiles of the other, and into how many tiles' scratchpads
    in all.
    """
    full, rest = divmod(tiles, grid * reuse)
    return full + (rest > 0), full * grid + min(rest, grid)


def slice_reuse(tile: TileShape, memory: Memory) -> int:
    """Tiles of X, and as many of Y, whose slices a tile holds together: the largest square whose partial sums fit
    beside the PEs.
    """
    sums = tile.rows_y * memory.scratchpads.partial_bytes // (tile.rows_x * tile.rows_y * memory.partial_value_bytes)
    side = max(1, isqrt(sums))
    # A slice holds at least two sets, one in use and one arriving.
    return min(side, max(1, memory.scratchpads.operand_bytes // (2 * tile.lanes * memory.value_bytes)))


def slice_values(tile: TileShape, memory: Memory) -> int:
    """Values of K in a slice of one row, double-buffered: whole sets."""
    sets = memory.scratchpads.operand_bytes // (2 * slice_reuse(tile, memory) * memory.value_bytes * tile.lanes)
    return max(1, sets) * tile.lanes


def meeting_cycles(layer: Layer, operation: Operation, tensor: TensorName, rows: int, memory: Memory) -> float:
    """Mean cycles that `rows` simultaneous accesses take: the most that meet in one bank."""
    buffer = getattr(memory.buffers, tensor)
    units = max(1, memory.container.channels * memory.value_bytes // buffer.access_bytes)
    view = view_layer(layer, operation, per_image=False)
    if layer.kind in TRANSPOSED_CONVOLUTIONS:
        operation, tensor = MIRRORED_OPERATION[operation], MIRRORED_TENSOR[tensor]
    if tensor == "w":
        return _meeting(
            (1, view.outputs if operation != "input_grad" else view.inputs), (1, 1), 1, rows, units, buffer.banks
        )
    flat = (1, *view.out)[-2:], (1, *view.spatial)[-2:], (1, *view.geometry.stride)[-2:]
    (out_rows, out_columns), (_, columns), (stride_y, stride_x) = flat
    if tensor == "a":
        return _meeting((out_rows, out_columns), (stride_y, stride_x), columns, rows, units, buffer.banks)
    return _meeting((out_rows, out_columns), (1, 1), out_columns, rows, units, buffer.banks)


@lru_cache(maxsize=4096)
def _meeting(grid: tuple[int, int], stride: tuple[int, int], columns: int, rows: int, units: int, banks: int) -> float:
    """Mean over groups of `rows` consecutive positions (x fastest) of the most that fall in one of `banks`, `units`
    apart a column.
    """
    # Bank patterns repeat: a few thousand positions tell the mean.
    limit = max(1, 4096 // grid[1])
    y, x = np.divmod(np.arange(min(grid[0], limit) * min(grid[1], 65536), dtype=np.int64), min(grid[1], 65536))
    bank = (y * (stride[0] * columns % banks) + x * (stride[1] % banks)) % banks * (units % banks) % banks
    whole = len(bank) // rows
    groups = [bank[: whole * rows].reshape(whole, rows)] if whole else []
    if len(bank) % rows:
        groups.append(bank[whole * rows :][None])
    return float(np.concatenate([_most_alike(group) for group in groups]).mean())


def _most_alike(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often the most frequent value of each row (n, rows) stands there; the cost does not depend on the values."""
    ordered, place = np.sort(groups, axis=1), np.arange(groups.shape[1])
    first = np.zeros_like(ordered)
    first[:, 1:] = np.where(ordered[:, 1:] != ordered[:, :-1], place[1:], 0)
    longest: npt.NDArray[np.int64] = (place - np.maximum.accumulate(first, axis=1)).max(axis=1) + 1
    return longest
