"""Protocols of the memory hierarchy that are not ours: by hand, where the outcome depends on who queues for what."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from simhw import load_machine, load_trace, simulate_layer
from simhw.errors import SimhwError
from simhw.memory.dram import Dram
from simhw.memory.hierarchy import Hierarchy, MemoryController, Moment, StepBuffer
from simhw.memory.model import memory_cost
from simhw.memory.protocol import dma_engine, double_buffering, sequencer, tile_at_work
from simhw.memory.schedule import run_schedule
from simhw.memory.steps import Job, Step
from tests.memory.parts import UNCOMPRESSED, Pipe, a_job, blocked_as, product_shapes
from tests.memory.test_dram import COUNTERS
from tests.oracles.hierarchy import recurrence

ROOT = Path(__file__).parents[2]


def times(steps, tile_ns, protocol=double_buffering, record=False):
    found = run_schedule(steps, UNCOMPRESSED, np.array(tile_ns, np.float64), Pipe(1.0), record, protocol)
    return found.first_ready_ns, found.last_computed_ns, found.end_ns


# --- time ---


@given(moments=st.lists(st.floats(0, 1e9, allow_subnormal=False), min_size=1, max_size=20))
def test_a_moment_comes_at_its_time_to_the_last_bit(moments):
    environment, seen = simpy.Environment(), []

    def process():
        for time in sorted(moments):
            moment = Moment(environment)
            moment.come_at(time)
            yield moment
            seen.append(environment.now)

    environment.process(process())
    environment.run()
    assert seen == sorted(moments)


def test_a_delay_alone_would_miss_a_time():
    """From 0.2 on, 0.9 is not reached by a delay of 0.9 - 0.2, which is rounded."""
    now, then = 0.2, 0.9
    assert now + (then - now) != then
    environment = simpy.Environment(now)
    Moment(environment).come_at(then)
    environment.run()
    assert environment.now == then


# --- buffers of another depth ---


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        # One thing after another: in to 100, tiles to 140; step 1's blocks come to 240 with step 0's outputs behind
        # them to 250, which leave their place: tiles to 290.  In to 390, out to 400, tiles to 440, out to 450.
        (1, (100, 440, 450)),
        # As in test_hierarchy: step 2's blocks wait for the tiles to end step 0 at 140.
        (2, (100, 350, 360)),
        # All blocks have a place: in to 100, 200 and 300; tiles to 140, 240 and 340.  Step 0's outputs are handed over
        # when the tiles have ended, and go out behind what is under way: to 310, 320 and 350.
        (3, (100, 340, 350)),
    ],
)
def test_buffers_may_hold_blocks_of_more_or_fewer_steps(depth, expected):
    steps = [Step((a_job(100, False),), (a_job(10, True),), 1 / 3)] * 3
    assert times(steps, [120.0], partial(double_buffering, depth=depth)) == pytest.approx(expected)


def test_partial_sums_come_back_after_they_went_with_places_for_all():
    """A third place lets blocks come in earlier, but not partial sums that are still to be written."""
    layer = product_shapes("matmul", (2, 1, 64), (2, 64, 64), (2, 1, 64))
    steps = blocked_as(layer, "forward", "gcop:2x2x2x1", g=2 * 64)
    assert any(step.reads_partial_sums for step in steps)

    class AnyContainers(Pipe):
        def transfer(self, first, runs, run, stride, payload_bytes, write, start_ns):  # as `Dram.transfer` has it
            return super().transfer(0, 1, 1, 1, payload_bytes, write, start_ns)

    found = [
        run_schedule(steps, UNCOMPRESSED, np.ones(1), AnyContainers(1.0), False, partial(double_buffering, depth=depth))
        for depth in (2, 3)
    ]
    assert found[1].end_ns <= found[0].end_ns


# --- engines that compete for a controller ---


def competing(hierarchy: Hierarchy, store: int, load: int, prefetch: int) -> None:
    """Three DMA engines and one place in the controller: one for A, one for outputs, one that fetches W up to two steps
    ahead.  The numbers are their priorities, the lowest first.
    """
    environment, steps = hierarchy.environment, hierarchy.steps
    controller = MemoryController(hierarchy, places=1)
    inputs = StepBuffer(hierarchy, 2, left=hierarchy.computed)
    outputs = StepBuffer(hierarchy, 2, left=hierarchy.stored)
    ahead = simpy.Store(environment, capacity=2)
    parts = {tensor: [Moment(environment) for _ in steps] for tensor in "aw"}

    def jobs(index, tensor):
        return [job for job in steps[index].loads if job.tensor == tensor]

    def loader():
        for index in range(len(steps)):
            yield inputs.take(index)
            yield from controller.hand_over(jobs(index, "a"), index, parts["a"][index], load)

    def prefetcher():
        for index in range(len(steps)):
            yield ahead.put(index)
            yield from controller.hand_over(jobs(index, "w"), index, parts["w"][index], prefetch)

    def storer():
        for index in range(len(steps)):
            yield hierarchy.computed[index]
            yield ahead.get()
            yield from controller.store(index, store)

    def arrivals():
        for index in range(len(steps)):
            yield parts["a"][index] & parts["w"][index]
            hierarchy.loaded[index].succeed()

    for process in (loader(), storer(), prefetcher(), arrivals(), sequencer(hierarchy, outputs)):
        environment.process(process)
    for tile in hierarchy.working:
        environment.process(tile_at_work(hierarchy, tile))


COMPETING = [
    Step((a_job(10, False), Job("w", 0, 1, 1, 1, 30, False)), (a_job(20, True),), share / 128) for share in (20, 24, 84)
]
"""Each step reads 10 bytes of A and 30 of W and writes 20; tiles need 20, 24 and 84 ns of 128."""


@pytest.mark.parametrize(
    ("priorities", "expected"),
    [
        # A0 moves to 10, A1, ahead of W0, to 20, W0 to 50, W1 to 80; tiles run step 0 to 70.  Then G0 (to 100), A2 (to
        # 110) and W2 queue.  Tiles run step 1 from 80 to 104, so G1 comes before W2 and goes to 130, W2 to 160.  Tiles
        # run step 2 to 244, and G2 goes to 264.
        ({"store": 0, "load": 1, "prefetch": 2}, (50, 244, 264)),
        # A0 moves to 10, W0, ahead of A1, to 40, W1 to 70; tiles run step 0 to 60.  Then W2 is ahead of all, to 100, A1
        # to 110: tiles run step 1 to 134.  A2 goes to 120, G0 to 140, which leaves its place to step 2: tiles to 224,
        # while G1 goes to 160.  G2 goes to 244.
        ({"store": 2, "load": 1, "prefetch": 0}, (40, 224, 244)),
    ],
    ids=["outputs first", "weights first"],
)
@pytest.mark.parametrize("record", [False, True])
def test_who_is_served_first_decides_when_all_ends(priorities, expected, record):
    """No formula of the steps alone gives this: an engine's next transfer waits for the place that its last one had."""
    assert times(COMPETING, [128.0, 64.0], partial(competing, **priorities), record) == expected


