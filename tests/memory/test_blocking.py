"""Blocking: traffic and buffer space against a walk of the loop nest, the search against trying all, and
closed forms.
"""

from itertools import product
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simhw.errors import MachineError
from simhw.memory.blocking import Blocking, parse_blocking
from simhw.memory.search import fixed, search
from simhw.memory.space import DIMS, space_of
from simhw.memory.traffic import tensor_traffic
from simhw.trace.geometry import CONVOLUTIONS
from simhw.trace.layer import OPERATIONS, TENSORS
from tests.memory.parts import LAYERS, ORDERS, candidates, memory_of, problems, product_shapes, spaces
from tests.oracles.blocking import NOT_ALONG, RUNS_ALONG, block_bytes, macs, off_chip_bytes, traffic_of


@settings(max_examples=150)
@given(problem=problems(), data=st.data())
def test_traffic_and_space_of_a_blocking_are_those_of_walking_it(problem, data):
    space, memory = problem
    order, blocks = data.draw(st.sampled_from(list(candidates(space))))
    for tensor in TENSORS:
        found = tensor_traffic(space, Blocking(order, blocks), tensor, memory)
        capacity = getattr(memory.buffers, tensor).capacity_bytes
        walked = traffic_of(space, order, blocks, memory, tensor)
        assert (found.need_bytes <= capacity) == (walked is not None)
        if walked is None:
            continue
        whole = sum(block_bytes(space, order, blocks, tensor, memory.value_bytes).values())
        assert found.need_bytes == walked.need
        assert found.resident == (found.passes == 1)
        if tensor == space.output:
            spilled = whole * memory.partial_value_bytes // memory.value_bytes
            assert (walked.values_in, walked.values_out) == (0, whole)
            assert walked.partial_in == walked.partial_out == (found.passes - 1) * spilled
        else:
            assert walked.values_in == found.passes * whole


@settings(max_examples=60)
@given(problem=problems())
def test_search_finds_the_least_traffic_of_all_blockings_that_fit(problem):
    space, memory = problem
    traffic = {each: off_chip_bytes(space, *each, memory) for each in candidates(space)}
    fitting = {each: size for each, size in traffic.items() if size is not None}
    if not fitting:
        with pytest.raises(MachineError, match=r"memory\.buffers: not even the smallest blocks of a product of"):
            search(space, memory)
        return
    chosen = search(space, memory)
    assert (chosen.order, chosen.blocks) in fitting
    assert fitting[chosen.order, chosen.blocks] == min(fitting.values())
    over = [
        max(0, prod(blocks) - memory.steps) for (_, blocks), size in fitting.items() if size == min(fitting.values())
    ]
    assert max(0, chosen.steps - memory.steps) == min(over)


@settings(max_examples=60)
@given(problem=problems())
def test_among_blockings_of_equal_traffic_search_prefers_short_waits_then_few_steps(problem):
    space, memory = problem
    traffic = {each: off_chip_bytes(space, *each, memory) for each in candidates(space)}
    fitting = {each: size for each, size in traffic.items() if size is not None}
    assume(fitting)
    equal = [each for each, size in fitting.items() if size == min(fitting.values())]
    # Where a later block is larger than the first, because padding cuts the first, what is waited for is another
    # question.
    assume(all(waits_for_its_largest_blocks(space, each, memory) for each in equal))
    chosen = search(space, memory)
    assert key_of(space, (chosen.order, chosen.blocks), memory) == min(key_of(space, each, memory) for each in equal)


def waits_for_its_largest_blocks(space, candidate, memory):
    for tensor in TENSORS:
        sizes = list(block_bytes(space, *candidate, tensor, memory.value_bytes).values())
        if tensor != space.output and sizes[0] != max(sizes):
            return False
    return True


