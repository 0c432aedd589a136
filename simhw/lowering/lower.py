"""From a layer and an operation to families of products, lazily: only shapes are looked at until an operand is asked
for.
"""

import threading
from collections.abc import Callable, Sequence
from itertools import product
from math import gcd, prod
from typing import Literal, NamedTuple

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.errors import TraceError
from simhw.lowering.family import Block, Family, Side
from simhw.lowering.grid import Axis, Grid, sums_within
from simhw.lowering.operand import Border, LanePadding, Padding, Reduction
from simhw.lowering.view import View, view_layer
from simhw.trace.layer import (
    BLOCK_ROWS,
    MIRRORED_OPERATION,
    MIRRORED_TENSOR,
    TRANSPOSED_CONVOLUTIONS,
    Layer,
    Operation,
    TensorName,
)

Pads = tuple[tuple[int, int], ...]

LARGEST_FAMILIES = 1 << 12
"""Families of an operation; a stride of 64 x 64, the largest patches of vision transformers, has as many in its input
gradient.
"""
LARGEST_SAMPLED_PRODUCTS = 1 << 20
"""Products of a sampled operation, whose number the file only claims; the depthwise layers of a batch of 256 have some
400,000.
"""


def lower(
    layer: Layer,
    operation: Operation,
    lanes: int,
    *,
    fc_windows: Literal["batch", "image"] = "batch",
    lane_padding: LanePadding = "stream",
    padding: Padding = "stream",
) -> list[Family]:
    """The products of an operation, as families of one shape each.

    One family, except in the input gradient of a strided convolution: one per phase that has kernel positions, so
    that the zeros which stride inserts are executed by no machine.  X and Y are A and W in forward, G and W in
    input_grad, A and G in weight_grad.  Source: spec page lowering.md.

    Parameters
    ----------
    layer : Layer
    operation : {"forward", "input_grad", "weight_grad"}
    lanes : int
        Set size of the processing element.
    fc_windows : {"batch", "image"}
        Whether the windows side of a linear layer holds all samples, or each index of the leading axis is a product of
        its own (forward and input_grad; the weight gradient reduces over all samples either way).
    lane_padding : {"stream", "pack"}
        Whether each segment of the reduction is padded to whole sets, or only its end.
    padding : {"stream", "skip"}
        Whether the zeros of a convolution's spatial padding are executed.  Under ``skip`` forward and input_grad leave
        out, pass by pass, the sets that are padding for all rows of the pass (`Operand.live_sets`), and weight_grad
        leaves out the output positions whose input is padding (a family per kernel position, each with its own K).

    Returns
    -------
    list of Family

    Raises
    ------
    TraceError
        Training did not run the operation, a needed shape is not known, or the layer is a sample that was not taken
        in the way these switches ask for.
    """
    where = f"layer {layer.name!r}, operation {operation}"
    if operation not in layer.operations:
        raise TraceError(f"{where}: training did not run it; the layer has {', '.join(layer.operations) or 'none'}")
    view = view_layer(layer, operation, fc_windows == "image" and operation != "weight_grad")
    if operation in layer.blocks and layer.kind == "linear" and view.leads is not None:
        raise TraceError(
            f"{where}: a sampled layer has its samples in one product; use fc_windows batch or a whole trace"
        )
    lowering = _Lowering(layer, operation, view, where, lanes, lane_padding, padding == "skip")
    by_operation = {"forward": _forward, "input_grad": _input_grad, "weight_grad": _weight_grad}
    return by_operation[MIRRORED_OPERATION[operation] if lowering.mirrored else operation](lowering)


def _forward(to: "_Lowering") -> list[Family]:
    """One product per image and group; the kernel positions are the segments of its reduction."""
    view, geometry = to.view, to.view.geometry
    pads = tuple((pad, pad) for pad in geometry.padding)
    grid = _padded(view.spatial, pads)
    batch, image, *position, channel = _strides((view.batch, view.images, *grid, view.inputs))
    weight_batch, output, *tap, weight_channel = _strides(
        (1 if view.shared_weights else view.batch, view.outputs, *view.kernel, to.group_in)
    )
    groups, taps = geometry.groups, [Axis(n) for n in view.kernel]
    rows = [Axis(n, step) for n, step in zip(view.out, geometry.stride, strict=True)]
    segments = [Axis(n, dilation) for n, dilation in zip(view.kernel, geometry.dilation, strict=True)]
    family = to.family(
        real=to.real_pairs(rows, segments, pads, view.spatial),
        x=_Rows(
            to.tensor("a", pads, channels_last=True),
            Grid((Axis(view.batch, batch), Axis(view.images, image), Axis(groups, to.group_in))),
            _spread(rows, position),
            Grid((*_spread(segments, position).axes, Axis(to.group_in, channel))),
        ),
        y=_Rows(
            to.tensor("w", (), channels_last=True),
            Grid((to.weight_batch(weight_batch), Axis(view.images, 0), Axis(groups, to.group_out * output))),
            Grid((Axis(to.group_out, output),)),
            Grid((*_spread(taps, tap).axes, Axis(to.group_in, weight_channel))),
        ),
        segment_length=to.group_in,
        products_per_image=view.products_per_image(groups),
        border=to.border(grid, pads, rows, segments),
    )
    return [family]


