"""Block steps against the loop nest walked by hand."""

from fractions import Fraction
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simhw.memory.blocking import Blocking
from simhw.memory.parameters import Container
from simhw.memory.steps import steps_of
from simhw.memory.traffic import tensor_traffic
from simhw.trace.layer import TENSORS
from tests.memory.parts import blocked_as, candidates, problems, product_shapes
from tests.oracles.blocking import RUNS_ALONG, block_bytes, loop_nest, walk


@st.composite
def blocked(draw, empty=False):
    """(space, memory, order, blocks, steps) of a blocking that fits its buffers, containers of a few values.

    With `empty` some blocks may read nothing but padding, or rows between those that stride keeps.
    """
    space, memory = draw(problems())
    order, blocks = draw(st.sampled_from(list(candidates(space))))
    blocking = Blocking(order, blocks)
    for tensor in TENSORS:
        assume(empty or min(block_bytes(space, order, blocks, tensor, memory.value_bytes).values()) > 0)
        assume(
            tensor_traffic(space, blocking, tensor, memory).need_bytes <= getattr(memory.buffers, tensor).capacity_bytes
        )
    memory = memory.model_copy(
        update={"container": Container(channels=space.container_channels, columns=draw(st.integers(1, 4)))}
    )
    return space, memory, order, blocks, list(steps_of(space, blocking, memory))


def keys(order, blocks, tensor):
    """The block of a tensor that each step works on."""
    return [tuple(step[dim] for dim in RUNS_ALONG[tensor]) for step in loop_nest(order, blocks)]


def containers(job):
    return [job.first + r * job.stride + k for r in range(job.runs) for k in range(job.run)]


@settings(max_examples=120)
@given(case=blocked())
def test_steps_move_what_their_blocking_says(case):
    space, memory, order, blocks, steps = case
    for tensor in TENSORS:
        traffic = tensor_traffic(space, Blocking(order, blocks), tensor, memory)
        sizes = block_bytes(space, order, blocks, tensor, memory.value_bytes)
        whole = sum(sizes.values())
        spilled = whole * memory.partial_value_bytes // memory.value_bytes
        read = sum(job.raw_bytes for step in steps for job in step.loads if job.tensor == tensor)
        written = sum(job.raw_bytes for step in steps for job in step.stores if job.tensor == tensor)
        if tensor == space.output:
            assert (read, written) == ((traffic.passes - 1) * spilled, whole + (traffic.passes - 1) * spilled)
        else:
            assert (read, written) == (traffic.passes * whole, 0)
        # The same from an explicit buffer that keeps its blocks where they fit.
        scale = Fraction(memory.partial_value_bytes, memory.value_bytes)
        moved = walk(order, blocks, tensor, sizes, tensor == space.output, scale, traffic.resident)
        assert (read, written) == (moved.values_in + moved.partial_in, moved.values_out + moved.partial_out)


@settings(max_examples=120)
@given(case=blocked())
def test_every_block_is_there_when_its_step_runs(case):
    """Inputs are loaded by the first step that meets them, with the bytes of that block; other steps load what a buffer
    lost.
    """
    space, memory, order, blocks, steps = case
    assert len(steps) == int(np.prod(blocks))
    for tensor in set(TENSORS) - {space.output}:
        sizes, met = block_bytes(space, order, blocks, tensor, memory.value_bytes), set()
        for step, key in zip(steps, keys(order, blocks, tensor), strict=True):
            loads = [job.raw_bytes for job in step.loads if job.tensor == tensor]
            assert loads in ([], [sizes[key]])
            assert loads or key in met
            met.add(key)
        assert not [job for step in steps for job in step.stores if job.tensor == tensor]


