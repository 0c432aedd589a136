"""On-chip accesses and bank conflicts, against walks that count every one."""

import time
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simhw.memory.onchip import (
    TRANSPOSED,
    PassShape,
    TileShape,
    _meeting,
    meeting_cycles,
    on_chip,
    slice_reuse,
    slice_values,
)
from simhw.memory.parameters import Buffer, Buffers, Container, Scratchpads, Transposers
from simhw.trace.layer import OPERANDS, OPERATIONS
from tests.memory.parts import conv_shapes, memory_of, product_shapes
from tests.oracles.onchip import cycles_of_meetings, places_read, tile_passes

FPRAKER_TILE = TileShape(8, 8, 8, 36)
TENSORDASH_TILE = TileShape(4, 4, 16, 16)


def banked(banks, access_bytes=16, instances=1, channels=32, **changes):
    """FPRaker's hierarchy with so many banks in every buffer."""
    buffer = Buffer(instances=instances, banks=banks, bank_bytes=1 << 20, access_bytes=access_bytes)
    return memory_of(
        buffers=Buffers(a=buffer, w=buffer, g=buffer),
        container=Container(channels=channels, columns=channels),
        **changes,
    )


def tensordash_banks(banks):
    """Accesses of 32 bytes, containers of 16 channels: a column is one access wide."""
    return banked(banks, access_bytes=32, channels=16)


def strided(stride, columns=64, rows=8):
    return conv_shapes(1, 64, 64, (rows, columns), (1, 1), (stride, stride), (0, 0), (1, 1), 1)


# --- bank conflicts ---


@pytest.mark.parametrize(
    ("banks", "stride", "cycles"),
    [
        (9, 1, 1),  # columns 4 accesses apart: 0 4 8 3 7 2 6 1, all different
        (9, 2, 1),  # 8 apart: 0 8 7 6 5 4 3 2
        (9, 3, 3),  # 12 = 3 apart: 0 3 6 0 3 6 0 3
        (8, 1, 4),  # 0 4 0 4 0 4 0 4: why there are nine
        (8, 2, 8),
    ],
)
def test_eight_columns_meet_in_as_few_banks_as_their_distance_says(banks, stride, cycles):
    assert meeting_cycles(strided(stride, columns=64 * stride), "forward", "a", 8, banked(banks)) == cycles


@pytest.mark.parametrize(("stride", "cycles"), [(1, 1), (2, 2), (3, 1), (4, 4)])
def test_four_banks_of_tensordash_meet_at_even_strides(stride, cycles):
    assert meeting_cycles(strided(stride, columns=64 * stride), "forward", "a", 4, tensordash_banks(4)) == cycles