def _input_grad(to: "_Lowering") -> list[Family]:
    """Input position i gets output position (i + padding - dilation k) / stride of each kernel position k that divides.

    With i + padding = stride q + phase and dilation k = stride t + phase that is q - t: per phase a dense convolution.
    """
    view, geometry = to.view, to.view.geometry
    to.check_families(prod(map(_phase_count, geometry.stride, geometry.dilation, view.kernel)))
    axes = list(map(_phases, geometry.stride, geometry.padding, geometry.dilation, view.kernel, view.spatial))
    if not all(axes):
        return []
    pads = tuple(
        (
            max(0, *(t.start - q.start for q, t, _ in phases)),
            max(0, *(q.last - t.last - size + 1 for q, t, _ in phases)),
        )
        for phases, size in zip(axes, view.out, strict=True)
    )
    grid = _padded(view.out, pads)
    batch, image, *position, channel = _strides((view.batch, view.images, *grid, view.outputs))
    groups = geometry.groups
    weight_batch, group, row, *tap, weight_channel = _strides(
        (1 if view.shared_weights else view.batch, groups, to.group_in, *view.kernel, to.group_out)
    )
    x_values = to.tensor("g", pads, channels_last=True)
    y_values = to.tensor("w", (), channels_last=True, grouped=True)
    families: list[Family] = []
    for phases in product(*axes):
        # Counting rows from the phase's first keeps both offsets from being negative.
        rows = [Axis(q.count) for q, _, _ in phases]
        segments = [
            Axis(t.count, -t.step, before + q.start - t.start)
            for (before, _), (q, t, _) in zip(pads, phases, strict=True)
        ]
        family = to.family(
            real=to.real_pairs(rows, segments, pads, view.out),
            x=_Rows(
                x_values,
                Grid((Axis(view.batch, batch), Axis(view.images, image), Axis(groups, to.group_out))),
                _spread(rows, position),
                Grid((*_spread(segments, position).axes, Axis(to.group_out, channel))),
            ),
            y=_Rows(
                y_values,
                Grid((to.weight_batch(weight_batch), Axis(view.images, 0), Axis(groups, group))),
                Grid((Axis(to.group_in, row),)),
                Grid((*_spread([k for _, _, k in phases], tap).axes, Axis(to.group_out, weight_channel))),
            ),
            segment_length=to.group_out,
            products_per_image=view.products_per_image(groups),
            border=to.border(grid, pads, rows, segments),
            number=len(families),
        )
        families.append(family)
    return families