def key_of(space, candidate, memory):
    steps, waited = prod(candidate[1]), 0
    for tensor in TENSORS:
        sizes = list(block_bytes(space, *candidate, tensor, memory.value_bytes).values())
        waited += sizes[-1] if tensor == space.output else sizes[0]
    return (steps if steps > memory.steps else 0, waited, steps)


@settings(max_examples=60)
@given(problem=problems(), data=st.data())
def test_larger_buffers_never_mean_more_traffic(problem, data):
    space, memory = problem
    sizes = {tensor: getattr(memory.buffers, tensor).capacity_bytes for tensor in TENSORS}
    larger = memory_of(
        **{tensor: size + data.draw(st.integers(0, 2 * size)) for tensor, size in sizes.items()},
        value_bytes=memory.value_bytes,
    )
    try:
        chosen = search(space, memory)
    except MachineError:
        return
    better = search(space, larger)
    # The blocking chosen before still fits, and costs no more than it did.
    before, kept, after = (
        off_chip_bytes(space, chosen.order, chosen.blocks, memory),
        off_chip_bytes(space, chosen.order, chosen.blocks, larger),
        off_chip_bytes(space, better.order, better.blocks, larger),
    )
    assert after <= kept <= before


@settings(max_examples=60)
@given(space=spaces(), data=st.data())
def test_a_layer_that_fits_on_chip_is_blocked_alike_by_any_larger_buffers(space, data):
    sizes = {tensor: 2 * space.values(tensor) for tensor in TENSORS}
    larger = {tensor: size + data.draw(st.integers(0, 1000)) for tensor, size in sizes.items()}
    assert search(space, memory_of(**sizes)) == search(space, memory_of(**larger))


def reads_all_rows(name, operation):
    """Every row of the windowed tensor is read by some tap; else single rows leave out what whole images bring in."""
    layer = LAYERS[name]
    count = layer.shapes["g" if operation == "input_grad" else "a"][2] if layer.kind in CONVOLUTIONS else 0
    read = {mac.row for mac in macs(layer, operation)}
    return all(row in read for row in range(count))


@pytest.mark.parametrize(("name", "operation"), [case for case in product(LAYERS, OPERATIONS) if reads_all_rows(*case)])
def test_a_layer_that_fits_on_chip_crosses_the_pins_once(name, operation):
    layer = LAYERS[name]
    space, memory = space_of(layer, operation, 2), memory_of()
    chosen = search(space, memory)
    once = sum(2 * prod(shape) for shape in layer.shapes.values())
    assert off_chip_bytes(space, chosen.order, chosen.blocks, memory) == once
    assert chosen.steps <= memory.steps


# A product of 8 x 12 by 12 x 20 in blocks of 2 x 3 and 3 x 4, values of 2 bytes: 4 x 4 x 5 blocks.
PRODUCT = product_shapes("linear", (8, 12), (20, 12), (8, 20))
COUNT = {"g": 1, "p": 4, "c": 4, "o": 5}
BLOCK = {"a": 2 * 2 * 3, "w": 2 * 3 * 4, "g": 2 * 2 * 4}
# The tensor whose blocks stay: the one that the innermost loop leaves alone. The others meet every block of their
# missing loop.
STAYS = {"p": "w", "c": "g", "o": "a"}