@given(
    out=st.tuples(st.integers(1, 7), st.integers(1, 12)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    rows=st.integers(1, 16),
    banks=st.integers(1, 10),
    access_bytes=st.sampled_from((16, 32, 64)),
)
def test_meetings_of_activations_are_those_of_their_bank_numbers(out, stride, rows, banks, access_bytes):
    sizes = tuple((n - 1) * s + 1 for n, s in zip(out, stride, strict=True))
    layer = conv_shapes(1, 8, 8, sizes, (1, 1), stride, (0, 0), (1, 1), 1)
    places = places_read(out, stride, sizes[1])
    found = meeting_cycles(layer, "forward", "a", rows, banked(banks, access_bytes))
    assert found == pytest.approx(cycles_of_meetings(places, rows, 64 // access_bytes, banks), rel=1e-12)


@settings(max_examples=60)
@given(outputs=st.integers(1, 40), inputs=st.integers(1, 40), rows=st.integers(1, 16), banks=st.integers(1, 10))
def test_rows_of_weights_and_gradients_lie_side_by_side(outputs, inputs, rows, banks):
    """Weights: a row for each output channel, or for each input channel of an input gradient; gradients: a column for
    each sample.
    """
    layer, memory = product_shapes("linear", (7, inputs), (outputs, inputs), (7, outputs)), banked(banks)
    for operation, tensor, number in (
        ("forward", "w", outputs),
        ("input_grad", "w", inputs),
        ("weight_grad", "g", 7),
        ("forward", "a", 7),
    ):
        assert meeting_cycles(layer, operation, tensor, rows, memory) == cycles_of_meetings(
            range(number), rows, 4, banks
        )


def test_an_image_of_many_positions_has_the_meetings_of_its_first_rows():
    """Patterns repeat: the mean over a few thousand positions of a long image is that over all."""
    layer = strided(1, columns=100, rows=300)
    places = places_read((300, 100), (1, 1), 100)
    for banks in (4, 5, 9):
        assert meeting_cycles(layer, "forward", "a", 8, banked(banks)) == pytest.approx(
            cycles_of_meetings(places, 8, 4, banks), rel=0.02
        )


# --- scratchpads ---


@settings(max_examples=150)
@given(
    tile=st.builds(TileShape, st.integers(1, 16), st.integers(1, 16), st.sampled_from((8, 16)), st.just(1)),
    operand=st.integers(64, 4096),
    partial=st.integers(64, 4096),
)
def test_slices_and_partial_sums_fit_the_scratchpads(tile, operand, partial):
    memory = memory_of(scratchpads=Scratchpads(operand_bytes=operand, partial_bytes=partial, banks=1))
    side, values = slice_reuse(tile, memory), slice_values(tile, memory)
    assert side == 1 or side**2 * tile.rows_x * tile.rows_y * memory.partial_value_bytes <= tile.rows_y * partial
    # Of each row: as many slices as tiles that it holds together, in use and arriving.
    assert side * values * 2 * memory.value_bytes <= operand or (side, values) == (1, tile.lanes)
    assert values >= tile.lanes

    larger = side + 1
    sums = larger**2 * tile.rows_x * tile.rows_y * memory.partial_value_bytes > tile.rows_y * partial
    operands = larger * 2 * tile.lanes * memory.value_bytes > operand
    assert sums or operands, "one more of each would fit"


# --- accesses ---

LINEAR = product_shapes("linear", (64, 64), (64, 64), (64, 64))


def walked(shape, tile, memory):
    """(accesses, of them partial sums) of a walk over the tile passes; the grid has as many columns as Y can fill."""
    grid_y = min(shape.y_tiles, tile.tiles)
    grid_x = min(shape.x_tiles, tile.tiles // grid_y)
    side, slice_sets = slice_reuse(tile, memory), slice_values(tile, memory) // tile.lanes
    if (shape.x_tiles, shape.y_tiles) == (grid_x, grid_y):
        slice_sets = shape.sets  # each tile has one pass, whose sums stay in the PEs to the end
    sizes = (shape.clusters, shape.x_tiles, shape.y_tiles, shape.sets, tile.rows_x, tile.rows_y)
    accesses = tile_passes(*sizes, (grid_x, grid_y), (side, side), slice_sets)
    sums = accesses.sums if side > 1 else shape.passes * tile.rows_x * tile.rows_y
    return accesses, sums * memory.partial_value_bytes / (tile.lanes * memory.value_bytes)


tiles_small = st.builds(
    TileShape, st.sampled_from((1, 2, 4)), st.sampled_from((1, 2, 4)), st.just(8), st.integers(1, 6)
)
shapes_small = st.builds(
    PassShape, st.just("a"), st.just("w"), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)
)


@st.composite
def hierarchies(draw):
    """A small tile and scratchpads whose slices hold whole sets, of one tile of X and Y together up to some."""
    tile = draw(tiles_small)
    operand, partial = draw(st.sampled_from((32, 64, 96, 192, 384))), draw(st.sampled_from((16, 64, 144, 256)))
    memory = memory_of(scratchpads=Scratchpads(operand_bytes=operand, partial_bytes=partial, banks=1))
    assume(slice_values(tile, memory) % tile.lanes == 0)
    return tile, memory


@settings(max_examples=200)
@given(shape=shapes_small, hierarchy=hierarchies())
def test_accesses_are_the_fetches_of_every_slice_and_the_reads_of_every_set(shape, hierarchy):
    tile, memory = hierarchy
    accesses, sums = walked(shape, tile, memory)
    chip = on_chip(LINEAR, "forward", [shape], tile, memory)
    assert chip.buffer_reads == {"a": accesses.fetched_x, "w": accesses.fetched_y}
    assert chip.scratchpad_reads == pytest.approx(accesses.pad_reads + sums)


@given(numbers=st.tuples(*[st.integers(1, 3)] * 4), hierarchy=hierarchies())
def test_scratchpads_of_a_full_grid_are_written_once_a_fetch_and_tile(numbers, hierarchy):
    """Of Y as many tiles as fill the grid and the scratchpads, so that no tile is idle."""
    (tile, memory), (clusters, times_x, times_y, sets) = hierarchy, numbers
    shape = PassShape("a", "w", clusters, times_x, times_y * slice_reuse(tile, memory) * tile.tiles, sets)
    accesses, sums = walked(shape, tile, memory)
    assert on_chip(LINEAR, "forward", [shape], tile, memory).scratchpad_writes == pytest.approx(
        accesses.pad_writes + sums
    )


def test_accesses_of_several_shapes_add_up():
    shapes = [PassShape("a", "w", 2, 5, 3, 4), PassShape("w", "a", 1, 2, 7, 2.5)]
    memory = memory_of()
    alone = [on_chip(LINEAR, "forward", [shape], FPRAKER_TILE, memory) for shape in shapes]
    both = on_chip(LINEAR, "forward", shapes, FPRAKER_TILE, memory)
    for name in ("scratchpad_reads", "scratchpad_writes", "transposed", "transposer_cycles"):
        assert getattr(both, name) == pytest.approx(sum(getattr(each, name) for each in alone))
    for tensor in ("a", "w"):
        assert both.buffer_reads[tensor] == pytest.approx(sum(each.buffer_reads[tensor] for each in alone))


def test_an_access_narrower_than_a_set_is_repeated():
    """float32 values: 16 lanes are 64 bytes, two accesses of 32."""
    shape, wide = PassShape("a", "w", 1, 2, 3, 5), {"access_bytes": 32, "channels": 16}
    half = on_chip(LINEAR, "forward", [shape], TENSORDASH_TILE, banked(4, **wide, value_bytes=2))
    full = on_chip(LINEAR, "forward", [shape], TENSORDASH_TILE, banked(4, **wide, value_bytes=4))
    # Half the lanes' bytes also halve the slices, which 5 sets, 2 and 3 tiles do not feel.
    assert full.buffer_reads == {tensor: 2 * reads for tensor, reads in half.buffer_reads.items()}


# --- cycles ---


@st.composite
def runs(draw):
    """What `on_chip` takes: an operation of a convolution, its passes, a tile and a memory."""
    rows, columns, stride = draw(st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3)))
    layer = conv_shapes(2, 8, 8, (rows, columns), (1, 1), (stride, stride), (0, 0), (1, 1), 1)
    operation = draw(st.sampled_from(OPERATIONS))
    x, y = draw(st.permutations(OPERANDS[operation]))
    shape = PassShape(x, y, *draw(st.tuples(st.integers(1, 3), *[st.integers(1, 9)] * 3)))
    return (
        layer,
        operation,
        [shape],
        draw(tiles_small),
        banked(draw(st.integers(1, 9)), instances=draw(st.integers(1, 3))),
    )


@settings(max_examples=150)
@given(run=runs())
def test_every_pass_costs_something_and_nothing_is_negative(run):
    chip = on_chip(*run)
    assert min(*chip.buffer_reads.values(), chip.scratchpad_reads, chip.scratchpad_writes, chip.buffer_cycles) > 0
    assert (chip.transposed > 0) == (chip.transposer_cycles > 0) == (run[1] != "forward")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_transposers_take_the_tensors_whose_sets_run_across_channels(operation):
    """A square of channels by neighbours turns an access a cycle; forward needs none, an input gradient W alone."""
    x, y = OPERANDS[operation]
    chip = on_chip(
        LINEAR, operation, [PassShape(x, y, 1, 8, 8, 8)], FPRAKER_TILE, memory_of(transposers=Transposers(count=3))
    )
    turned = {"forward": (), "input_grad": ("w",), "weight_grad": ("a", "g")}[operation]
    assert TRANSPOSED[operation] == turned
    assert chip.transposed == sum(chip.buffer_reads[tensor] for tensor in turned)
    assert chip.transposer_cycles == chip.transposed / 3


def test_the_slowest_buffer_decides():
    """One pass of one set, rows of X eight columns apart that meet three times in nine banks, W's rows never."""
    shape, one = PassShape("a", "w", 1, 1, 1, 10), replace(FPRAKER_TILE, tiles=1)
    chip = on_chip(strided(3, columns=192), "forward", [shape], one, banked(9))
    assert chip.buffer_cycles == 30
    assert chip.buffer_reads == {"a": 80, "w": 80}


def test_instances_share_the_accesses():
    shape = PassShape("a", "w", 1, 6, 5, 4)
    lone, many = (on_chip(LINEAR, "forward", [shape], FPRAKER_TILE, banked(9, instances=n)) for n in (1, 16))
    assert lone.buffer_cycles == 16 * many.buffer_cycles
    assert lone.buffer_reads == many.buffer_reads


def test_spare_banks_serve_further_sets_at_once():
    """Nine banks, four rows: two sets together, whose eight columns do not meet."""
    tile, shape = TileShape(4, 4, 8, 1), PassShape("a", "w", 1, 1, 1, 10)
    chip = on_chip(strided(1), "forward", [shape], tile, banked(9))
    assert chip.buffer_cycles == 5


def test_time_is_linear_in_the_number_of_clusters():
    once, twice = (
        on_chip(LINEAR, "weight_grad", [PassShape("a", "g", n, 5, 7, 3)], FPRAKER_TILE, memory_of()) for n in (1, 2)
    )
    for name in ("scratchpad_reads", "scratchpad_writes", "transposed", "buffer_cycles", "transposer_cycles"):
        assert getattr(twice, name) == pytest.approx(2 * getattr(once, name))


def test_no_tile_pass_makes_no_access():
    chip = on_chip(LINEAR, "forward", [], FPRAKER_TILE, memory_of())
    assert (chip.buffer_reads, chip.scratchpad_reads, chip.scratchpad_writes, chip.buffer_cycles) == (
        {"a": 0, "w": 0},
        0,
        0,
        0,
    )
    assert (chip.transposed, chip.transposer_cycles) == (0, 0)


def test_a_slice_is_whole_sets():
    """TensorDash: 13 tiles together leave 59 values a row: three sets of 16."""
    memory = memory_of(scratchpads=Scratchpads(operand_bytes=3072, partial_bytes=3072, banks=3))
    assert slice_reuse(TENSORDASH_TILE, memory) == 13
    assert slice_values(TENSORDASH_TILE, memory) == 48


@given(shape=shapes_small, hierarchy=hierarchies())
def test_a_scratchpad_is_written_only_in_tiles_that_work(shape, hierarchy):
    tile, memory = hierarchy
    accesses, sums = walked(shape, tile, memory)
    assert on_chip(LINEAR, "forward", [shape], tile, memory).scratchpad_writes == pytest.approx(
        accesses.pad_writes + sums
    )


def test_time_of_a_buffer_does_not_grow_with_its_banks():
    # 8 neighbouring columns, 64 bytes and so 4 accesses of 16 bytes apart: never two in one of a million banks.
    start = time.perf_counter()
    assert _meeting((64, 64), (1, 1), 64, 8, 4, 1 << 20) == 1.0
    assert _meeting((64, 64), (1, 1), 64, 8, 4, 32) == 1.0
    # Of 16 banks every fourth is used: 8 accesses meet two by two, and all eight where columns lie 16 accesses apart.
    assert _meeting((64, 64), (1, 1), 64, 8, 4, 16) == 2.0
    assert _meeting((64, 64), (1, 1), 64, 8, 16, 16) == 8.0
    assert time.perf_counter() - start < 1
