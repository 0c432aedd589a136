"""Families put together from offsets: what the lowering of each operation shares."""

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.errors import TraceError
from simhw.lowering.family import Family, SampledBlock, Side
from simhw.lowering.grid import Axis, Grid, sums_within
from simhw.lowering.operand import Border, LanePadding, Reduction
from simhw.lowering.view import View
from simhw.trace.geometry import TRANSPOSED_CONVOLUTIONS
from simhw.trace.layer import BLOCK_ROWS, MIRRORED_TENSOR, Layer, Operation, TensorName

Pads = tuple[tuple[int, int], ...]

LARGEST_FAMILIES = 1 << 12
"""Families of an operation; a stride of 64 x 64, the largest patches of vision transformers, has as many in its input
gradient.
"""
LARGEST_SAMPLED_PRODUCTS = 1 << 20
"""Products of a sampled operation, whose number the file only claims; the depthwise layers of a batch of 256 have some
400,000.
"""


LARGE_BYTES = 32 << 20
"""Weights from this size on are read as they lie by both products that have them, not copied into another order.
A copy of less counts little beside the 200 MiB that a run takes, and rows are read from it in a quarter of the time.
"""


class Rows(NamedTuple):
    """An operand of all products of a family: its values, and where products, rows and the reduction lie in them."""

    values: Callable[[], BF16Array]
    bases: Grid
    rows: Grid
    columns: Grid


