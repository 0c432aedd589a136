"""The memory hierarchy at work: blocks come in, tiles run on them, outputs go out, all under SimPy.

An operation runs its blocking step by step.  One DMA engine serves, in a fixed order, the blocks that step after step
needs and the outputs that step after step completes; a block is a run of containers, and `simhw.memory.dram` tells when
each is there.  Buffers are double: the blocks of step i + 1 come in while the tiles run step i, so they wait for step
i - 1 to end.  A tile's job is its share of a step; it starts when the step's blocks are there and the tile is free.
Operations follow one another and share nothing.  Since every order is fixed, times are sums and maxima of durations:
more bandwidth, more tiles' speed or fewer bytes never make anything later.  Source: spec pages fpraker.md section 4,
tensordash.md section 3; the schedule is ours (docs/memory.md).
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product as all_of
from math import ceil, prod

import numpy as np
import numpy.typing as npt
import simpy

from simhw.memory.blocking import Blocking
from simhw.memory.dram import Dram
from simhw.memory.parameters import Memory
from simhw.memory.space import DIMS, TENSOR_DIMS, Dim, Space
from simhw.memory.traffic import tensor_traffic
from simhw.trace.layer import TENSORS, TensorName


@dataclass(frozen=True)
class Job:
    """A block on its way between memory and a buffer.

    Attributes
    ----------
    tensor : str
    first, runs, run, stride : int
        Its containers: ``first + r * stride + k`` for r < `runs`, k < `run`.
    raw_bytes : int
        As it lies in the buffer.
    write : bool
    partial : bool
        Partial sums, which are not compressed.
    """

    tensor: TensorName
    first: int
    runs: int
    run: int
    stride: int
    raw_bytes: int
    write: bool
    partial: bool = False

    def payload_bytes(self, ratios: Mapping[TensorName, float]) -> int:
        """As it goes off chip, where each tensor is compressed to that share of its size."""
        return self.raw_bytes if self.partial else max(1, ceil(self.raw_bytes * ratios[self.tensor]))


@dataclass(frozen=True)
class Step:
    """What one block step reads and writes, and its share of the operation's multiply-accumulates."""

    loads: tuple[Job, ...]
    stores: tuple[Job, ...]
    share: float


Facts = dict[str, str | int | float]


@dataclass(frozen=True)
class Interval:
    """Something that a unit did, for a timeline [ns].

    Attributes
    ----------
    unit : str
        "tile 3", "DMA", "channel 0" or "refresh".
    facts : dict
        What more there is to say of it: its step, its tensor, its bytes ...
    """

    unit: str
    name: str
    start_ns: float
    end_ns: float
    facts: Facts = field(default_factory=dict)


@dataclass
class Schedule:
    """When everything of an operation ended.

    Attributes
    ----------
    first_ready_ns : float
        The first step's blocks were there: what the tiles waited for at the start.
    last_computed_ns, end_ns : float
        The tiles ended, and the last output was off chip.
    intervals : list of Interval
        What units did, where it was asked for.
    """

    first_ready_ns: float = 0.0
    last_computed_ns: float = 0.0
    end_ns: float = 0.0
    intervals: list[Interval] = field(default_factory=list)


def steps_of(space: Space, blocking: Blocking, memory: Memory) -> list[Step]:
    """The operation's block steps in order."""
    steps = list(_steps(space, blocking, memory))
    # Each tensor lies behind the one before: where its blocks end, those of partial sums and half-empty containers too.
    starts, start = {}, 0
    for tensor in TENSORS:
        starts[tensor] = start
        jobs = [job for step in steps for job in (*step.loads, *step.stores) if job.tensor == tensor]
        start += max((job.first + (job.runs - 1) * job.stride + job.run for job in jobs), default=0)

    def placed(jobs: tuple[Job, ...]) -> tuple[Job, ...]:
        return tuple(replace(job, first=starts[job.tensor] + job.first) for job in jobs)

    return [Step(placed(step.loads), placed(step.stores), step.share) for step in steps]


