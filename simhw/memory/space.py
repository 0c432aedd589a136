"""The loop nest of an operation, and how much of each tensor a block of it touches.

Copies g (groups of a convolution, matrices of a batched product), positions p (rows of an image, or samples), input
channels c and output channels o span every operation alike: A lies along (g, p, c), W along (g, c, o), G along (g, p,
o). A forward pass reduces over c and writes a tensor of G's shape, an input gradient reduces over o and writes one of
A's shape, a weight gradient reduces over p and writes one of W's.  Source: spec page lowering.md; the formulation is
ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

from simhw.lowering.view import view_layer
from simhw.trace.geometry import TRANSPOSED_CONVOLUTIONS
from simhw.trace.layer import Layer, Operation, TensorName

Dim = Literal["g", "p", "c", "o"]
DIMS: tuple[Dim, ...] = ("g", "p", "c", "o")
TENSOR_DIMS: dict[TensorName, tuple[Dim, ...]] = {"a": ("g", "p", "c"), "w": ("g", "c", "o"), "g": ("g", "p", "o")}
MISSING_DIM: dict[TensorName, Dim] = {
    tensor: next(dim for dim in DIMS if dim not in dims) for tensor, dims in TENSOR_DIMS.items()
}
"""The loop that a tensor does not run along."""
OUTPUTS: dict[Operation, TensorName] = {"forward": "g", "input_grad": "a", "weight_grad": "w"}
"""The tensor whose shape the output has."""


@dataclass(frozen=True)
class Rows:
    """Rows of the images' outermost spatial axis: those that positions count, and those that a kernel reads for them.

    Attributes
    ----------
    count, row_values : int
        Rows of an image in which positions are counted, and values of one row of one channel.
    other_count, other_row_values : int
        The same of the tensor read through the kernel's window.
    window : tuple of int
        (s, t, first, last): counted row r reads the rows from ``(r * s + first) / t`` to ``(r * s + last) / t``.
    """

    count: int
    row_values: int
    other_count: int
    other_row_values: int
    window: tuple[int, int, int, int]

    @property
    def plain(self) -> bool:
        """True where a row is read for itself alone, as of a product of matrices."""
        return self.window == (1, 1, 0, 0) and self.count == self.other_count

    def read(self, start: int, stop: int) -> int:
        """Rows that come in for counted rows `start` up to `stop` of an image.

        From the first that the window reads to the last, and on to where the next block begins: rows that a stride
        skips over come along, so that an image in parts is never less than the image.
        """
        _, _, first, last = self.window
        low = 0 if start == 0 else max(0, self._place(start, first, up=True))
        if stop == self.count:
            return max(0, self.other_count - low)
        high = max(self._place(stop - 1, last, up=False), self._place(stop, first, up=True) - 1)
        return max(0, min(self.other_count - 1, high) - low + 1)

    def _place(self, row: int, offset: int, up: bool) -> int:
        """The row that a counted row reads, rounded where it lies between two."""
        scale, divide = self.window[:2]
        return -(-(row * scale + offset) // divide) if up else (row * scale + offset) // divide


@dataclass(frozen=True)
class Sizes:
    """What the blocks of a loop multiply the values of a tensor's block by, as `Space.extents` has them one by one."""

    count: int
    total: int
    largest: int
    first: int
    last: int