@settings(max_examples=120)
@given(case=blocked())
def test_an_output_leaves_whole_after_its_last_reduction_and_comes_back_as_it_left(case):
    space, memory, order, blocks, steps = case
    sizes = block_bytes(space, order, blocks, space.output, memory.value_bytes)
    spilled = {key: size * memory.partial_value_bytes // memory.value_bytes for key, size in sizes.items()}
    last = blocks[order.index(space.reduction)] - 1
    away = {}
    for step, place, key in zip(steps, loop_nest(order, blocks), keys(order, blocks, space.output), strict=True):
        loads = [job.raw_bytes for job in step.loads if job.tensor == space.output]
        stores = [job.raw_bytes for job in step.stores if job.tensor == space.output]
        assert loads == ([away.pop(key)] if key in away else [])
        if place[space.reduction] == last:
            assert stores == [sizes[key]]
        elif stores:
            assert stores == [spilled[key]]
            away[key] = spilled[key]
    assert not away


@settings(max_examples=150)
@given(case=blocked(), ratios=st.tuples(*[st.sampled_from((1.0, 0.75, 0.5, 0.125))] * 3))
def test_all_but_partial_sums_are_compressed_and_all_fit_their_containers(case, ratios):
    space, memory, order, blocks, steps = case
    last = blocks[order.index(space.reduction)] - 1
    ratio = dict(zip(TENSORS, ratios, strict=True))
    for step, place in zip(steps, loop_nest(order, blocks), strict=True):
        for job in (*step.loads, *step.stores):
            # What is read of an output, or written before its reduction ends, are partial sums.
            partial = job.tensor == space.output and (not job.write or place[space.reduction] < last)
            assert job.write == (job in step.stores)
            assert job.partial == partial
            assert job.payload_bytes(ratio) == (job.raw_bytes if partial else ceil(job.raw_bytes * ratio[job.tensor]))
            assert 0 < job.payload_bytes(ratio) <= len(containers(job)) * memory.container_bytes


@settings(max_examples=150)
@given(case=blocked())
def test_shares_of_steps_are_positive_and_add_up(case):
    steps = case[-1]
    assert min(step.share for step in steps) > 0
    assert sum(step.share for step in steps) == pytest.approx(1, rel=1e-12)


@settings(max_examples=150)
@given(case=blocked())
def test_containers_of_a_block_are_distinct_and_hold_it(case):
    _, memory, _, _, steps = case
    for step in steps:
        for job in (*step.loads, *step.stores):
            here = containers(job)
            assert len(set(here)) == len(here)
            assert min(here) >= 0
            assert ceil(job.raw_bytes / memory.container_bytes) <= len(here)


def ranges(steps):
    """First and last container of each tensor."""
    places = {tensor: [] for tensor in TENSORS}
    for step in steps:
        for job in (*step.loads, *step.stores):
            places[job.tensor] += containers(job)
    return [(min(each), max(each)) for each in places.values()]


@settings(max_examples=150)
@given(case=blocked())
def test_tensors_of_whole_containers_lie_one_behind_another(case):
    space, steps = case[0], case[-1]
    assume(space.channels % space.container_channels == 0 == space.outputs % space.container_channels)
    assume(not any(job.partial for step in steps for job in step.stores))
    assert all(before[1] < after[0] for before, after in pairwise(ranges(steps)))


@pytest.mark.parametrize(
    "steps",
    [
        # 48 channels: a container of 32 and one of 16, which is half empty; all outputs' first channels are one block.
        blocked_as(product_shapes("linear", (2048, 48), (1024, 48), (2048, 1024)), "forward", "gpco:1x1x2x1"),
        # Partial sums take twice the containers of values.
        blocked_as(
            product_shapes("linear", (4096, 256), (4096, 256), (4096, 4096)), "weight_grad", "gpco:1x4x4x2", w=1 << 19
        ),
    ],
    ids=["a part of a container", "partial sums"],
)
def test_no_container_belongs_to_two_tensors(steps):
    assert all(before[1] < after[0] for before, after in pairwise(ranges(steps)))


@settings(max_examples=150)
@given(case=blocked(empty=True))
def test_a_block_of_nothing_is_no_job(case):
    """The first rows of a kernel with more padding than reach, or the rows between those that stride keeps in an input
    gradient.
    """
    for step in case[-1]:
        for job in (*step.loads, *step.stores):
            assert job.raw_bytes > 0
            assert job.runs > 0


@settings(max_examples=150)
@given(case=blocked())
def test_the_share_of_a_step_is_that_of_its_multiply_accumulates(case):
    """Of each copy, row of positions, input channel and output channel there are as many; the last container may hold
    fewer channels.
    """
    space, _, order, blocks, steps = case
    unwindowed = {"g": "a", "p": "g" if space.windowed == "a" else "a", "c": "a", "o": "g"}
    sizes = {
        dim: space.extents(dim, space.cuts(dim, blocks[order.index(dim)]), tensor) for dim, tensor in unwindowed.items()
    }
    for step, place in zip(steps, loop_nest(order, blocks), strict=True):
        assert step.share == pytest.approx(np.prod([sizes[dim][place[dim]] / sum(sizes[dim]) for dim in sizes]))
