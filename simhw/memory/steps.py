"""Block steps: what an operation's blocking makes tiles, memory and buffers do, step after step.

In each step tiles work on one block of every loop.  Before it, the blocks that no buffer holds come in; behind it, the
outputs that it completes go out, and those that it leaves incomplete where the buffer cannot keep them.  A block is a
run of containers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product as all_of
from math import ceil, prod
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from simhw.memory.blocking import Blocking
from simhw.memory.parameters import Memory
from simhw.memory.space import DIMS, MISSING_DIM, TENSOR_DIMS, Dim, Space
from simhw.memory.traffic import tensor_traffic
from simhw.trace.layer import TENSORS, TensorName

Int64s = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


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


class Jobs(NamedTuple):
    """Jobs side by side, in the order of their steps; of each step its loads first.  (jobs,) all.

    Attributes
    ----------
    step : int64
        The step that each belongs to.
    tensor : int64
        Its place in `TENSORS`.
    first, runs, run, stride, raw_bytes : int64
    write, partial : bool
        As of `Job`.
    """

    step: Int64s
    tensor: Int64s
    first: Int64s
    runs: Int64s
    run: Int64s
    stride: Int64s
    raw_bytes: Int64s
    write: Mask
    partial: Mask

    def chosen(self, which: Mask) -> "Jobs":
        """Some of them."""
        return Jobs._make(column[which] for column in self)

    def payload_bytes(self, ratios: Mapping[TensorName, float]) -> Int64s:
        """As `Job.payload_bytes`, of each."""
        if all(ratio == 1 for ratio in ratios.values()):
            return self.raw_bytes
        ratio = np.array([ratios[tensor] for tensor in TENSORS])[self.tensor]
        packed = np.maximum(1, np.ceil(self.raw_bytes * ratio).astype(np.int64))
        return np.where(self.partial, self.raw_bytes, packed)


@dataclass(frozen=True, eq=False)
class BlockSteps(Sequence[Step]):
    """The block steps of an operation in order: each is made when it is asked for.

    Attributes
    ----------
    jobs : Jobs
        Of all steps.
    shares : (steps,) float64
    """

    jobs: Jobs
    shares: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.shares)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        begin, end = np.searchsorted(self.jobs.step, (index, index + 1))
        columns = (column[begin:end].tolist() for column in self.jobs[1:])
        jobs = [Job(TENSORS[tensor], *numbers) for tensor, *numbers in zip(*columns, strict=True)]
        loads, stores = (tuple(job for job in jobs if job.write is write) for write in (False, True))
        return Step(loads, stores, float(self.shares[index]))

    @cached_property
    def places(self) -> Int64s:
        """(steps + 1, 3): where each step's loads and its stores begin among the jobs, and whether it reads partial
        sums; the last row closes the one before.
        """
        jobs, count = self.jobs, len(self)
        loads = np.searchsorted(jobs.step, np.arange(count + 1))
        stores = loads + np.bincount(jobs.step[~jobs.write], minlength=count + 1)
        back = np.bincount(jobs.step[jobs.partial & ~jobs.write], minlength=count + 1) > 0
        return np.stack([loads, stores, back], axis=1)

    @cached_property
    def containers(self) -> Int64s:
        """Of each job: (jobs,)."""
        return self.jobs.runs * self.jobs.run

    @cached_property
    def transfers(self) -> Int64s:
        """The jobs as `simhw.memory.schedule_kernel` takes them, their bursts left open: (jobs, 6)."""
        jobs = self.jobs
        # Runs that meet are one, which costs least.
        meet = jobs.stride == jobs.run
        runs, run = np.where(meet, 1, jobs.runs), np.where(meet, self.containers, jobs.run)
        return np.stack([jobs.first, runs, run, jobs.stride, np.zeros_like(run), jobs.write], axis=1)

    @cached_property
    def moves(self) -> Mapping[tuple[TensorName, bool], Indices]:
        """The jobs by tensor and whether they write."""
        way = 2 * self.jobs.tensor + self.jobs.write
        return {
            (tensor, write): np.flatnonzero(way == 2 * number + write)
            for number, tensor in enumerate(TENSORS)
            for write in (False, True)
        }

    @cached_property
    def raw_bytes(self) -> Mapping[str, int]:
        """As of `traffic`, where nothing is compressed."""
        return self._traffic(self.jobs.raw_bytes)

    def traffic(self, ratios: Mapping[TensorName, float]) -> Mapping[str, int]:
        """Bytes per tensor and way (``a_in``, ``g_out``, ...)."""
        payload = self.jobs.payload_bytes(ratios)
        return self.raw_bytes if payload is self.jobs.raw_bytes else self._traffic(payload)

    def _traffic(self, job_bytes: Int64s) -> Mapping[str, int]:
        return {
            f"{tensor}_{'out' if write else 'in'}": int(job_bytes[jobs].sum())
            for (tensor, write), jobs in self.moves.items()
        }


def steps_of(space: Space, blocking: Blocking, memory: Memory) -> BlockSteps:
    """The operation's block steps in order."""
    counts = [blocking.count(dim) for dim in blocking.order]
    cuts = {dim: np.array(space.cuts(dim, blocking.count(dim)), np.int64) for dim in DIMS}
    block = dict(zip(blocking.order, np.unravel_index(np.arange(prod(counts)), counts), strict=True))
    layout, output = _Layout(space, memory), space.output
    reduced = block[space.reduction]
    last = reduced == len(cuts[space.reduction]) - 1

    def jobs_of(tensor: TensorName, moves: Mask, write: bool, partial: Mask) -> Jobs:
        """Those of the steps in which the tensor's block moves; a block may hold nothing: rows that only padding or a
        stride's gaps would feed.
        """
        step, dims = np.flatnonzero(moves), TENSOR_DIMS[tensor]
        place = {dim: block[dim][step] for dim in dims}
        extents = [np.array(space.extents(dim, cuts[dim].tolist(), tensor), np.int64)[place[dim]] for dim in dims]
        partial = partial[step]
        values: Int64s = space.taps_of(tensor) * prod(extents)  # type: ignore[assignment]  # of arrays
        raw = values * np.where(partial, memory.partial_value_bytes, memory.value_bytes)
        bounds = {dim: (cuts[dim][place[dim], 0], cuts[dim][place[dim], 1]) for dim in dims}
        places = layout.containers(tensor, bounds, raw)
        number = np.full(len(step), TENSORS.index(tensor))
        jobs = Jobs(step, number, *places, raw, np.full(len(step), write), partial)
        return jobs if raw.all() else jobs.chosen(raw > 0)

    every, never = np.ones(len(last), np.bool_), np.zeros(len(last), np.bool_)
    loads, stores = [], []
    for tensor in TENSORS:
        resident = tensor_traffic(space, blocking, tensor, memory).resident
        if tensor == output:
            # Incomplete outputs stay where all of a pass fit or no other block comes between; else they go out and
            # come back.
            if resident:
                stores.append(jobs_of(tensor, last, True, never))
            else:
                loads.append(jobs_of(tensor, reduced > 0, False, every))
                stores.append(jobs_of(tensor, every, True, ~last))
        elif resident:
            loads.append(jobs_of(tensor, block[MISSING_DIM[tensor]] == 0, False, never))
        else:
            moved_on = [np.diff(block[dim], prepend=-1) != 0 for dim in TENSOR_DIMS[tensor]]
            loads.append(jobs_of(tensor, np.logical_or.reduce(moved_on), False, never))
    jobs = _placed([*loads, *stores])
    return BlockSteps(jobs, _shares(space, cuts, block))


