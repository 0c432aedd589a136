"""The blocking of an operation with the least off-chip traffic whose blocks fit the global buffers.

The rules are those of `simhw.memory.traffic`, worked out for all candidates together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import permutations
from math import prod

import numpy as np
import numpy.typing as npt

from simhw.errors import MachineError
from simhw.memory.blocking import Blocking
from simhw.memory.parameters import Memory
from simhw.memory.space import DIMS, MISSING_DIM, TENSOR_DIMS, Dim, Space
from simhw.memory.traffic import tensor_traffic
from simhw.trace.layer import TENSORS, TensorName

MOST_BLOCKS = 1 << 16
"""Blocks that a loop is cut into at the most: far more steps than are worth their transfers, and their bounds are
listed one by one.
"""

Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.float64]

ORDERS: tuple[tuple[Dim, ...], ...] = tuple((DIMS[0], *inner) for inner in permutations(DIMS[1:]))
"""Of loops, outermost first."""


@dataclass(frozen=True)
class _Table:
    """Per loop, the numbers of blocks that it can be cut into, and what each means for each tensor.

    Attributes
    ----------
    counts : dict of loop to (cuts,) int64
    sizes : dict of tensor and loop to (4, cuts) int64
        Of the tensor's blocks: the total, the largest, the first and the last, as of `Sizes`.
    """

    space: Space
    counts: dict[Dim, Int64s]
    sizes: dict[tuple[TensorName, Dim], Int64s]

    @staticmethod
    @lru_cache(maxsize=4096)
    def of(space: Space) -> "_Table":
        counts, sizes = {}, {}
        for dim in DIMS:
            most = space.units[dim]
            wanted = {1, most, *(1 << power for power in range(most.bit_length()))}
            if dim == "p":
                wanted |= {space.images}
            found: dict[bool, Int64s] = {}
            for tensor in TENSORS:
                if dim in TENSOR_DIMS[tensor]:
                    # Only positions of the windowed tensor are not those of the others.
                    windowed = dim == "p" and tensor == space.windowed
                    if windowed not in found:
                        each = (space.sizes(dim, number, tensor) for number in sorted(wanted) if number <= MOST_BLOCKS)
                        cuts = {size.count: (size.total, size.largest, size.first, size.last) for size in each}
                        counts[dim], found[windowed] = np.array([*cuts]), np.array([*cuts.values()]).T
                    sizes[tensor, dim] = found[windowed]
        return _Table(space, counts, sizes)


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
    if best is None or best[0] > cold:
        best = _least(table, memory, prod(space.units.values()))
    if best is None:
        raise MachineError(
            f"memory.buffers: not even the smallest blocks of a product of {space.channels} by {space.outputs} "
            "channels fit; "
            "make the buffers larger, or the container or the batch smaller"
        )
    return best[1]


def _least(table: _Table, memory: Memory, limit: int) -> tuple[float, Blocking] | None:
    """The best blocking of at most `limit` steps, with the bytes that it moves off chip; None where none fits."""
    places = np.indices([len(table.counts[dim]) for dim in DIMS]).reshape(len(DIMS), -1)
    places = places[:, _product([table.counts[dim][place] for dim, place in zip(DIMS, places, strict=True)]) <= limit]
    candidates = _Candidates(table, memory, dict(zip(DIMS, places, strict=True)))
    steps = _product(list(candidates.counts.values()))
    (fits, traffic, exposed), *others = (candidates.costs(tensor) for tensor in TENSORS)
    for also_fits, moved, waited in others:
        fits, traffic, exposed = fits & also_fits, traffic + moved, exposed + waited
    choice = np.flatnonzero(fits)
    if not len(choice):
        return None
    for costs in (traffic, np.where(steps > memory.steps, steps, 0), exposed, steps):
        each = np.broadcast_to(costs, fits.shape).reshape(-1)[choice]
        choice = choice[each == each.min()]
    order, best = divmod(int(choice[0]), len(steps))
    blocks = tuple(int(candidates.counts[dim][best]) for dim in ORDERS[order])
    return float(traffic[order, best]), Blocking(ORDERS[order], blocks)


class _Candidates:
    """Blockings side by side, each with its loops in every order.

    Attributes
    ----------
    counts : dict of loop to (candidates,) int64
        Blocks of each loop.
    """

    def __init__(self, table: _Table, memory: Memory, places: dict[Dim, npt.NDArray[np.intp]]) -> None:
        self._table, self._memory, self._places = table, memory, places
        self.counts = {dim: table.counts[dim][place] for dim, place in places.items()}

    def costs(self, tensor: TensorName) -> tuple[Mask, Bytes, Bytes]:
        """As `tensor_traffic` has it: whether a tensor fits its buffer, the bytes of it that go off chip, both by
        order, and those that tiles wait for: the first step's block in, or the last one's out.
        """
        table, memory, dims, inner = self._table, self._memory, TENSOR_DIMS[tensor], _INNER[tensor]
        sizes = [table.sizes[tensor, dim][:, self._places[dim]] for dim in dims]
        factor, capacity = (
            float(memory.value_bytes * table.space.taps_of(tensor)),
            getattr(memory.buffers, tensor).capacity_bytes,
        )
        whole, block, first, last = factor * _product(sizes)
        kept = factor * _product(
            [np.where(within, size[0], size[1]) for within, size in zip(inner, sizes, strict=True)]
        )
        counts, count = [self.counts[dim] for dim in dims], self.counts[MISSING_DIM[tensor]]
        replaced = reduce(np.logical_or, [within & (each > 1) for within, each in zip(inner, counts, strict=True)])
        again = replaced & (count > 1)
        resident = ~again | (np.minimum(2 * kept, whole) <= capacity)
        fits = (again & resident) | (np.minimum(2 * block, whole) <= capacity)
        passes = np.where(resident, 1, count)
        if tensor != table.space.output:
            return fits, whole * passes, first
        spilled = whole * memory.partial_value_bytes / memory.value_bytes
        return fits, whole + 2 * (passes - 1) * spilled, last


_INNER: dict[TensorName, Mask] = {
    tensor: np.array(
        [[[order.index(dim) > order.index(MISSING_DIM[tensor])] for order in ORDERS] for dim in TENSOR_DIMS[tensor]]
    )
    for tensor in TENSORS
}
"""Whether a tensor's loops lie within the one that it does not run along: (loops, orders, 1)."""


def _product(factors: Sequence[Int64s]) -> Int64s:
    """Element by element."""
    return reduce(np.multiply, factors)


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
