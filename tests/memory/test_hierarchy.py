"""The schedule of block steps against a recurrence of sums and maxima without SimPy, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.errors import ShapeError
from simhw.memory.blocking import Blocking, parse_blocking
from simhw.memory.dram import Dram
from simhw.memory.parameters import Container
from simhw.memory.schedule import run_schedule
from simhw.memory.space import space_of
from simhw.memory.steps import Step, steps_of
from simhw.trace.layer import TENSORS
from tests.memory.parts import (
    UNCOMPRESSED,
    Pipe,
    a_job,
    blocked_as,
    candidates,
    memory_of,
    problems,
    product_shapes,
)
from tests.memory.test_dram import COUNTERS, LPDDR4, machines, parameters
from tests.oracles.hierarchy import recurrence


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


def run(steps, tile_ns, bytes_per_ns=1.0, latency_ns=0.0):
    return run_schedule(steps, UNCOMPRESSED, tile_ns, Pipe(bytes_per_ns, latency_ns))


bandwidths = st.sampled_from((0.1, 0.5, 1.0, 3.0))
latencies = st.sampled_from((0.0, 7.0, 40.0))


@settings(max_examples=200)
@given(problem=schedules(), bandwidth=bandwidths, latency=latencies)
def test_a_schedule_is_its_recurrence(problem, bandwidth, latency):
    steps, tile_ns = problem
    found = run(steps, tile_ns, bandwidth, latency)
    expected = recurrence(steps, UNCOMPRESSED, tile_ns, Pipe(bandwidth, latency))
    assert (found.first_ready_ns, found.last_computed_ns, found.end_ns) == expected


@settings(max_examples=100)
@given(problem=problems(), data=st.data(), values=st.one_of(st.just(LPDDR4), machines(least_live=5.0)))
def test_a_schedule_in_one_kernel_is_that_under_simpy_and_its_recurrence(problem, data, values):
    """Times, and all that the DRAM counts; with partial sums that come back and blocks of nothing among the steps."""
    space, memory = problem
    order, blocks = data.draw(st.sampled_from(list(candidates(space))))
    memory = memory.model_copy(update={"container": Container(channels=space.container_channels, columns=2)})
    container_bytes = memory.container_bytes
    values = values | {"row_bytes": container_bytes * data.draw(st.sampled_from([1, 4]))}
    steps = steps_of(space, Blocking(order, blocks), memory)
    ratios = {tensor: data.draw(st.sampled_from((1.0, 0.7, 0.3))) for tensor in TENSORS}
    tile_ns = np.array(data.draw(st.lists(st.floats(0, 50_000), min_size=1, max_size=3)))
    drams = [Dram(parameters(**values), container_bytes) for _ in range(3)]
    found = run_schedule(steps, ratios, tile_ns, drams[0])
    assert found == run_schedule(list(steps), ratios, tile_ns, drams[1])
    assert (found.first_ready_ns, found.last_computed_ns, found.end_ns) == recurrence(steps, ratios, tile_ns, drams[2])
    for name in COUNTERS:
        assert getattr(drams[0], name) == getattr(drams[1], name) == getattr(drams[2], name), name


def test_a_job_that_is_handed_over_too_late_is_refused_by_the_kernel_as_under_simpy():
    layer = product_shapes("matmul", (1, 8, 64), (1, 64, 64), (1, 8, 64))
    steps = steps_of(space_of(layer, "forward", 32), parse_blocking("gpco:1x8x1x1"), memory_of())
    for each in (steps, list(steps)):
        with pytest.raises(ShapeError, match=r"starts at 1\d{12}\.5 ns; a time from 0 to 1e\+12 ns was expected"):
            run_schedule(each, UNCOMPRESSED, np.array([9e12]), Dram(parameters(), 2048))


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