def _placed(parts: Sequence[Jobs]) -> Jobs:
    """All jobs in the order of their steps, those of one step in that of the parts.

    Each tensor lies behind the one before: where its blocks end, those of partial sums and half-empty containers too.
    """
    jobs = Jobs._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
    ends, first, start = jobs.first + (jobs.runs - 1) * jobs.stride + jobs.run, jobs.first.copy(), 0
    for number in range(len(TENSORS)):
        mine = jobs.tensor == number
        first[mine] += start
        start += int(ends[mine].max(initial=0))
    order = np.argsort(jobs.step, kind="stable")
    return Jobs._make(column[order] for column in jobs._replace(first=first))


def _shares(space: Space, cuts: Mapping[Dim, Int64s], block: Mapping[Dim, Indices]) -> npt.NDArray[np.float64]:
    """Each step's share of the multiply-accumulates, which go with a block's copies, positions and channels."""
    work: dict[Dim, list[int]] = {
        "g": space.extents("g", cuts["g"].tolist(), "a"),
        "p": [stop - start for start, stop in cuts["p"].tolist()],
        "c": space.extents("c", cuts["c"].tolist(), "a"),
        "o": space.extents("o", cuts["o"].tolist(), "g"),
    }
    total = prod(sum(each) for each in work.values())
    # Few blocks of a loop differ, so that products are worked out once for all that are alike, and exactly.
    alike = {dim: list(dict.fromkeys(each)) for dim, each in work.items()}
    table = np.array([prod(sizes) / total for sizes in all_of(*alike.values())])
    table = table.reshape([len(each) for each in alike.values()])
    kinds = {dim: np.array([alike[dim].index(size) for size in each]) for dim, each in work.items()}
    shares: npt.NDArray[np.float64] = table[tuple(kinds[dim][block[dim]] for dim in DIMS)]
    return shares


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
        self, tensor: TensorName, bounds: Mapping[Dim, tuple[Int64s, Int64s]], raw_bytes: Int64s
    ) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """(first, runs, run, stride) of the containers of blocks of so many bytes."""
        space, count = self._space, np.maximum(1, -(-raw_bytes // self._bytes))
        minor_dim, major_dim = _AXES[tensor]
        minor = min(self._minor[tensor], self._total[tensor])
        low, high = bounds[minor_dim]
        copies = bounds["g"]
        if tensor != "w":
            low, high = low + copies[0] * space.units[minor_dim], high + (copies[1] - 1) * space.units[minor_dim]
        run = np.maximum(1, np.minimum(np.minimum(high - low, minor), count))
        whole = self._total[tensor] / (space.units[major_dim] * (space.copies if tensor == "w" else 1))
        position = bounds[major_dim][0] + (copies[0] * space.units[major_dim] if tensor == "w" else 0)
        row = (position * whole / minor).astype(np.int64)
        first = row * (minor | 1) + np.minimum(low, minor - run)
        return first, -(-count // run), run, np.full(len(run), minor | 1)
