"""Loop nests: the values that a block touches, against a count of every multiply-accumulate's operands."""

from collections import defaultdict
from dataclasses import replace
from functools import cache
from itertools import product
from math import ceil, floor, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simhw.errors import TraceError
from simhw.memory.space import DIMS, TENSOR_DIMS, Rows, Sizes, Space, space_of
from simhw.trace.geometry import CONVOLUTIONS
from simhw.trace.layer import OPERATIONS, TENSORS, Layer
from tests.memory.parts import LAYERS, spaces
from tests.oracles.blocking import NOT_ALONG, RUNS_ALONG, macs

CONTAINER_CHANNELS = 2

every_layer = pytest.mark.parametrize("name", LAYERS)
every_operation = pytest.mark.parametrize("operation", OPERATIONS)


@cache
def touched(name, operation):
    """Per tensor: {(place in the loops it runs along, element)}; and of the windowed tensor {(p, row read)}."""
    places = {tensor: set() for tensor in TENSORS}
    rows = set()
    for mac in macs(LAYERS[name], operation):
        rows.add((mac.p, mac.row))
        for tensor, element in mac.elements.items():
            if element is not None:
                places[tensor].add((tuple(getattr(mac, dim) for dim in RUNS_ALONG[tensor]), element))
    return places, rows


def loop_space(name, operation):
    return space_of(LAYERS[name], operation, CONTAINER_CHANNELS)


def cuts_to_try(space, dim):
    """Bounds for one block, two, the images, a number that may not divide, and single units."""
    wanted = {1, 2, 3, space.images, space.images + 1, space.units[dim]}
    return {tuple(space.cuts(dim, blocks)) for blocks in wanted if blocks <= space.units[dim]}


def block_of(dim, place, bounds):
    unit = place // CONTAINER_CHANNELS if dim in ("c", "o") else place
    (index,) = [number for number, (start, stop) in enumerate(bounds) if start <= unit < stop]
    return index


@every_operation
@every_layer
def test_cuts_cover_every_unit_once_and_positions_never_straddle_images(name, operation):
    space = loop_space(name, operation)
    for dim in DIMS:
        for blocks in range(1, space.units[dim] + 2):
            bounds = space.cuts(dim, blocks)
            assert [unit for start, stop in bounds for unit in range(start, stop)] == list(range(space.units[dim]))
            assert max(stop - start for start, stop in bounds) == bounds[0][1] - bounds[0][0]
            assert space.cuts(dim, len(bounds)) == bounds, "what a blocking counts are the blocks that it gets"
            if dim != "p":
                assert len(bounds) <= blocks
                continue
            for start, stop in bounds:
                first, last = start // space.rows.count, (stop - 1) // space.rows.count
                assert first == last or (start % space.rows.count == 0 and stop % space.rows.count == 0)


@every_operation
@every_layer
def test_a_block_of_weights_or_of_the_unwindowed_tensor_holds_just_what_its_multiplications_touch(name, operation):
    space = loop_space(name, operation)
    for tensor in TENSORS:
        if tensor == space.windowed:
            continue
        for bounds in product(*(cuts_to_try(space, dim) for dim in TENSOR_DIMS[tensor])):
            blocks = defaultdict(set)
            for place, element in touched(name, operation)[0][tensor]:
                blocks[tuple(block_of(*each) for each in zip(TENSOR_DIMS[tensor], place, bounds, strict=True))].add(
                    element
                )
            extents = [
                space.extents(dim, list(cut), tensor) for dim, cut in zip(TENSOR_DIMS[tensor], bounds, strict=True)
            ]
            factor = space.taps if tensor == "w" else 1
            for index in product(*(range(len(cut)) for cut in bounds)):
                size = factor * prod(extent[i] for extent, i in zip(extents, index, strict=True))
                assert size == len(blocks[index]), (tensor, bounds, index)


def rows_brought_in(rows, start, stop, count, height):
    """Rows from the first that these positions of an image read to the last, and on to where the next position's begin.

    What lies in the padding is not there to be read; the first block has all rows before it, the last all behind.
    """

    def reads(position):
        return [row for place, row in rows if place == position]

    first, last = start % count == 0, stop % count == 0
    low = 0 if first else max(0, ceil(min(reads(start))))
    high = height - 1 if last else min(height - 1, max(floor(max(reads(stop - 1))), ceil(min(reads(stop))) - 1))
    return range(low, high + 1)


@every_operation
@every_layer
def test_a_block_of_the_windowed_tensor_holds_whole_rows_from_the_first_that_it_reads_to_the_next_blocks(
    name, operation
):
    layer, space = LAYERS[name], loop_space(name, operation)
    tensor, convolution = space.windowed, layer.kind in CONVOLUTIONS
    places, rows = touched(name, operation)
    spatial = layer.shapes[tensor][2:] if convolution else (space.rows.count,)
    for bounds in cuts_to_try(space, "p"):
        for (start, stop), extent in zip(bounds, space.extents("p", list(bounds), tensor), strict=True):
            if stop - start >= space.rows.count:  # whole images come in whole, rows that nobody reads included
                expected, images = range(spatial[0]), (stop - start) // space.rows.count
            else:
                expected, images = rows_brought_in(rows, start, stop, space.rows.count, spatial[0]), 1
            assert extent == images * len(expected) * prod(spatial[1:]), (start, stop)
            if convolution:  # what a multiplication reads is among those rows
                assert {element[2] for place, element in places[tensor] if start <= place[1] < stop} <= set(expected)


