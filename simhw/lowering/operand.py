"""One side of a product: where each of its values lies, and rows of it as the processing elements take them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel
from simhw.lowering.grid import Grid, Offsets

LanePadding = Literal["stream", "pack"]
Padding = Literal["stream", "skip"]
Scalar = TypeVar("Scalar", bound=np.generic)

# Below this mean length, copying run by run costs more than one index per value (measured: about 3 ns to start a run).
SHORT_RUN = 8

# Of a piece that is read along its rows and written along its columns: whole cache lines both ways, well within the
# nearest cache (measured: 0.3 to 0.8 ns a value, beside 1.1 to 7 value by value).
PIECE_ROWS, PIECE_COLUMNS = 128, 16


@kernel
def _gather_values(values: BF16Array, row_offsets: Offsets, k_offsets: Offsets, out: BF16Array) -> None:
    for row in range(row_offsets.size):
        base = row_offsets[row]
        if base < 0:
            out[row] = 0
            continue
        for column in range(k_offsets.size):
            offset = k_offsets[column]
            out[row, column] = values[np.uint64(base + offset)] if offset >= 0 else np.uint16(0)


@kernel
def _gather_across(values: BF16Array, row_offsets: Offsets, k_offsets: Offsets, out: BF16Array) -> None:
    # Rows that lie side by side, each across the order of the values, in pieces that stay in the nearest cache.
    piece = np.empty((PIECE_COLUMNS, PIECE_ROWS), np.uint16)
    first_row = 0
    while first_row < row_offsets.size:
        base, height = row_offsets[first_row], 1
        if base < 0:
            out[first_row] = 0
            first_row += 1
            continue
        while (
            height < min(PIECE_ROWS, row_offsets.size - first_row) and row_offsets[first_row + height] == base + height
        ):
            height += 1
        rows = np.uint64(height)
        for first_column in range(0, k_offsets.size, PIECE_COLUMNS):
            columns = np.uint64(min(PIECE_COLUMNS, k_offsets.size - first_column))
            for column in range(columns):
                offset = k_offsets[np.uint64(first_column) + column]
                if offset < 0:
                    for row in range(rows):
                        piece[column, row] = np.uint16(0)
                else:
                    begin = np.uint64(base + offset)
                    for row in range(rows):
                        piece[column, row] = values[begin + row]
            for row in range(rows):
                for column in range(columns):
                    out[np.uint64(first_row) + row, np.uint64(first_column) + column] = piece[column, row]
        first_row += height


@kernel
def _gather_runs(values: BF16Array, row_offsets: Offsets, runs: Offsets, out: BF16Array) -> None:
    # Unsigned indices: a signed one costs Numba's test for a negative index and keeps the copy from being vectorised.
    for row in range(row_offsets.size):
        base = row_offsets[row]
        if base < 0:
            out[row] = 0
            continue
        for run in range(runs.shape[0]):
            column = np.uint64(runs[run, 0])
            length = np.uint64(runs[run, 2])
            if runs[run, 1] < 0:
                for step in range(length):
                    out[row, column + step] = np.uint16(0)
            else:
                first = np.uint64(base + runs[run, 1])
                for step in range(length):
                    out[row, column + step] = values[first + step]


@dataclass(frozen=True)
class Reduction:
    """The reduction axis of a product: segments of values, padded with zeros to whole sets.

    Attributes
    ----------
    segments, segment_length : int
        A segment is a kernel position (its values run along channels) or, in weight_grad, an image (output positions).
    lanes : int
        Set size of the processing element.
    lane_padding : {"stream", "pack"}
        ``stream``: each segment is padded to a multiple of `lanes`; ``pack``: only the whole reduction, at its end.
    """

    segments: int
    segment_length: int
    lanes: int
    lane_padding: LanePadding = "stream"

    @property
    def size(self) -> int:
        """Values of one row, padding included: a multiple of `lanes`."""
        if self.lane_padding == "stream":
            return self.segments * -(-self.segment_length // self.lanes) * self.lanes
        return -(-self.segments * self.segment_length // self.lanes) * self.lanes

    def padded(self, columns: npt.NDArray[Scalar], fill: int) -> npt.NDArray[Scalar]:
        """Spread unpadded columns (last axis segments * segment_length) over `size`, with `fill` between them."""
        lead = columns.shape[:-1]
        if self.segments * self.segment_length == self.size:
            return columns
        out = np.full((*lead, self.size), fill, dtype=columns.dtype)
        if self.lane_padding == "pack":
            out[..., : columns.shape[-1]] = columns
        else:
            spread = out.reshape(*lead, self.segments, -1)
            spread[..., : self.segment_length] = columns.reshape(*lead, self.segments, self.segment_length)
        return out


@dataclass(frozen=True, eq=False)
class Columns:
    """Where the values of a reduction lie relative to a row's start: (K,) int64, negative where padding to sets is."""

    offsets: Offsets

    @cached_property
    def runs(self) -> Offsets:
        """Stretches of consecutive values, (runs, 3) int64: first column, its offset (-1: zeros), length."""
        offsets = self.offsets
        padding = offsets < 0
        step = np.where(padding, 0, 1)
        starts = np.flatnonzero(np.r_[True, (offsets[1:] - offsets[:-1] != step[1:]) | (padding[1:] != padding[:-1])])
        lengths = np.diff(np.r_[starts, offsets.size])
        return np.ascontiguousarray(np.stack([starts, offsets[starts], lengths], axis=1), dtype=np.int64)

    def gather(self, values: BF16Array, row_offsets: Offsets) -> BF16Array:
        """Rows that start at the offsets, a fresh (rows, K) contiguous uint16 array; of zeros where one is negative."""
        out = np.empty((row_offsets.size, self.offsets.size), dtype=np.uint16)
        if self.offsets.size >= SHORT_RUN * len(self.runs):
            _gather_runs(values, row_offsets, self.runs, out)
        elif 2 * np.count_nonzero(np.diff(row_offsets) == 1) > row_offsets.size:
            _gather_across(values, row_offsets, self.offsets, out)
        else:
            _gather_values(values, row_offsets, self.offsets, out)
        return out