def _steps(space: Space, blocking: Blocking, memory: Memory) -> Iterator[Step]:
    """The steps, every tensor's containers counted from 0."""
    cuts = {dim: space.cuts(dim, blocking.count(dim)) for dim in DIMS}
    extents = {
        (tensor, dim): space.extents(dim, cuts[dim], tensor) for tensor in TENSORS for dim in TENSOR_DIMS[tensor]
    }
    layout = _Layout(space, memory)
    resident = {tensor: tensor_traffic(space, blocking, tensor, memory).resident for tensor in TENSORS}
    output, reduction = space.output, space.reduction
    seen: dict[TensorName, set[tuple[int, ...]]] = {tensor: set() for tensor in TENSORS}
    held: dict[TensorName, tuple[int, ...]] = {}
    # Multiply-accumulates of a block go with its copies, positions and channels.
    work: dict[Dim, list[int]] = {"g": extents["a", "g"], "c": extents["a", "c"], "o": extents["g", "o"]}
    work["p"] = [stop - start for start, stop in cuts["p"]]
    total = prod(sum(each) for each in work.values())
    last = len(cuts[reduction]) - 1

    def job(tensor: TensorName, block: dict[Dim, int], write: bool, partial: bool) -> Job:
        values = prod(extents[tensor, dim][block[dim]] for dim in TENSOR_DIMS[tensor]) * space.taps_of(tensor)
        raw = values * (memory.partial_value_bytes if partial else memory.value_bytes)
        bounds = {dim: cuts[dim][block[dim]] for dim in TENSOR_DIMS[tensor]}
        return Job(tensor, *layout.containers(tensor, bounds, raw), raw, write, partial)

    for indices in all_of(*(range(len(cuts[dim])) for dim in blocking.order)):
        block = dict(zip(blocking.order, indices, strict=True))
        loads, stores = [], []
        for tensor in TENSORS:
            key = tuple(block[dim] for dim in TENSOR_DIMS[tensor])
            if tensor == output:
                # Incomplete outputs stay where all of a pass fit or no other block comes between; else they go out and
                # come back.
                if resident[tensor]:
                    if block[reduction] == last:
                        stores.append(job(tensor, block, True, partial=False))
                else:
                    if block[reduction]:
                        loads.append(job(tensor, block, False, partial=True))
                    stores.append(job(tensor, block, True, partial=block[reduction] < last))
            elif resident[tensor]:
                if key not in seen[tensor]:
                    seen[tensor].add(key)
                    loads.append(job(tensor, block, False, partial=False))
            elif held.get(tensor) != key:
                held[tensor] = key
                loads.append(job(tensor, block, False, partial=False))
        share = prod(work[dim][block[dim]] for dim in DIMS) / total
        # A block may hold nothing: rows that only padding or a stride's gaps would feed.
        yield Step(tuple(job for job in loads if job.raw_bytes), tuple(job for job in stores if job.raw_bytes), share)


_AXES: dict[TensorName, tuple[Dim, Dim]] = {"a": ("c", "p"), "w": ("c", "o"), "g": ("o", "p")}
"""The loops along which a tensor's containers lie, the inner one first."""