def test_an_engine_waits_until_the_controller_has_a_place():
    """With one place step 1's blocks are handed over when step 0's have moved, and the DRAM's latency of 40 ns is met
    twice.
    """
    steps = [Step((a_job(100, False),), (), 0.5)] * 2

    def one_place(hierarchy, places):
        inputs, outputs = StepBuffer(hierarchy, 2, hierarchy.computed), StepBuffer(hierarchy, 2, hierarchy.stored)
        for process in (
            dma_engine(hierarchy, MemoryController(hierarchy, places), inputs),
            sequencer(hierarchy, outputs),
            tile_at_work(hierarchy, 0),
        ):
            hierarchy.environment.process(process)

    ends = [
        run_schedule(steps, UNCOMPRESSED, np.zeros(1), Pipe(1.0, 40.0), False, partial(one_place, places=places)).end_ns
        for places in (None, 2, 1)
    ]
    assert ends == [240, 240, 280]


# --- protocols that go wrong ---


def test_a_protocol_that_forgets_outputs_is_told_so():
    def forgetful(hierarchy):
        controller = MemoryController(hierarchy)

        def engine():
            yield from controller.load(0)

        for process in (
            engine(),
            sequencer(hierarchy, StepBuffer(hierarchy, 2, hierarchy.stored)),
            tile_at_work(hierarchy, 0),
        ):
            hierarchy.environment.process(process)

    with pytest.raises(SimhwError, match="memory protocol: step 0 is never stored, and no process goes on"):
        times([Step((a_job(1, False),), (a_job(1, True),), 1.0)], [1.0], forgetful)


def test_a_protocol_that_reads_partial_sums_before_they_are_written_is_told_so():
    def hasty(hierarchy):
        hierarchy.environment.process(MemoryController(hierarchy).load(0))

    steps = [Step((Job("g", 7, 1, 1, 1, 4, False, partial=True),), (), 1.0)]
    with pytest.raises(SimhwError, match="partial sums of G are read at 0 ns, before they were written"):
        times(steps, [1.0], hasty)


def test_an_error_of_a_process_stays_what_it_is():
    def broken(hierarchy):
        def process():
            yield hierarchy.environment.timeout(1)
            raise RuntimeError("mine")

        hierarchy.environment.process(process())

    with pytest.raises(RuntimeError, match="mine"):
        times([Step((), (), 1.0)], [1.0], broken)


# --- real layers ---


@pytest.mark.parametrize("name", ["fpraker", "tensordash"])
def test_schedules_of_real_layers_are_their_recurrence_to_the_bit(name, monkeypatch):
    """Of the bundled small_cnn: its memories, DRAM and tiles."""
    compared = []

    def both(steps, ratios, tile_ns, dram, record=False, protocol=double_buffering):
        twin, under_simpy = (Dram(dram.parameters, dram.container_bytes) for _ in range(2))
        found = run_schedule(steps, ratios, tile_ns, dram, record, protocol)
        assert found == run_schedule(list(steps), ratios, tile_ns, under_simpy, record, protocol)
        expected = recurrence(steps, ratios, tile_ns, twin)
        assert (found.first_ready_ns, found.last_computed_ns, found.end_ns) == expected
        for name in COUNTERS:
            assert getattr(dram, name) == getattr(under_simpy, name) == getattr(twin, name)
        compared.append(len(steps))
        return found

    monkeypatch.setattr("simhw.memory.model.run_schedule", both)
    machine = load_machine(name, **{"memory.buffers.a.bank_bytes": 4096, "memory.buffers.g.bank_bytes": 4096})
    for layer in load_trace("small_cnn.npz").layers:
        for operation in layer.operations:
            simulate_layer(layer, operation, machine)
    assert max(compared) > 2


def test_the_model_runs_another_protocol():
    """One place takes longer than two and than three; what goes off chip does not depend on it."""
    layer = load_trace("small_cnn.npz").layers[1]
    machine = load_machine("fpraker", **{"memory.buffers.a.bank_bytes": 4096})
    ours = simulate_layer(layer, "forward", machine).cost.memory
    one, three = (
        memory_cost(
            layer,
            "forward",
            machine,
            ours.shapes,
            ours.tile_cycles,
            protocol=partial(double_buffering, depth=depth),
        )
        for depth in (1, 3)
    )
    assert one.cycles > ours.cycles
    assert three.cycles < one.cycles
    assert one.traffic_bytes == three.traffic_bytes == ours.traffic_bytes