@dataclass(frozen=True, eq=False)
class Border:
    """Which (row, segment) pairs of an operand read the convolution's spatial padding; kept for ``padding="skip"``.

    Attributes
    ----------
    inside : tuple of (int, int)
        Along each spatial dimension of the padded grid, where the values begin and end; the rest is padding.
    rows, segments : Grid
        An axis for each dimension; the position of a (row, segment) pair is the sum of the two.
    """

    inside: tuple[tuple[int, int], ...]
    rows: Grid
    segments: Grid

    def live_sets(self, start: int, stop: int, reduction: Reduction) -> npt.NDArray[np.bool_]:
        """True for the sets in which any of the rows from `start` to `stop` reads more than padding; (K / lanes,)."""
        rows = self.rows.coordinates(start, stop)
        pairs = np.ones((len(rows[0]), 1), dtype=np.bool_)
        for (low, high), row, taps in zip(self.inside, rows, self.segments.axes, strict=True):
            position = row[:, None] + taps.at(np.arange(taps.count, dtype=np.int64))
            inside = (low <= position) & (position < high)
            pairs = (pairs[:, :, None] & inside[:, None, :]).reshape(len(row), -1)
        columns = reduction.padded(np.repeat(pairs.any(axis=0), reduction.segment_length), False)
        return np.asarray(columns.reshape(-1, reduction.lanes).any(axis=1))


@dataclass(frozen=True, eq=False)
class Operand:
    """Rows of one side of a product: element (r, k) is ``values[row_offsets[r] + k_offsets[k]]``, or zero where
    ``k_offsets[k] < 0``.

    Attributes
    ----------
    values : (n,) uint16
        A whole tensor, padded spatially, so that no offset leaves it; shared by all products of a family.
    row_offsets : (rows,) int64
    columns : Columns
    reduction : Reduction
    border : Border or None
        There under ``padding="skip"`` where the convolution pads.
    """

    values: BF16Array
    row_offsets: Offsets
    columns: Columns
    reduction: Reduction
    border: Border | None = None

    @property
    def k_offsets(self) -> Offsets:
        """Offset of each value of the reduction from its row's start, (K,) int64; negative for padding to sets."""
        return self.columns.offsets

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and padded reduction length."""
        return self.row_offsets.size, self.k_offsets.size

    def rows(self, start: int, stop: int) -> BF16Array:
        """Rows from `start` up to `stop` (or the last), a fresh (rows, K) contiguous uint16 array."""
        return self.columns.gather(self.values, self.row_offsets[start:stop])

    def live_sets(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Sets that a pass over the rows from `start` to `stop` has to execute, (K / lanes,) bool.

        All True under ``padding="stream"``.  Under ``skip`` a set is left out where all that these rows read in it is
        the convolution's spatial padding (or padding to sets); a pass executes the sets that are live on both sides:
        ``rows.reshape(len(rows), -1, lanes)[:, live]``.
        """
        if self.border is None:
            return np.ones(self.reduction.size // self.reduction.lanes, dtype=np.bool_)
        return self.border.live_sets(start, stop, self.reduction)
