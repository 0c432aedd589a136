"""Block steps against the loop nest walked by hand, and their schedule against a recurrence of sums and maxima without
SimPy.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simhw.memory.blocking import Blocking, parse_blocking
from simhw.memory.parameters import Container
from simhw.memory.schedule import run_schedule
from simhw.memory.space import space_of
from simhw.memory.steps import Job, Step, steps_of
from simhw.memory.traffic import tensor_traffic
from simhw.trace.layer import TENSORS
from tests.memory.parts import candidates, memory_of, problems, product_shapes
from tests.oracles.blocking import RUNS_ALONG, block_bytes, loop_nest, walk

# --- steps ---


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


# --- schedule ---


@dataclass
class Pipe:
    """A DRAM of fixed bandwidth that serves jobs one after another, each a latency after it was handed over at the
    earliest.
    """

    bytes_per_ns: float
    latency_ns: float = 0.0
    free_ns: float = 0.0
    busy_ns: float = 0.0

    def transfer(self, first, runs, run, stride, payload_bytes, write, start_ns):  # as `Dram.transfer` has it
        assert (first, runs, run, stride) == (0, 1, 1, 1)
        taken = payload_bytes / self.bytes_per_ns
        self.free_ns = max(self.free_ns, start_ns + self.latency_ns) + taken
        self.busy_ns += taken
        return self.free_ns


def a_job(size, write):
    return Job("g" if write else "a", 0, 1, 1, 1, size, write)


UNCOMPRESSED = dict.fromkeys(TENSORS, 1.0)


@st.composite
def schedules(draw):
    """(steps, tile times): some steps without loads or stores, some tiles idle."""
    count = draw(st.integers(1, 7))
    sizes = st.lists(st.integers(1, 200), max_size=3)
    weights = draw(st.lists(st.integers(1, 20), min_size=count, max_size=count))
    steps = []
    for weight in weights:
        loads, stores = (tuple(a_job(size, write) for size in draw(sizes)) for write in (False, True))
        steps.append(Step(loads, stores, weight / sum(weights)))
    return steps, np.array(draw(st.lists(st.integers(0, 500), min_size=1, max_size=4)), np.float64)


def recurrence(steps, tile_ns, pipe):
    """(first step's blocks there, tiles done, all done), by sums and maxima in the order that the hierarchy promises.

    Before the blocks of step i come in, step i - 2 has ended, whose buffer half they take; its outputs go out behind
    them. Step i runs when its blocks are there and, since its outputs need room, those of step i - 2 are out.
    """
    loaded, computed, stored = [], [], []
    handed, begun, free = 0.0, 0.0, np.zeros(len(tile_ns))
    for index in range(len(steps) + 2):
        if index >= 2:
            handed = max(handed, computed[index - 2])
        if index < len(steps):
            loaded.append(
                max([handed] + [pipe.transfer(0, 1, 1, 1, job.raw_bytes, False, handed) for job in steps[index].loads])
            )
        if index >= 2:
            stored.append(
                max(
                    [handed]
                    + [pipe.transfer(0, 1, 1, 1, job.raw_bytes, True, handed) for job in steps[index - 2].stores]
                )
            )
        if index < len(steps):
            begun = max([begun, loaded[index], *stored[-1:]])
            free = np.maximum(free, begun) + tile_ns * steps[index].share
            computed.append(max(free))
    return loaded[0], computed[-1], max(*stored, computed[-1])


def run(steps, tile_ns, bytes_per_ns=1.0, latency_ns=0.0):
    return run_schedule(steps, UNCOMPRESSED, tile_ns, Pipe(bytes_per_ns, latency_ns))


bandwidths = st.sampled_from((0.1, 0.5, 1.0, 3.0))
latencies = st.sampled_from((0.0, 7.0, 40.0))


@settings(max_examples=200)
@given(problem=schedules(), bandwidth=bandwidths, latency=latencies)
def test_a_schedule_is_its_recurrence(problem, bandwidth, latency):
    steps, tile_ns = problem
    found = run(steps, tile_ns, bandwidth, latency)
    expected = recurrence(steps, tile_ns, Pipe(bandwidth, latency))
    assert (found.first_ready_ns, found.last_computed_ns, found.end_ns) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_loads_hide_behind_tiles_and_tiles_behind_loads():
    """Three steps of 100 bytes in and 10 out, 1 byte a ns, tiles 40 ns a step.

    Loads end at 100 and 200, tiles run 100-140 and 200-240.  Step 2's load is handed over at 140 and ends at 300, step
    0's outputs follow to 310, tiles run 310-350.  Step 1's outputs are handed over at 240 and go out to 320, step 2's
    to 360.
    """
    steps = [Step((a_job(100, False),), (a_job(10, True),), 1 / 3)] * 3
    found = run(steps, np.array([120.0]))
    assert (found.first_ready_ns, found.last_computed_ns, found.end_ns) == pytest.approx((100, 350, 360))


def test_slow_tiles_wait_for_the_first_blocks_alone():
    """The same with tiles of 1000 ns a step: in at 100, busy to 3100, the last outputs out at 3110."""
    steps = [Step((a_job(100, False),), (a_job(10, True),), 1 / 3)] * 3
    found = run(steps, np.array([3000.0]))
    assert (found.first_ready_ns, found.last_computed_ns, found.end_ns) == pytest.approx((100, 3100, 3110))


@settings(max_examples=150)
@given(problem=schedules(), bandwidth=bandwidths, latency=latencies, faster=st.floats(1, 10))
def test_more_bandwidth_never_makes_anything_later(problem, bandwidth, latency, faster):
    slow, fast = run(*problem, bandwidth, latency), run(*problem, bandwidth * faster, latency)
    for name in ("first_ready_ns", "last_computed_ns", "end_ns"):
        assert getattr(fast, name) <= getattr(slow, name) * (1 + 1e-12)


@settings(max_examples=150)
@given(problem=schedules(), smaller=st.floats(0, 1), latency=latencies)
def test_fewer_bytes_never_make_anything_later(problem, smaller, latency):
    steps, tile_ns = problem

    def shrunk(jobs):
        return tuple(a_job(max(1, int(job.raw_bytes * smaller)), job.write) for job in jobs)

    less = run([Step(shrunk(step.loads), shrunk(step.stores), step.share) for step in steps], tile_ns, 1.0, latency)
    assert less.end_ns <= run(steps, tile_ns, 1.0, latency).end_ns * (1 + 1e-12)


@settings(max_examples=150)
@given(problem=schedules(), bandwidth=bandwidths, extra=st.lists(st.floats(0, 300), min_size=4, max_size=4))
def test_tiles_that_take_longer_delay_the_end_by_no_more(problem, bandwidth, extra):
    """Never earlier, and later by the largest of the tiles' delays at the most."""
    steps, tile_ns = problem
    delay = np.array(extra[: len(tile_ns)])
    before, after = run(steps, tile_ns, bandwidth).end_ns, run(steps, tile_ns + delay, bandwidth).end_ns
    assert before * (1 - 1e-12) <= after <= (before + delay.max()) * (1 + 1e-12)


@settings(max_examples=150)
@given(problem=schedules(), bandwidth=bandwidths, latency=latencies)
def test_the_end_is_no_earlier_than_the_tiles_or_the_bytes_allow(problem, bandwidth, latency):
    steps, tile_ns = problem
    pipe = Pipe(bandwidth, latency)
    found = run_schedule(steps, UNCOMPRESSED, tile_ns, pipe)
    assert found.end_ns >= tile_ns.max() * (1 - 1e-12)
    assert found.end_ns >= pipe.busy_ns * (1 - 1e-12)
    assert found.last_computed_ns >= found.first_ready_ns + tile_ns.max() * (1 - 1e-12)
    # No later than one thing after another.
    jobs = sum(len(step.loads) + len(step.stores) for step in steps)
    assert found.end_ns <= (tile_ns.max() * len(steps) + pipe.busy_ns + jobs * latency) * (1 + 1e-9)


def test_a_recorded_schedule_tells_what_every_unit_did_and_changes_nothing():
    steps = [Step((a_job(100, False),), (a_job(10, True),), 0.5)] * 2
    tile_ns = np.array([80.0, 0.0])
    found = run_schedule(steps, UNCOMPRESSED, tile_ns, Pipe(1.0), record=True)
    assert [(each.unit, each.start_ns, each.end_ns) for each in found.tile_work] == [
        ("tile 0", 100, 140),
        ("tile 0", 200, 240),
    ]
    names = [each.name for each in found.transfers]
    assert names == ["step 0: load A", "step 1: load A", "step 0: store G", "step 1: store G"]
    assert found.end_ns == run(steps, tile_ns).end_ns


def test_jobs_go_out_compressed_as_their_tensors_are():
    """100 bytes in at a half, 10 out at a tenth: 50 ns, tiles 30 ns, 1 ns."""
    ratios = {"a": 0.5, "w": 1.0, "g": 0.1}
    found = run_schedule([Step((a_job(100, False),), (a_job(10, True),), 1.0)], ratios, np.array([30.0]), Pipe(1.0))
    assert (found.first_ready_ns, found.last_computed_ns, found.end_ns) == pytest.approx((50, 80, 81))


def blocked_as(layer, operation, text, **buffers):
    space, memory = space_of(layer, operation, 32), memory_of(**buffers)
    return list(steps_of(space, parse_blocking(text), memory))


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


def test_partial_sums_are_read_back_after_they_were_written():
    """The DMA engine takes a step's blocks before the outputs of the step two before, but not where partial sums come
    back.

    Two blocks of outputs take turns, so that step 2 reads what step 0 wrote.
    """
    layer, text = product_shapes("matmul", (2, 1, 64), (2, 64, 64), (2, 1, 64)), "gcop:2x2x2x1"
    steps = blocked_as(layer, "forward", text, g=2 * 64)
    assert any(job.partial for step in steps for job in step.loads)
    moved = []

    class Recorder(Pipe):
        def transfer(self, first, runs, run, stride, payload_bytes, write, start_ns):  # as `Dram.transfer` has it
            moved.append((write, first))
            return super().transfer(0, 1, 1, 1, payload_bytes, write, start_ns)

    run_schedule(steps, dict.fromkeys("awg", 1.0), np.ones(1), Recorder(1.0))
    for step in steps:
        for job in step.loads:
            if job.partial:
                assert (True, job.first) in moved[: moved.index((False, job.first))]