class _Layout:
    """Where a tensor's containers lie, channels innermost.

    A row of containers is padded to an odd number of them, so that neighbours along either axis lie in different
    channels.
    """

    def __init__(self, space: Space, memory: Memory) -> None:
        self._bytes = memory.container_bytes
        self._space = space
        self._minor: dict[TensorName, int] = {
            "a": space.units["c"] * space.copies,
            "w": space.units["c"],
            "g": space.units["o"] * space.copies,
        }
        self._total = {tensor: -(-space.values(tensor) * memory.value_bytes // self._bytes) for tensor in TENSORS}

    def containers(
        self, tensor: TensorName, bounds: dict[Dim, tuple[int, int]], raw_bytes: int
    ) -> tuple[int, int, int, int]:
        """(first, runs, run, stride) of the containers of a block of so many bytes."""
        space, count = self._space, max(1, -(-raw_bytes // self._bytes))
        minor_dim, major_dim = _AXES[tensor]
        minor = min(self._minor[tensor], self._total[tensor])
        low, high = bounds[minor_dim]
        copies = bounds["g"]
        if tensor != "w":
            low, high = low + copies[0] * space.units[minor_dim], high + (copies[1] - 1) * space.units[minor_dim]
        run = max(1, min(high - low, minor, count))
        whole = self._total[tensor] / (space.units[major_dim] * (space.copies if tensor == "w" else 1))
        position = bounds[major_dim][0] + (copies[0] * space.units[major_dim] if tensor == "w" else 0)
        row = int(position * whole / minor)
        return row * (minor | 1) + min(low, minor - run), -(-count // run), run, minor | 1


def run_schedule(
    steps: Sequence[Step],
    ratios: Mapping[TensorName, float],
    tile_ns: npt.NDArray[np.float64],
    dram: Dram,
    record: bool = False,
) -> Schedule:
    """Run an operation's steps.

    Parameters
    ----------
    steps : sequence of Step
    ratios : mapping of tensor name to float
        Compressed size over size.
    tile_ns : (tiles,) float64
        Time that each tile is busy with the whole operation, memories aside [ns].
    dram : Dram
        In the state in which the operation finds it; keeps its counters.
    record : bool
        Keep what units did.
    """
    schedule = Schedule()
    environment = simpy.Environment()
    count = len(steps)
    loaded_ns, computed_ns, stored_ns = ([0.0] * count for _ in range(3))
    # Every tile takes the same share of its work in a step, so the busiest one is the last to end each of them.
    busiest_ns = float(tile_ns.max(initial=0.0))
    free_ns = ready_ns = shared = 0.0
    each_free_ns = np.zeros(len(tile_ns))

    def transfer(jobs: tuple[Job, ...], index: int, way: str) -> float:
        start = end = environment.now
        for job in jobs:
            done = dram.transfer(job.first, job.runs, job.run, job.stride, job.payload_bytes(ratios), job.write, start)
            if record:
                facts: Facts = {
                    "step": index,
                    "way": way,
                    "tensor": job.tensor.upper(),
                    "bytes": job.payload_bytes(ratios),
                    "raw_bytes": job.raw_bytes,
                    "containers": job.runs * job.run,
                    "values": "partial sums" if job.partial else "values",
                }
                schedule.intervals.append(
                    Interval("DMA", f"step {index}: {way} {job.tensor.upper()}", start, done, facts)
                )
            end = max(end, done)
        return end

    def tiles(index: int) -> float:
        nonlocal free_ns, ready_ns, shared
        # Outputs are double-buffered too.
        ready_ns = max(ready_ns, loaded_ns[index], stored_ns[index - 2] if index >= 2 else 0.0)
        before, shared = shared, shared + steps[index].share
        free_ns = max(free_ns, ready_ns) + busiest_ns * (shared - before)
        if record:
            begin = np.maximum(each_free_ns, ready_ns)
            each_free_ns[:] = begin + tile_ns * (shared - before)
            work: Facts = {"step": index, "share of the work": steps[index].share}
            for number in np.flatnonzero(each_free_ns > begin):
                at_work = float(begin[number]), float(each_free_ns[number])
                schedule.intervals.append(Interval(f"tile {number}", f"step {index}", *at_work, work))
        return free_ns

    def sequencer() -> Generator[simpy.Event, None, None]:
        # What step i - 2 leaves free, step i takes: it hands blocks to the memory controller, which serves them in this
        # order, and its job to the tiles.
        for index in range(count + 2):
            if index >= 2 and computed_ns[index - 2] > environment.now:
                yield environment.timeout(computed_ns[index - 2] - environment.now)
            # Partial sums that come back may be those that go out now.
            back = index < count and any(job.partial for job in steps[index].loads)
            if index >= 2 and back:
                stored_ns[index - 2] = transfer(steps[index - 2].stores, index - 2, "store")
            if index < count:
                loaded_ns[index] = transfer(steps[index].loads, index, "load")
            if index >= 2 and not back:
                stored_ns[index - 2] = transfer(steps[index - 2].stores, index - 2, "store")
            if index < count:
                computed_ns[index] = tiles(index)

    environment.process(sequencer())
    environment.run()
    schedule.first_ready_ns = loaded_ns[0]
    schedule.last_computed_ns = computed_ns[-1]
    schedule.end_ns = max(*stored_ns, computed_ns[-1])
    return schedule
