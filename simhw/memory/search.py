"""The blocking of an operation with the least off-chip traffic whose blocks fit the global buffers.

The rules are those of `simhw.memory.traffic`, worked out for all candidates together.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import permutations
from math import inf, prod

import numpy as np
import numpy.typing as npt

from simhw.errors import MachineError
from simhw.memory.blocking import Blocking
from simhw.memory.parameters import Memory
from simhw.memory.space import DIMS, TENSOR_DIMS, Dim, Space
from simhw.memory.traffic import tensor_traffic
from simhw.trace.layer import TENSORS, TensorName

MOST_BLOCKS = 1 << 16
"""Blocks that a loop is cut into at the most: far more steps than are worth their transfers, and their bounds are
listed one by one.
"""


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
            for tensor in TENSORS:
                if dim in TENSOR_DIMS[tensor]:
                    sizes = [space.sizes(dim, number, tensor) for number in cuts.values()]
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


def _least(table: _Table, memory: Memory, limit: int) -> tuple[tuple[float, float, float, float], Blocking] | None:
    """The best blocking of at most `limit` steps, with what it was chosen by; None where none fits."""
    space = table.space
    grid = np.meshgrid(*(np.arange(len(table.counts[dim])) for dim in DIMS), indexing="ij")
    steps = _product(np.array(table.counts[dim])[axis.reshape(-1)] for dim, axis in zip(DIMS, grid, strict=True))
    few = steps <= limit
    steps = steps[few]
    index = {dim: axis.reshape(-1)[few] for dim, axis in zip(DIMS, grid, strict=True)}
    count = {dim: np.array(table.counts[dim])[index[dim]] for dim in DIMS}
    best: tuple[tuple[float, float, float, float], Blocking] | None = None
    for inner in permutations(DIMS[1:]):
        order = (DIMS[0], *inner)
        traffic, exposed = np.zeros(len(steps)), np.zeros(len(steps))
        fits = np.ones(len(steps), np.bool_)
        for tensor in TENSORS:
            (missing,) = set(DIMS) - set(TENSOR_DIMS[tensor])
            after = [dim for dim in TENSOR_DIMS[tensor] if order.index(dim) > order.index(missing)]
            sizes = {
                dim: (table.total[tensor, dim][index[dim]], table.largest[tensor, dim][index[dim]])
                for dim in TENSOR_DIMS[tensor]
            }
            factor = float(memory.value_bytes * space.taps_of(tensor))
            block = factor * prod(largest for _, largest in sizes.values())
            kept = factor * prod(total if dim in after else largest for dim, (total, largest) in sizes.items())
            whole = factor * prod(total for total, _ in sizes.values())
            again = (count[missing] > 1) & (_product([count[dim] for dim in after], len(steps)) > 1)
            capacity = getattr(memory.buffers, tensor).capacity_bytes
            resident = ~again | (np.minimum(2 * kept, whole) <= capacity)
            fits &= (again & resident) | (np.minimum(2 * block, whole) <= capacity)
            passes = np.where(resident, 1, count[missing])
            if tensor == space.output:
                spilled = whole * memory.partial_value_bytes / memory.value_bytes
                traffic += whole + 2 * (passes - 1) * spilled
                exposed += factor * prod(table.last[tensor, dim][index[dim]] for dim in TENSOR_DIMS[tensor])
            else:
                traffic += whole * passes
                exposed += factor * prod(table.first[tensor, dim][index[dim]] for dim in TENSOR_DIMS[tensor])
        traffic[~fits] = inf
        over = np.where(steps > memory.steps, steps, 0)
        first = int(np.lexsort((steps, exposed, over, traffic))[0])
        if fits[first]:
            key = (float(traffic[first]), float(over[first]), float(exposed[first]), float(steps[first]))
            if best is None or key < best[0]:
                best = key, Blocking(order, tuple(int(count[dim][first]) for dim in order))
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
