"""Who waits for whom in the memory hierarchy: processes that bring blocks in, work on them and take outputs out.

Ours is double buffering.  One DMA engine hands over, in a fixed order, the blocks that step after step needs and the
outputs that step after step completes.  The blocks of step i + 1 come in while tiles run step i, so they wait for step
i - 1 to end, whose place they take; so do a step's outputs.  A tile works on its share of a step when the step is
ready and the tile has ended the one before.  Operations follow one another and share nothing.  Since every order is
fixed, times are sums and maxima of durations: more bandwidth, more tiles' speed or fewer bytes never make anything
later.  Source: spec pages fpraker.md section 4, tensordash.md section 3; the schedule is ours (docs/memory.md).
"""

from collections.abc import Callable

from simhw.memory.hierarchy import Hierarchy, MemoryController, Process, StepBuffer

Protocol = Callable[[Hierarchy], None]
"""Starts the processes of an operation."""


def double_buffering(hierarchy: Hierarchy, depth: int = 2) -> None:
    """Start the processes of our protocol, with room for the blocks of `depth` steps in every buffer."""
    controller = MemoryController(hierarchy)
    inputs = StepBuffer(hierarchy, depth, left=hierarchy.computed)
    outputs = StepBuffer(hierarchy, depth, left=hierarchy.stored)
    start = hierarchy.environment.process
    start(dma_engine(hierarchy, controller, inputs))
    start(sequencer(hierarchy, outputs))
    for tile in hierarchy.working:
        start(tile_at_work(hierarchy, tile))


def dma_engine(hierarchy: Hierarchy, controller: MemoryController, inputs: StepBuffer) -> Process:
    """Hand over each step's blocks once they have a place, and behind them the outputs of the step that left it."""
    steps, stored = hierarchy.steps, 0

    def store_before(index: int) -> Process:
        nonlocal stored
        while stored < index:
            yield hierarchy.computed[stored]
            yield from controller.store(stored)
            stored += 1

    for index in range(len(steps) + inputs.depth):
        yield inputs.take(index)
        if index < len(steps):
            # Partial sums that come back may be those that go out now.
            if steps[index].reads_partial_sums:
                yield from store_before(index - 1)
            yield from controller.load(index)
        yield from store_before(index - inputs.depth + 1)


def sequencer(hierarchy: Hierarchy, outputs: StepBuffer) -> Process:
    """Let tiles start each step when its blocks are there and its outputs have a place."""
    for index, loaded in enumerate(hierarchy.loaded):
        yield loaded
        yield outputs.take(index)
        hierarchy.ready[index].succeed()


def tile_at_work(hierarchy: Hierarchy, tile: int) -> Process:
    """Work on the tile's share of step after step, each when it is ready."""
    busy_ns, shared = hierarchy.tile_ns[tile], 0.0
    for index, step in enumerate(hierarchy.steps):
        yield hierarchy.ready[index]
        before, shared = shared, shared + step.share
        yield from hierarchy.work(tile, index, busy_ns * (shared - before))