@dataclass(frozen=True)
class Space:
    """The loop nest of one operation of one layer shape, in units that blocks are made of.

    Attributes
    ----------
    operation : str
    copies, images : int
    rows : Rows
    channels, outputs : int
        Of one copy.
    taps : int
        Kernel positions.
    container_channels : int
        Channels of a container, the unit of c and o.
    """

    operation: Operation
    copies: int
    images: int
    rows: Rows
    channels: int
    outputs: int
    taps: int
    container_channels: int

    @property
    def output(self) -> TensorName:
        """The tensor whose shape the output has."""
        return OUTPUTS[self.operation]

    @property
    def reduction(self) -> Dim:
        """The loop that the operation reduces over."""
        return {"forward": "c", "input_grad": "o", "weight_grad": "p"}[self.operation]  # type: ignore[return-value]  # each is a Dim

    @property
    def windowed(self) -> TensorName:
        """The tensor that is read through the kernel's window, so that neighbouring blocks overlap in it."""
        return "g" if self.operation == "input_grad" else "a"

    @cached_property
    def units(self) -> Mapping[Dim, int]:
        """Units of each loop: the most blocks that it can be cut into."""
        group = self.container_channels
        return {
            "g": self.copies,
            "p": self.images * self.rows.count,
            "c": -(-self.channels // group),
            "o": -(-self.outputs // group),
        }

    def cuts(self, dim: Dim, blocks: int) -> list[tuple[int, int]]:
        """Bounds in units of about `blocks` equal blocks, the last one smaller; blocks of positions are whole images or
        parts of one.
        """
        units = self.units[dim]
        if dim != "p" or blocks <= self.images:
            grain = self.rows.count if dim == "p" else 1
            size = -(-(units // grain) // blocks) * grain
            return [(start, min(start + size, units)) for start in range(0, units, size)]
        size = -(-self.rows.count // -(-blocks // self.images))
        within = [(start, min(start + size, self.rows.count)) for start in range(0, self.rows.count, size)]
        offsets = range(0, units, self.rows.count)
        return [(offset + start, offset + stop) for offset in offsets for start, stop in within]

    def extents(self, dim: Dim, bounds: list[tuple[int, int]], tensor: TensorName) -> list[int]:
        """What each block of a loop multiplies the values of a tensor's block by."""
        if dim == "g":
            return [stop - start for start, stop in bounds]
        if dim in ("c", "o"):
            total, group = self.channels if dim == "c" else self.outputs, self.container_channels
            return [min(stop * group, total) - start * group for start, stop in bounds]
        rows = self.rows
        if tensor != self.windowed:
            return [(stop - start) * rows.row_values for start, stop in bounds]
        sizes = []
        for start, stop in bounds:
            images, first = max(1, (stop - start) // rows.count), start % rows.count
            whole = (stop - start) >= rows.count
            sizes.append(
                (images * rows.other_count if whole else rows.read(first, first + stop - start)) * rows.other_row_values
            )
        return sizes

    def sizes(self, dim: Dim, blocks: int, tensor: TensorName) -> Sizes:
        """The extents of about `blocks` equal blocks, at a cost that does not depend on their number but within an
        image of a window.
        """
        key = dim, blocks, dim == "p" and tensor == self.windowed
        if key not in self._known_sizes:
            kinds = self._kinds(dim, blocks)
            extents, numbers = self.extents(dim, [bounds for bounds, _ in kinds], tensor), [each for _, each in kinds]
            total = sum(extent * number for extent, number in zip(extents, numbers, strict=True))
            self._known_sizes[key] = Sizes(sum(numbers), total, max(extents), extents[0], extents[-1])
        return self._known_sizes[key]

    @cached_property
    def _known_sizes(self) -> dict[tuple[Dim, int, bool], Sizes]:
        return {}

    def count(self, dim: Dim, blocks: int) -> int:
        """How many blocks `cuts` makes of about so many."""
        return sum(number for _, number in self._kinds(dim, blocks))

    def _kinds(self, dim: Dim, blocks: int) -> list[tuple[tuple[int, int], int]]:
        """The bounds of `cuts`, one of those that are alike and their number; the first and the last block stand at the
        ends.
        """
        units = self.units[dim]
        if dim != "p" or blocks <= self.images:
            grain = self.rows.count if dim == "p" else 1
            return _equal(units, -(-(units // grain) // blocks) * grain)
        size = -(-self.rows.count // -(-blocks // self.images))
        if self.rows.plain:
            within = _equal(self.rows.count, size)
        else:  # blocks at either end of an image read fewer rows
            within = [((start, min(start + size, self.rows.count)), 1) for start in range(0, self.rows.count, size)]
        return [(bounds, number * self.images) for bounds, number in within]

    def taps_of(self, tensor: TensorName) -> int:
        """Kernel positions of which a tensor has values: by these the product of a block's extents is multiplied."""
        return self.taps if tensor == "w" else 1

    def values(self, tensor: TensorName) -> int:
        """Values of a whole tensor."""
        return prod(self.sizes(dim, 1, tensor).total for dim in TENSOR_DIMS[tensor]) * self.taps_of(tensor)


def _equal(units: int, size: int) -> list[tuple[tuple[int, int], int]]:
    """Bounds of equal blocks, and of the last one, which may be smaller; with their numbers."""
    before = -(-units // size) - 1
    last = ((before * size, units), 1)
    return [((0, size), before), last] if before else [last]


def space_of(layer: Layer, operation: Operation, container_channels: int) -> Space:
    """The loop nest of an operation, from shapes alone.

    Raises
    ------
    TraceError
        A shape that the operation needs is not known.
    """
    view = view_layer(layer, operation, per_image=False)
    groups, pad, stride, dilation = (
        view.geometry.groups,
        view.geometry.padding[0],
        view.geometry.stride[0],
        view.geometry.dilation[0],
    )
    reach = (view.kernel[0] - 1) * dilation
    inputs, outputs = (view.spatial[0], prod(view.spatial[1:])), (view.out[0], prod(view.out[1:]))
    if view.shared_weights and view.batch > 1:  # time steps share W, so they are positions
        inputs = outputs = (view.batch * inputs[0], inputs[1])
    mirrored = layer.kind in TRANSPOSED_CONVOLUTIONS
    if (operation == "input_grad") != mirrored:
        # Input row r takes output rows (r + pad - tap * dilation) / stride.
        rows = Rows(*inputs, *outputs, (1, stride, pad - reach, pad))
    else:
        rows = Rows(*outputs, *inputs, (stride, 1, -pad, reach - pad))
    copies = groups if view.shared_weights else view.batch
    # A transposed convolution is seen as the one that it mirrors: its own input is the other's output.
    channels, features = (view.outputs, view.inputs) if mirrored else (view.inputs, view.outputs)
    return Space(
        operation,
        copies,
        view.images,
        rows,
        channels // groups,
        features // groups,
        prod(view.kernel),
        container_channels,
    )