@pytest.mark.parametrize("order", ORDERS)
def test_buffers_of_two_blocks_give_the_refetches_of_the_textbook(order):
    space, memory = space_of(PRODUCT, "forward", 1), memory_of(**{tensor: 2 * size for tensor, size in BLOCK.items()})
    blocking = Blocking(order, tuple(COUNT[dim] for dim in order))
    passes = {tensor: tensor_traffic(space, blocking, tensor, memory).passes for tensor in TENSORS}
    expected = {"a": 5, "w": 4, "g": 4} | {STAYS[order[-1]]: 1}
    assert passes == expected
    # Inputs come once a pass; sums of 4 bytes go out and come back between two passes, values of 2 leave after the
    # last.
    a, w, g = 2 * 8 * 12, 2 * 12 * 20, 2 * 8 * 20
    total = passes["a"] * a + passes["w"] * w + g + 2 * (passes["g"] - 1) * 2 * g
    assert off_chip_bytes(space, order, blocking.blocks, memory) == total


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tensor", TENSORS)
def test_one_byte_less_than_two_blocks_does_not_fit(order, tensor):
    space = space_of(PRODUCT, "forward", 1)
    blocking = Blocking(order, tuple(COUNT[dim] for dim in order))
    short = memory_of(**({name: 2 * size for name, size in BLOCK.items()} | {tensor: 2 * BLOCK[tensor] - 1}))
    with pytest.raises(
        MachineError,
        match=f"needs {2 * BLOCK[tensor]} bytes of the buffer of {tensor.upper()}, which has {2 * BLOCK[tensor] - 1}",
    ):
        fixed(space, short, blocking, "layer 'p', operation forward")


def test_a_whole_tensor_needs_no_second_buffer():
    space = space_of(PRODUCT, "forward", 1)
    whole = memory_of(a=2 * 8 * 12, w=2 * 12 * 20, g=2 * 8 * 20)
    for order in ORDERS:
        for blocks in ((1, 1, 1, 1), (1, 2, 2, 2)):
            for tensor in TENSORS:
                found = tensor_traffic(space, Blocking(order, blocks), tensor, whole)
                assert found.passes == 1
                assert found.need_bytes <= getattr(whole.buffers, tensor).capacity_bytes


def test_one_pass_over_a_loop_is_kept_when_two_of_them_fit():
    """Order p, o, c: A's pass is one row of blocks, met again by each block of outputs; twice that is what keeping it
    takes.
    """
    space, blocking = space_of(PRODUCT, "forward", 1), Blocking(("g", "p", "o", "c"), (1, 4, 5, 4))
    row = 2 * 2 * 12
    for capacity, passes in ((2 * row, 1), (2 * row - 1, 5)):
        assert tensor_traffic(space, blocking, "a", memory_of(a=capacity)).passes == passes


@pytest.mark.parametrize("operation", OPERATIONS)
def test_partial_sums_are_spilled_by_the_operation_s_own_output_alone(operation):
    space = space_of(PRODUCT, operation, 1)
    order = ("g", space.reduction, *(dim for dim in "pco" if dim != space.reduction))
    blocks = tuple(COUNT[dim] for dim in order)
    memory = memory_of(**{tensor: 2 * size for tensor, size in BLOCK.items()})
    for tensor in TENSORS:
        walked = traffic_of(space, order, blocks, memory, tensor)
        assert (walked.partial_in > 0) == (tensor == space.output)
    spilled = tensor_traffic(space, Blocking(order, blocks), space.output, memory)
    assert spilled.passes == COUNT[space.reduction]
    assert NOT_ALONG[space.output] == space.reduction


@pytest.mark.parametrize("order", ORDERS)
def test_a_blocking_is_written_as_it_is_read(order):
    text = f"{''.join(order)}:1x4x2x16"
    assert str(parse_blocking(text)) == text
    assert parse_blocking(text).steps == 128
    assert parse_blocking(text).count(order[2]) == 2


def test_auto_leaves_the_blocking_to_the_search():
    assert parse_blocking("auto") is None


UNREADABLE = (
    "|gpco|gpco:1x2x3|gpco:1x2x3x4x5|pgco:1x1x1x1|gpcc:1x1x1x1|gpc:1x1x1|gpco:1x0x1x1|gpco:1x-2x1x1|gpco:1x2.5x1x1|AUTO"
)


@pytest.mark.parametrize("text", UNREADABLE.split("|"))
def test_a_blocking_that_cannot_be_read_says_how_one_is_written(text):
    with pytest.raises(
        ValueError, match=f"blocking {text!r} is neither auto nor loops and counts, such as gpoc:1x4x2x1"
    ):
        parse_blocking(text)


