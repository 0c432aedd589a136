"""The products of one shape within an operation, and the sampled blocks of those that a trace does not hold whole."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.errors import TraceError
from simhw.lowering.grid import Grid
from simhw.lowering.operand import Border, Columns, Operand, Reduction
from simhw.trace.layer import ProductBlock


@dataclass(frozen=True, eq=False)
class Side:
    """One side of all products of a family: element (r, k) of product p lies at ``bases[p] + rows[r] + columns[k]``."""

    values: Callable[[], BF16Array]
    bases: Grid
    rows: Grid
    columns: Grid
    reduction: Reduction
    border: Border | None = None

    @property
    def most_values(self) -> int:
        """Values of its tensor at the most, and as many where no two rows share one."""
        return self.bases.distinct * self.rows.size * self.columns.size

    @cached_property
    def _padded_columns(self) -> Columns:
        return Columns(self.reduction.padded(self.columns.offsets, -1))

    def operand(self, index: int) -> Operand:
        """One product's."""
        return Operand(
            self.values(),
            self.rows.offsets + self.bases.offset(index),
            self._padded_columns,
            self.reduction,
            self.border,
        )

    def gather(
        self, parts: Sequence[tuple[int, int, int]], multiple: int = 1
    ) -> tuple[BF16Array, npt.NDArray[np.bool_]]:
        """Rows of some products one below another, each part filled up with rows of zeros.

        Parameters
        ----------
        parts : sequence of (product, first row, row after the last)
            The last may lie beyond the product's.
        multiple : int
            Rows of each part, filled up, are a multiple of it.

        Returns
        -------
        rows : (n, K) contiguous uint16
        real : (n,) bool
            False for rows that only fill.
        """
        every = self.rows.offsets
        offsets = []
        for product, start, stop in parts:
            own = every[start:stop]
            filling = -len(own) % multiple
            offsets.append(own + self.bases.offset(product))
            if filling:
                offsets.append(np.full(filling, -1, np.int64))
        starts = offsets[0] if len(offsets) == 1 else np.concatenate(offsets)
        return self._padded_columns.gather(self.values(), starts), starts >= 0

    def stack(self, products: Sequence[int]) -> BF16Array:
        """All rows of some products: (products, rows, K) uint16."""
        starts = self.bases.offsets[list(products), None] + self.rows.offsets
        return self._padded_columns.gather(self.values(), starts.reshape(-1)).reshape(*starts.shape, -1)

    def live_sets(self, start: int, stop: int) -> npt.NDArray[np.bool_] | None:
        """As `Operand.live_sets`, of every product; None where all rows have all sets.  No value is read."""
        return None if self.border is None else self.border.live_sets(start, stop, self.reduction)


@dataclass(frozen=True, eq=False)
class SampledBlock:
    """A sampled cell of a product: consecutive rows of X and of Y over the whole reduction, read and padded to sets
    when asked.

    Attributes
    ----------
    product : int
        Index of the product within its family.
    x_start, y_start : int
        First row of X and of Y.
    """

    source: ProductBlock
    reduction: Reduction
    border: Border | None = None

    @property
    def product(self) -> int:
        return self.source.product

    @property
    def x_start(self) -> int:
        return self.source.x_start

    @property
    def y_start(self) -> int:
        return self.source.y_start

    @property
    def x(self) -> BF16Array:
        """Rows of X, (rows, K) contiguous uint16, K padded to sets; read now."""
        return np.ascontiguousarray(self.reduction.padded(self.source.x.read(), 0), dtype=np.uint16)

    @property
    def y(self) -> BF16Array:
        """Rows of Y, (rows, K) contiguous uint16, K padded to sets; read now."""
        return np.ascontiguousarray(self.reduction.padded(self.source.y.read(), 0), dtype=np.uint16)

    def live_sets(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """As `Operand.live_sets`, for rows of X counted from the block's first."""
        if self.border is None:
            return np.ones(self.reduction.size // self.reduction.lanes, dtype=np.bool_)
        rows = self.source.x.shape[0]
        return self.border.live_sets(self.x_start + start, self.x_start + min(stop, rows), self.reduction)


@dataclass(frozen=True, eq=False)
class Family:
    """The products of one shape within an operation: `count` products of (m, K) by (n, K).

    Attributes
    ----------
    name : str
        Layer and operation, for messages.
    count, m, n : int
        Products, rows of X (windows side), rows of Y (filters side).
    reduction : Reduction
        K before and after padding to sets.
    fed, real : int
        Pairs of all products that a machine is fed, padding to sets and partial tiles excluded; and those of them that
        have a value of each tensor.  They differ where a convolution's spatial padding is part of the stream.
    blocks : list of SampledBlock
        The sampled cells, where the layer does not hold its tensors whole.
    sampled : bool
        True where only `blocks` can be had.
    """

    name: str
    number: int
    count: int
    m: int
    n: int
    reduction: Reduction
    fed: int
    real: int
    blocks: list[SampledBlock]
    sampled: bool
    _x: Side
    _y: Side
    _products_per_image: int | None

    @property
    def segments(self) -> int:
        """Kernel positions, or images in weight_grad: the pieces of the reduction."""
        return self.reduction.segments

    @property
    def segment_length(self) -> int:
        """Values of a segment before padding to sets."""
        return self.reduction.segment_length

    @property
    def border(self) -> Border | None:
        """Where X reads the convolution's spatial padding, under ``padding="skip"``."""
        return self._x.border

    def k(self, lanes: int | None = None) -> int:
        """Reduction length padded to sets of `lanes` (default: those that the family was lowered for)."""
        size = self.reduction.lanes if lanes is None else lanes
        return Reduction(self.segments, self.segment_length, size, self.reduction.lane_padding).size

    def population(self, tile_x: int, tile_y: int) -> int:
        """Number of tile passes when a tile takes `tile_x` rows of X and `tile_y` rows of Y."""
        return self.count * -(-self.m // tile_x) * -(-self.n // tile_y)

    @property
    def sides(self) -> tuple[Side, Side]:
        """X and Y of all products.

        Raises
        ------
        TraceError
            The layer holds only a sample.
        """
        if self.sampled:
            raise TraceError(f"{self.name}: the trace holds only a sample of this layer; simulate its blocks")
        return self._x, self._y

    def product(self, index: int) -> tuple[Operand, Operand]:
        """Operands X and Y of a product.

        The tensors are read, padded and transposed on the first call and shared by all families of the same `lower`;
        they are held as long as any of these families or its operands lives.

        Raises
        ------
        TraceError
            The layer holds only a sample, or there is no such product.
        """
        x, y = self.sides
        if not 0 <= index < self.count:
            raise TraceError(f"{self.name}: product {index} does not exist; there are {self.count}")
        return x.operand(index), y.operand(index)

    def x_key(self, index: int) -> Hashable:
        """Equal keys mean the same X operand, within all families of one `lower`."""
        return ("x", self.number, self._x.bases.offset(index))

    def y_key(self, index: int) -> Hashable:
        """Equal keys mean the same Y operand, within all families of one `lower`."""
        return ("y", self.number, self._y.bases.offset(index))

    @property
    def distinct(self) -> tuple[int, int]:
        """How many different X operands all products have, and how many different Y."""
        return self._x.bases.distinct, self._y.bases.distinct

    def image(self, index: int) -> int | None:
        """Index along the leading axis of A and G that the product comes from, or None where it covers all."""
        return None if self._products_per_image is None else index // self._products_per_image
