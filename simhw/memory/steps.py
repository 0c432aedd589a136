"""Block steps: what an operation's blocking makes tiles, memory and buffers do, step after step.

In each step tiles work on one block of every loop.  Before it, the blocks that no buffer holds come in; behind it, the
outputs that it completes go out, and those that it leaves incomplete where the buffer cannot keep them.  A block is a
run of containers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product as all_of
from math import ceil, prod

from simhw.memory.blocking import Blocking
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

    @cached_property
    def reads_partial_sums(self) -> bool:
        """Outputs come back that an earlier step left incomplete."""
        return any(job.partial for job in self.loads)


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