@dataclass(frozen=True)
class FamilyBuilder:
    """What the three operations share: the layer and the switches, its tensors, and how families are put together.

    Attributes
    ----------
    layer, operation, view, where
        What is lowered: as it is, in the common form, and for messages.
    lanes : int
        Set size of the processing element.
    lane_padding : {"stream", "pack"}
    skip : bool
        Whether the zeros of a convolution's spatial padding are left out.
    """

    layer: Layer
    operation: Operation
    view: View
    where: str
    lanes: int
    lane_padding: LanePadding
    skip: bool

    @property
    def group_in(self) -> int:
        """Input channels of a group."""
        return self.view.inputs // self.view.geometry.groups

    @property
    def group_out(self) -> int:
        """Output channels of a group."""
        return self.view.outputs // self.view.geometry.groups

    @property
    def mirrored(self) -> bool:
        """Whether the layer is a transposed convolution, lowered as the convolution that it mirrors."""
        return self.layer.kind in TRANSPOSED_CONVOLUTIONS

    def check_families(self, number: int) -> None:
        """Refuse geometry that splits an operation into more families than any network's does."""
        if number > LARGEST_FAMILIES:
            split = f"kernel {self.view.kernel} with {self.view.geometry} splits it into {number} families of products"
            raise TraceError(f"{self.where}: {split}, over {LARGEST_FAMILIES}")

    def weight_batch(self, stride: int) -> Axis:
        """Offset of each batch's weights."""
        return Axis(self.view.batch, 0 if self.view.shared_weights else stride)

    @property
    def weights_stay(self) -> bool:
        """Whether the products with W read it as it lies: W is large, and has one kernel position."""
        view = self.view
        return view.shared_weights and prod(view.kernel) == 1 and 2 * view.outputs * self.group_in >= LARGE_BYTES

    def weights(self) -> Callable[[], BF16Array]:
        """W as it lies, (outputs, channels of a group), 1-D; operations that run at the same time share it."""
        layer, known = self.layer, _WEIGHTS.get(self.layer)
        kept = known() if known else None
        if kept is None:
            kept = _Once(lambda: _flat(layer.source("w").read()))
            _WEIGHTS[layer] = weakref.ref(kept)
        return kept

    def tensor(
        self, name: TensorName, pads: Pads, *, channels_last: bool, grouped: bool = False
    ) -> Callable[[], BF16Array]:
        """The tensor's values in the order that its operand wants, padded, 1-D; read and copied on the first call only.

        For a transposed convolution `name` is that of the convolution that it mirrors.
        """
        layer, view = self.layer, self.view
        own = MIRRORED_TENSOR[name] if self.mirrored else name

        def prepare() -> BF16Array:
            array = view.array(name, layer.source(own).read())
            if grouped:
                # (batch, outputs, channels, kernel...) -> (batch, groups, channels, kernel..., outputs of the group)
                array = array.reshape(array.shape[0], view.geometry.groups, self.group_out, *array.shape[2:])
            if channels_last:
                array = np.moveaxis(array, 2, -1)
            if any(before or after for before, after in pads):
                first = 2 if channels_last else 3
                shape, inside = list(array.shape), [slice(None)] * array.ndim
                for axis, (before, after) in enumerate(pads, first):
                    inside[axis] = slice(before, before + shape[axis])
                    shape[axis] += before + after
                padded = np.zeros(shape, dtype=np.uint16)
                padded[tuple(inside)] = array
                array = padded
            return _flat(array)

        return _Once(prepare)

    def real_pairs(self, rows: Sequence[Axis], segments: Sequence[Axis], pads: Pads, sizes: Sequence[int]) -> int:
        """Products of rows and kernel positions that read a value of a tensor of these sizes, over all channels and
        images.
        """
        pairs = prod(
            sums_within(row, segment, before, before + size)
            for row, segment, (before, _), size in zip(rows, segments, pads, sizes, strict=True)
        )
        return self.view.batch * self.view.images * self.view.geometry.groups * self.group_in * self.group_out * pairs

    def border(
        self, grid: tuple[int, ...], pads: Pads, rows: Sequence[Axis], segments: Sequence[Axis]
    ) -> Border | None:
        """Where an operand reads padding, under ``padding="skip"``."""
        if not self.skip or not any(before or after for before, after in pads):
            return None
        inside = tuple((before, size - after) for (before, after), size in zip(pads, grid, strict=True))
        return Border(inside, Grid(tuple(rows)), Grid(tuple(segments)))

    def family(
        self,
        *,
        real: int,
        x: Rows,
        y: Rows,
        segment_length: int,
        products_per_image: int | None,
        border: Border | None = None,
        number: int = 0,
    ) -> Family:
        """The family of these offsets, padded to sets, with its sampled blocks."""
        sampled = self.operation in self.layer.blocks
        if sampled and x.bases.size > LARGEST_SAMPLED_PRODUCTS:
            raise TraceError(
                f"{self.where}: claims {x.bases.size} products, over the {LARGEST_SAMPLED_PRODUCTS} of a sampled layer"
            )
        reduction = Reduction(x.columns.size // segment_length, segment_length, self.lanes, self.lane_padding)
        return Family(
            name=self.where,
            number=number,
            count=x.bases.size,
            m=x.rows.size,
            n=y.rows.size,
            reduction=reduction,
            fed=real if self.skip else x.bases.size * x.rows.size * y.rows.size * x.columns.size,
            real=real,
            blocks=self._blocks(number, x.bases.size, x.rows.size, y.rows.size, reduction, border),
            sampled=sampled,
            _x=Side(*x, reduction, border),
            _y=Side(*y, reduction),
            _products_per_image=products_per_image,
        )

    def _blocks(
        self, number: int, count: int, m: int, n: int, reduction: Reduction, border: Border | None
    ) -> list[SampledBlock]:
        raw_k = reduction.segments * reduction.segment_length
        cells = [cell for cell in self.layer.blocks.get(self.operation, ()) if cell.family == number]
        for cell in cells:
            ends = (cell.x_start + cell.x.shape[0], cell.y_start + cell.y.shape[0])
            if not (
                0 <= cell.product < count and 0 <= cell.x_start < ends[0] <= m and 0 <= cell.y_start < ends[1] <= n
            ):
                at = (
                    f"product {cell.product}, rows {cell.x_start} to {ends[0]} of X and {cell.y_start} to {ends[1]} "
                    "of Y"
                )
                raise TraceError(
                    f"{self.where}: a block at {at} lies outside its {count} products of {m} x {n} rows; sample it "
                    "again"
                )
            # A part of a cell would stand for a whole one in every estimate.
            if ends != (min(cell.x_start + BLOCK_ROWS, m), min(cell.y_start + BLOCK_ROWS, n)):
                shapes = f"{cell.x.shape} and {cell.y.shape}"
                raise TraceError(
                    f"{self.where}: a block of shapes {shapes} is not all {BLOCK_ROWS} rows of its cell; sample it "
                    "again"
                )
            if cell.x.shape[1:] != (raw_k,) or cell.y.shape[1:] != (raw_k,):
                raise TraceError(
                    f"{self.where}: a block of shapes {cell.x.shape} and {cell.y.shape} has not the reduction of "
                    f"{raw_k}; sample it again"
                )
        return [SampledBlock(cell, reduction, border) for cell in cells]


class _Once:
    """A value made on the first call and kept, also when several threads ask at the same time."""

    def __init__(self, make: Callable[[], BF16Array]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: BF16Array | None = None

    def __call__(self) -> BF16Array:
        with self._lock:
            if self._value is None:
                self._value = self._make()
            return self._value


_WEIGHTS: weakref.WeakKeyDictionary[Layer, weakref.ref[_Once]] = weakref.WeakKeyDictionary()
"""Weights as they lie that an operation has now."""


def _flat(values: BF16Array) -> BF16Array:
    """The values 1-D, a copy where they are not in order."""
    # A tensor mapped from a file may start at an odd address, for which the kernels would be compiled once more.
    return np.require(values, np.uint16, ["C", "A"]).view(np.ndarray).reshape(-1)


def padded_extents(extents: Sequence[int], pads: Pads) -> tuple[int, ...]:
    """Extents with the padding before and after them."""
    return tuple(extent + before + after for extent, (before, after) in zip(extents, pads, strict=True))


def strides(shape: Sequence[int]) -> list[int]:
    """Elements from one index to the next along each axis of a contiguous array."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def spread(axes: Sequence[Axis], strides: Sequence[int]) -> Grid:
    """Flat offsets of a grid of positions given per dimension."""
    return Grid(tuple(axis.times(stride) for axis, stride in zip(axes, strides, strict=True)))