@settings(max_examples=60)
@given(space=spaces(), order=st.sampled_from(ORDERS), blocks=st.tuples(*[st.integers(1, 9)] * 4))
def test_a_wanted_blocking_is_cut_down_to_the_units_of_its_loops(space, order, blocks):
    found = fixed(space, memory_of(), Blocking(order, blocks), "here")
    assert found.order == order
    for dim, wanted, count in zip(order, blocks, found.blocks, strict=True):
        assert 1 <= count <= space.units[dim]
        assert count == len(space.cuts(dim, min(wanted, space.units[dim])))
        if wanted >= space.units[dim]:
            assert count == space.units[dim]


def test_a_wanted_blocking_that_does_not_fit_names_layer_buffer_and_cure():
    message = (
        r"layer 'p', operation forward: memory.blocking=gpco:1x1x1x1 needs 480 bytes of the buffer of W, which has "
        r"479; "
        "cut its loops into more blocks, or leave the blocking at auto"
    )
    with pytest.raises(MachineError, match=message):
        fixed(
            space_of(PRODUCT, "forward", 1),
            memory_of(w=479),
            Blocking(("g", "p", "c", "o"), (1, 1, 1, 1)),
            "layer 'p', operation forward",
        )


def test_names_of_loops_are_those_of_the_walk():
    assert {tensor: {*RUNS_ALONG[tensor], NOT_ALONG[tensor]} for tensor in TENSORS} == {
        tensor: set(DIMS) for tensor in TENSORS
    }


def test_partial_sums_that_go_out_and_come_back_count_both_ways():
    """2 x 4 by 4 x 4, values of 1 byte, sums of 2; buffers of two blocks of two values of A and of W, of two outputs.

    Outputs kept, p in 2 blocks and o in 4: A (8) comes 4 times, W (16) twice, G (8) leaves once: 72 bytes.  A kept
    instead, c in 2 blocks: A once, W twice, and 16 bytes of partial sums go out and come back: 8 + 32 + 8 + 2 * 16 =
    80.
    """
    space = space_of(product_shapes("linear", (2, 4), (4, 4), (2, 4)), "forward", 1)
    memory = memory_of(a=4, w=4, g=2, value_bytes=1, partial_value_bytes=2)
    chosen = search(space, memory)
    assert off_chip_bytes(space, chosen.order, chosen.blocks, memory) == 72
    assert off_chip_bytes(space, ("g", "p", "c", "o"), (1, 2, 2, 4), memory) == 80


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_rows_that_no_window_reads_do_not_cut_a_layer_that_fits_into_more_steps_than_asked_for(name, operation):
    """memory.steps holds unless the buffers force more, and these buffers hold everything."""
    space, memory = space_of(LAYERS[name], operation, 2), memory_of(steps=3)
    assert search(space, memory).steps <= memory.steps


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_no_blocking_moves_less_than_each_tensor_once(name, operation):
    layer, memory = LAYERS[name], memory_of()
    space = space_of(layer, operation, 2)
    once = sum(2 * prod(shape) for shape in layer.shapes.values())
    chosen = search(space, memory)
    assert off_chip_bytes(space, chosen.order, chosen.blocks, memory) == once


@settings(max_examples=150)
@given(problem=problems())
def test_what_the_tiles_wait_for_at_the_start_is_the_first_step(problem):
    """Also where padding makes the first block smaller than the next."""
    space, memory = problem
    traffic = {each: off_chip_bytes(space, *each, memory) for each in candidates(space)}
    fitting = {each: size for each, size in traffic.items() if size is not None}
    assume(fitting)
    equal = [each for each, size in fitting.items() if size == min(fitting.values())]
    chosen = search(space, memory)
    assert key_of(space, (chosen.order, chosen.blocks), memory) == min(key_of(space, each, memory) for each in equal)
