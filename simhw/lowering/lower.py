"""From a layer and an operation to families of products, lazily: only shapes are looked at until an operand is asked
for.
"""

from collections.abc import Sequence
from itertools import product
from math import gcd, prod
from typing import Literal

from simhw.errors import TraceError
from simhw.lowering.builder import FamilyBuilder, Rows, padded_extents, spread, strides
from simhw.lowering.family import Family
from simhw.lowering.grid import Axis, Grid
from simhw.lowering.operand import LanePadding, Padding
from simhw.lowering.view import view_layer
from simhw.trace.layer import MIRRORED_OPERATION, Layer, Operation


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
    builder = FamilyBuilder(layer, operation, view, where, lanes, lane_padding, padding == "skip")
    by_operation = {"forward": _forward, "input_grad": _input_grad, "weight_grad": _weight_grad}
    return by_operation[MIRRORED_OPERATION[operation] if builder.mirrored else operation](builder)


def _forward(to: FamilyBuilder) -> list[Family]:
    """One product per image and group; the kernel positions are the segments of its reduction."""
    view, geometry = to.view, to.view.geometry
    pads = tuple((pad, pad) for pad in geometry.padding)
    grid = padded_extents(view.spatial, pads)
    batch, image, *position, channel = strides((view.batch, view.images, *grid, view.inputs))
    weight_batch, output, *tap, weight_channel = strides(
        (1 if view.shared_weights else view.batch, view.outputs, *view.kernel, to.group_in)
    )
    groups, taps = geometry.groups, [Axis(n) for n in view.kernel]
    rows = [Axis(n, step) for n, step in zip(view.out, geometry.stride, strict=True)]
    segments = [Axis(n, dilation) for n, dilation in zip(view.kernel, geometry.dilation, strict=True)]
    family = to.family(
        real=to.real_pairs(rows, segments, pads, view.spatial),
        x=Rows(
            to.tensor("a", pads, channels_last=True),
            Grid((Axis(view.batch, batch), Axis(view.images, image), Axis(groups, to.group_in))),
            spread(rows, position),
            Grid((*spread(segments, position).axes, Axis(to.group_in, channel))),
        ),
        y=Rows(
            to.weights() if to.weights_stay else to.tensor("w", (), channels_last=True),
            Grid((to.weight_batch(weight_batch), Axis(view.images, 0), Axis(groups, to.group_out * output))),
            Grid((Axis(to.group_out, output),)),
            Grid((*spread(taps, tap).axes, Axis(to.group_in, weight_channel))),
        ),
        segment_length=to.group_in,
        products_per_image=view.products_per_image(groups),
        border=to.border(grid, pads, rows, segments),
    )
    return [family]


def _input_grad(to: FamilyBuilder) -> list[Family]:
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
    grid = padded_extents(view.out, pads)
    batch, image, *position, channel = strides((view.batch, view.images, *grid, view.outputs))
    groups = geometry.groups
    x_values = to.tensor("g", pads, channels_last=True)
    weight_batch, group, row, *tap, weight_channel = strides(
        (1 if view.shared_weights else view.batch, groups, to.group_in, *view.kernel, to.group_out)
    )
    if to.weights_stay:
        # Groups, outputs and channels, in place of groups, channels and outputs: a row goes across.
        y_values, row, weight_channel = to.weights(), weight_channel, to.group_in
    else:
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
            x=Rows(
                x_values,
                Grid((Axis(view.batch, batch), Axis(view.images, image), Axis(groups, to.group_out))),
                spread(rows, position),
                Grid((*spread(segments, position).axes, Axis(to.group_out, channel))),
            ),
            y=Rows(
                y_values,
                Grid((to.weight_batch(weight_batch), Axis(view.images, 0), Axis(groups, group))),
                Grid((Axis(to.group_in, row),)),
                Grid((*spread([k for _, _, k in phases], tap).axes, Axis(to.group_out, weight_channel))),
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


def _weight_grad(to: FamilyBuilder) -> list[Family]:
    """One product per kernel position and group; the images are the segments of its reduction."""
    view, geometry = to.view, to.view.geometry
    pads = tuple((pad, pad) for pad in geometry.padding)
    batch, image, channel, *position = strides(
        (view.batch, view.images, view.inputs, *padded_extents(view.spatial, pads))
    )
    g_batch, g_image, g_channel, *g_position = strides((view.batch, view.images, view.outputs, *view.out))
    groups = geometry.groups
    a_values, g_values = to.tensor("a", pads, channels_last=False), to.tensor("g", (), channels_last=False)

    def over(taps: Sequence[Axis], outputs: Sequence[Axis], number: int) -> Family:
        """The products of some kernel positions over some output positions of each image."""
        inputs = [o.times(step) for o, step in zip(outputs, geometry.stride, strict=True)]
        segments = [k.times(dilation) for k, dilation in zip(taps, geometry.dilation, strict=True)]
        shifts = spread(segments, position)
        g_positions = spread(outputs, g_position)
        of_a = Rows(
            a_values,
            Grid((Axis(view.batch, batch), *shifts.axes, Axis(groups, to.group_in * channel))),
            Grid((Axis(to.group_in, channel),)),
            Grid((Axis(view.images, image), *spread(inputs, position).axes)),
        )
        of_g = Rows(
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
