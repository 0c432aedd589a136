"""The blocking of an operation with the least off-chip traffic whose blocks fit the global buffers.

The rules are those of `simhw.memory.traffic`, worked out for all candidates together.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import permutations
from math import prod

import numpy as np
import numpy.typing as npt

from simhw.errors import MachineError
from simhw.memory.blocking import Blocking
from simhw.memory.parameters import Memory
from simhw.memory.space import DIMS, TENSOR_DIMS, Dim, Sizes, Space
from simhw.memory.traffic import tensor_traffic
from simhw.trace.layer import TENSORS, TensorName

MOST_BLOCKS = 1 << 16
"""Blocks that a loop is cut into at the most: far more steps than are worth their transfers, and their bounds are
listed one by one.
"""

Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class _Table:
    """Per loop, the numbers of blocks that it can be cut into, and what each means for each tensor."""

    space: Space
    counts: dict[Dim, tuple[int, ...]]
    total: dict[tuple[TensorName, Dim], npt.NDArray[np.int64]]
    largest: dict[tuple[TensorName, Dim], npt.NDArray[np.int64]]
    first: dict[tuple[TensorName, Dim], npt.NDArray[np.int64]]
    last: dict[tuple[TensorName, Dim], npt.NDArray[np.int64]]

    @staticmethod
    @lru_cache(maxsize=4096)
    def of(space: Space) -> "_Table":
        counts: dict[Dim, tuple[int, ...]] = {}
        total, largest, first, last = {}, {}, {}, {}
        for dim in DIMS:
            most = space.units[dim]
            wanted = {1, most, *(1 << power for power in range(most.bit_length()))}
            if dim == "p":
                wanted |= {space.images}
            wanted = {number for number in wanted if number <= MOST_BLOCKS}
            cuts = {space.count(dim, number): number for number in sorted(wanted)}
            counts[dim] = tuple(cuts)
            found: dict[bool, list[Sizes]] = {}
            for tensor in TENSORS:
                if dim in TENSOR_DIMS[tensor]:
                    # Only positions of the windowed tensor are not those of the others.
                    windowed = dim == "p" and tensor == space.windowed
                    if windowed not in found:
                        found[windowed] = [space.sizes(dim, number, tensor) for number in cuts.values()]
                    sizes = found[windowed]
                    total[tensor, dim] = np.array([each.total for each in sizes], np.int64)
                    largest[tensor, dim] = np.array([each.largest for each in sizes], np.int64)
                    first[tensor, dim] = np.array([each.first for each in sizes], np.int64)
                    last[tensor, dim] = np.array([each.last for each in sizes], np.int64)
        return _Table(space, counts, total, largest, first, last)


@lru_cache(maxsize=4096)
def search(space: Space, memory: Memory) -> Blocking:
    """The blocking with the least off-chip traffic that fits the buffers.

    Among equals it prefers at most `memory.steps` block steps, then the least that the tiles must wait for (the first
    step's blocks in, the last one's out), then the fewest steps.  Bytes are those before compression: values are not
    known when operations are planned.

    Parameters
    ----------
    space : Space
    memory : Memory

    Raises
    ------
    MachineError
        Not even the smallest blocks fit.
    """
    table = _Table.of(space)
    # Nothing moves fewer bytes than each tensor once, so a blocking of few steps that does so needs no rival of more
    # steps.
    cold = memory.value_bytes * sum(space.values(tensor) for tensor in TENSORS)
    best = _least(table, memory, memory.steps)
    if best is None or best[0][0] > cold:
        best = _least(table, memory, prod(space.units.values()))
    if best is None:
        raise MachineError(
            f"memory.buffers: not even the smallest blocks of a product of {space.channels} by {space.outputs} "
            "channels fit; "
            "make the buffers larger, or the container or the batch smaller"
        )
    return best[1]


class _Candidates:
    """All blockings of at most so many steps, side by side, and what each tensor makes of them.

    Attributes
    ----------
    steps : (candidates,) int64
    counts : dict of loop to (candidates,) int64
        Blocks of each loop.
    """

    def __init__(self, table: _Table, memory: Memory, limit: int) -> None:
        grid = np.meshgrid(*(np.arange(len(table.counts[dim])) for dim in DIMS), indexing="ij")
        steps = _product(np.array(table.counts[dim])[axis.reshape(-1)] for dim, axis in zip(DIMS, grid, strict=True))
        few = steps <= limit
        index = {dim: axis.reshape(-1)[few] for dim, axis in zip(DIMS, grid, strict=True)}
        self.steps = steps[few]
        self.counts = {dim: np.array(table.counts[dim])[index[dim]] for dim in DIMS}
        self._memory, self._output = memory, table.space.output
        self._tensors = {tensor: _TensorCandidates(table, memory, tensor, index) for tensor in TENSORS}
        self._costs: dict[tuple[TensorName, tuple[Dim, ...]], tuple[Mask, Bytes]] = {}

    @property
    def exposed(self) -> Bytes:
        """Bytes that tiles wait for: the first step's blocks in, and the last one's out."""
        total = np.zeros(len(self.steps))
        for tensor, each in self._tensors.items():
            total += each.last if tensor == self._output else each.first
        return total

    def traffic(self, order: tuple[Dim, ...]) -> tuple[Mask, Bytes]:
        """Which candidates fit the buffers with their loops in that order, and the bytes that each moves off chip."""
        fits, total = np.ones(len(self.steps), np.bool_), np.zeros(len(self.steps))
        for tensor in TENSORS:
            inner = tuple(dim for dim in TENSOR_DIMS[tensor] if order.index(dim) > order.index(_missing(tensor)))
            # Orders agree for a tensor where the same loops lie within the one that it does not run along.
            if (tensor, inner) not in self._costs:
                self._costs[tensor, inner] = self._tensor_traffic(tensor, inner)
            fit, moved = self._costs[tensor, inner]
            fits &= fit
            total += moved
        return fits, total

    def _tensor_traffic(self, tensor: TensorName, inner: tuple[Dim, ...]) -> tuple[Mask, Bytes]:
        """As `tensor_traffic` has it, of all candidates."""
        each, memory, count = self._tensors[tensor], self._memory, self.counts[_missing(tensor)]
        capacity = getattr(memory.buffers, tensor).capacity_bytes
        again = (count > 1) & (_product([self.counts[dim] for dim in inner], len(self.steps)) > 1)
        resident = ~again | (np.minimum(2 * each.kept(inner), each.whole) <= capacity)
        fits = (again & resident) | (np.minimum(2 * each.block, each.whole) <= capacity)
        passes = np.where(resident, 1, count)
        if tensor != self._output:
            return fits, each.whole * passes
        spilled = each.whole * memory.partial_value_bytes / memory.value_bytes
        moved: Bytes = each.whole + 2 * (passes - 1) * spilled
        return fits, moved


class _TensorCandidates:
    """Bytes of one tensor under each candidate: (candidates,) float64 all.

    Attributes
    ----------
    block, whole, first, last
        Of its largest block, of all blocks, of the first step's and of the last step's block.
    """

    def __init__(self, table: _Table, memory: Memory, tensor: TensorName, index: dict[Dim, Indices]) -> None:
        self._factor = float(memory.value_bytes * table.space.taps_of(tensor))
        self._total, self._largest, first, last = (
            {dim: numbers[tensor, dim][index[dim]] for dim in TENSOR_DIMS[tensor]}
            for numbers in (table.total, table.largest, table.first, table.last)
        )
        self.block, self.whole, self.first, self.last = (
            self._bytes(extents) for extents in (self._largest, self._total, first, last)
        )

    def kept(self, inner: tuple[Dim, ...]) -> Bytes:
        """Bytes of all blocks that one pass through the `inner` loops meets."""
        return self._bytes({dim: self._total[dim] if dim in inner else self._largest[dim] for dim in self._total})

    def _bytes(self, extents: dict[Dim, npt.NDArray[np.int64]]) -> Bytes:
        found: Bytes = self._factor * prod(extents.values())  # type: ignore[assignment]  # of several arrays
        return found


def _missing(tensor: TensorName) -> Dim:
    """The loop that a tensor does not run along."""
    (missing,) = set(DIMS) - set(TENSOR_DIMS[tensor])
    return missing


def _least(table: _Table, memory: Memory, limit: int) -> tuple[tuple[float, float, float, float], Blocking] | None:
    """The best blocking of at most `limit` steps, with what it was chosen by; None where none fits."""
    candidates = _Candidates(table, memory, limit)
    steps, exposed = candidates.steps, candidates.exposed
    over = np.where(steps > memory.steps, steps, 0)
    best: tuple[tuple[float, float, float, float], Blocking] | None = None
    for inner in permutations(DIMS[1:]):
        order = (DIMS[0], *inner)
        fits, traffic = candidates.traffic(order)
        choice = np.flatnonzero(fits)
        if not len(choice):
            continue
        for cost in (traffic, over, exposed, steps):
            choice = choice[cost[choice] == cost[choice].min()]
        first = choice[0]
        key = (float(traffic[first]), float(over[first]), float(exposed[first]), float(steps[first]))
        if best is None or key < best[0]:
            best = key, Blocking(order, tuple(int(candidates.counts[dim][first]) for dim in order))
    return best


def _product(factors: Iterable[npt.NDArray[np.int64]], size: int = 1) -> npt.NDArray[np.int64]:
    """Element by element; ones where there are no factors."""
    return reduce(np.multiply, factors, np.ones(size, np.int64))


def fixed(space: Space, memory: Memory, blocking: Blocking, where: str) -> Blocking:
    """A blocking that the user wants, cut down to the loops' units.

    Raises
    ------
    MachineError
        A block does not fit; says which.
    """
    cut = Blocking(
        blocking.order,
        tuple(
            space.count(dim, min(n, space.units[dim])) for dim, n in zip(blocking.order, blocking.blocks, strict=True)
        ),
    )
    for tensor in TENSORS:
        need, capacity = (
            tensor_traffic(space, cut, tensor, memory).need_bytes,
            getattr(memory.buffers, tensor).capacity_bytes,
        )
        if need > capacity:
            raise MachineError(
                f"{where}: memory.blocking={blocking} needs {need:,.0f} bytes of the buffer of {tensor.upper()}, "
                f"which has {capacity:,}; "
                "cut its loops into more blocks, or leave the blocking at auto"
            )
    return cut