def _phase_count(stride: int, dilation: int, kernel: int) -> int:
    """Phases of one dimension that have kernel positions."""
    return min(kernel, stride // gcd(stride, dilation))


def _phases(stride: int, padding: int, dilation: int, kernel: int, size: int) -> list[tuple[Axis, Axis, Axis]]:
    """One dimension's phases in order: q of the input positions, t of the kernel positions and those positions,
    rotated.
    """
    # Kernel positions of one phase lie so far apart; the first ones of all phases lie below that.
    period = stride // gcd(stride, dilation)
    found: list[tuple[Axis, Axis, Axis]] = []
    for r, first in sorted((tap * dilation % stride, tap) for tap in range(_phase_count(stride, dilation, kernel))):
        positions, taps = range((r - padding) % stride, size, stride), range(first, kernel, period)
        if positions:
            q = Axis(len(positions), 1, (positions[0] + padding - r) // stride)
            t = Axis(len(taps), -period * dilation // stride, (taps[-1] * dilation - r) // stride)
            found.append((q, t, Axis(len(taps), -period, taps[-1])))
    return found


def _weight_grad(to: "_Lowering") -> list[Family]:
    """One product per kernel position and group; the images are the segments of its reduction."""
    view, geometry = to.view, to.view.geometry
    pads = tuple((pad, pad) for pad in geometry.padding)
    batch, image, channel, *position = _strides((view.batch, view.images, view.inputs, *_padded(view.spatial, pads)))
    g_batch, g_image, g_channel, *g_position = _strides((view.batch, view.images, view.outputs, *view.out))
    groups = geometry.groups
    a_values, g_values = to.tensor("a", pads, channels_last=False), to.tensor("g", (), channels_last=False)

    def over(taps: Sequence[Axis], outputs: Sequence[Axis], number: int) -> Family:
        """The products of some kernel positions over some output positions of each image."""
        inputs = [o.times(step) for o, step in zip(outputs, geometry.stride, strict=True)]
        segments = [k.times(dilation) for k, dilation in zip(taps, geometry.dilation, strict=True)]
        shifts = _spread(segments, position)
        g_positions = _spread(outputs, g_position)
        of_a = _Rows(
            a_values,
            Grid((Axis(view.batch, batch), *shifts.axes, Axis(groups, to.group_in * channel))),
            Grid((Axis(to.group_in, channel),)),
            Grid((Axis(view.images, image), *_spread(inputs, position).axes)),
        )
        of_g = _Rows(
            g_values,
            Grid((Axis(view.batch, g_batch), Axis(shifts.size, 0), Axis(groups, to.group_out * g_channel))),
            Grid((Axis(to.group_out, g_channel),)),
            Grid((Axis(view.images, g_image), *g_positions.axes)),
        )
        return to.family(
            real=to.real_pairs(inputs, segments, pads, view.spatial),
            # A transposed convolution's own A is the G of the one that it mirrors.
            x=of_g if to.mirrored else of_a,
            y=of_a if to.mirrored else of_g,
            segment_length=g_positions.size,
            products_per_image=view.products_per_image(shifts.size * groups, summed=True),
            number=number,
        )

    all_outputs = [Axis(n) for n in view.out]
    if not to.skip or not any(geometry.padding):
        return [over([Axis(n) for n in view.kernel], all_outputs, 0)]
    if to.operation in to.layer.blocks:
        raise TraceError(
            f"{to.where}: padding skip changes the products that were sampled; use padding stream or a whole trace"
        )
    to.check_families(prod(view.kernel))
    families: list[Family] = []
    for tap in product(*(range(n) for n in view.kernel)):
        live: list[Axis] = []
        for k, n, step, pad, dilation, size in zip(
            tap, view.out, geometry.stride, geometry.padding, geometry.dilation, view.spatial, strict=True
        ):
            # Output positions whose input, `o * step + k * dilation - pad`, lies inside.
            reads = Axis(n, step, k * dilation - pad).within(0, size)
            live.append(Axis(reads.count, 1, (reads.start + pad - k * dilation) // step))
        if all(outputs.count for outputs in live):
            families.append(over([Axis(1, 1, k) for k in tap], live, len(families)))
    return families


class _Rows(NamedTuple):
    """An operand of all products of a family: its values, and where products, rows and the reduction lie in them."""

    values: Callable[[], BF16Array]
    bases: Grid
    rows: Grid
    columns: Grid


class _Lowering:
    """What the three operations share: the layer and the switches, its tensors, and how families are put together."""

    def __init__(
        self,
        layer: Layer,
        operation: Operation,
        view: View,
        where: str,
        lanes: int,
        lane_padding: LanePadding,
        skip: bool,
    ) -> None:
        self.layer = layer
        self.operation = operation
        self.view = view
        self.where = where
        self.lanes = lanes
        self.lane_padding = lane_padding
        self.skip = skip
        self.group_in = view.inputs // view.geometry.groups
        self.group_out = view.outputs // view.geometry.groups
        self.mirrored = layer.kind in TRANSPOSED_CONVOLUTIONS

    def check_families(self, number: int) -> None:
        """Refuse geometry that splits an operation into more families than any network's does."""
        if number > LARGEST_FAMILIES:
            split = f"kernel {self.view.kernel} with {self.view.geometry} splits it into {number} families of products"
            raise TraceError(f"{self.where}: {split}, over {LARGEST_FAMILIES}")

    def weight_batch(self, stride: int) -> Axis:
        """Offset of each batch's weights."""
        return Axis(self.view.batch, 0 if self.view.shared_weights else stride)

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
            # A tensor mapped from a file may start at an odd address, for which the kernels would be compiled once
            # more.
            return np.require(array, np.uint16, ["C", "A"]).view(np.ndarray).reshape(-1)

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
        x: _Rows,
        y: _Rows,
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
    ) -> list[Block]:
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
        return [Block(cell, reduction, border) for cell in cells]


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


def _padded(extents: Sequence[int], pads: Pads) -> tuple[int, ...]:
    return tuple(extent + before + after for extent, (before, after) in zip(extents, pads, strict=True))


def _strides(shape: Sequence[int]) -> list[int]:
    """Elements from one index to the next along each axis of a contiguous array."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _spread(axes: Sequence[Axis], strides: Sequence[int]) -> Grid:
    """Flat offsets of a grid of positions given per dimension."""
    return Grid(tuple(axis.times(stride) for axis, stride in zip(axes, strides, strict=True)))