@every_operation
@every_layer
def test_channels_of_the_windowed_tensor_are_those_that_a_block_reads(name, operation):
    space = loop_space(name, operation)
    tensor = space.windowed
    channel = TENSOR_DIMS[tensor][-1]
    places = touched(name, operation)[0][tensor]
    axis = 1 if LAYERS[name].kind in CONVOLUTIONS else -1
    for cut in cuts_to_try(space, channel):
        read = defaultdict(set)
        for place, element in places:
            read[place[0], block_of(channel, place[2], cut)].add(element[axis])
        for (_, index), channels in read.items():
            assert space.extents(channel, list(cut), tensor)[index] == len(channels)


@every_operation
@every_layer
def test_no_row_is_counted_that_is_not_read_where_reads_leave_no_gap(name, operation):
    """Reads leave none without dilation, as long as the kernel is not shorter than the stride; an input gradient's
    never do.
    """
    layer, space = LAYERS[name], loop_space(name, operation)
    if layer.kind in CONVOLUTIONS:
        stride, dilation, taps = layer.geometry.stride[0], layer.geometry.dilation[0], layer.shapes["w"][2]
        if dilation > 1 or (operation != "input_grad" and taps < stride):
            pytest.skip("reads leave gaps")
    rows = touched(name, operation)[1]
    height = space.rows.other_count
    for bounds in cuts_to_try(space, "p"):
        for (start, stop), extent in zip(bounds, space.extents("p", list(bounds), space.windowed), strict=True):
            # The first block of an image brings in what lies before the first window too, the last what lies behind the
            # last.
            if start % space.rows.count and stop % space.rows.count:
                read = {
                    row
                    for position, row in rows
                    if start <= position < stop and row.denominator == 1 and 0 <= row < height
                }
                assert extent == len(read) * space.rows.other_row_values


@every_operation
@every_layer
def test_values_of_a_whole_tensor_are_those_of_its_shape(name, operation):
    space = loop_space(name, operation)
    for tensor in TENSORS:
        assert space.values(tensor) == prod(LAYERS[name].shapes[tensor]), tensor


@every_operation
@every_layer
def test_an_output_belongs_to_one_place_of_its_loops(name, operation):
    """So only the loop that the operation reduces over adds to it, and blocks of an output never share an element."""
    space = loop_space(name, operation)
    assert {tensor: set(dims) for tensor, dims in TENSOR_DIMS.items()} == {
        tensor: set(dims) for tensor, dims in RUNS_ALONG.items()
    }
    assert space.reduction == NOT_ALONG[space.output]
    owners = defaultdict(set)
    for place, element in touched(name, operation)[0][space.output]:
        owners[element].add(place)
    assert len(owners) == prod(LAYERS[name].shapes[space.output])
    assert {len(places) for places in owners.values()} == {1}


def test_a_layer_without_its_shapes_is_refused():
    with pytest.raises(TraceError, match="layer 'unknown', operation forward: the shape of W is not known"):
        space_of(Layer("unknown", "conv2d", shapes={"a": (1, 2, 3, 3)}), "forward", CONTAINER_CHANNELS)


@given(space=spaces(), images=st.integers(1, 9), copies=st.integers(1, 7))
def test_sizes_of_blocks_in_closed_form_are_those_of_the_blocks_one_by_one(space, images, copies):
    space = replace(space, images=images, copies=copies)
    for dim in DIMS:
        for blocks in range(1, space.units[dim] + 1):
            bounds = space.cuts(dim, blocks)
            assert space.count(dim, blocks) == len(bounds)
            for tensor in TENSORS:
                if dim in TENSOR_DIMS[tensor]:
                    each = space.extents(dim, bounds, tensor)
                    assert space.sizes(dim, blocks, tensor) == Sizes(len(each), sum(each), max(each), each[0], each[-1])


def test_sizes_of_blocks_cost_nothing_whatever_the_batch():
    images = 10**15
    space = Space("forward", 1, images, Rows(8, 8, 10, 10, (1, 1, 0, 2)), 16, 32, 9, 32)
    assert space.sizes("p", 10**9, "a") == Sizes(
        10**9, images * 10 * 10, 10**6 * 10 * 10, 10**6 * 10 * 10, 10**6 * 10 * 10
    )
    assert space.count("p", 4 * images) == 4 * images
    rows = Space("forward", 1, 1, Rows(images, 1, images, 1, (1, 1, 0, 0)), 16, 32, 1, 32)
    assert rows.sizes("p", 3, "a") == Sizes(3, images, images // 3 + 1, images // 3 + 1, images - 2 * (images // 3 + 1))
