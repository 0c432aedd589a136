"""Blocking: how an operation's loops are cut so that its tensors' blocks fit the global buffers with the least off-chip
traffic.

A blocking is an order of the loops, outermost first, and how many blocks each is cut into.  Copies are always
outermost: they share nothing.  A tensor that does not run along a loop is met again in each of that loop's blocks.  Its
blocks within one such pass stay in the buffer where all of them fit; otherwise each pass fetches them again, and an
output that is not complete goes out and comes back as partial sums.  Buffers hold two of whatever is replaced while
tiles run (double buffering), or a whole tensor.  Source: the spec leaves the dataflow open; the rules are ours
(docs/memory.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import permutations
from math import inf, prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simhw.errors import MachineError
from simhw.memory.space import DIMS, TENSOR_DIMS, Dim, Space
from simhw.trace.layer import TENSORS, TensorName

if TYPE_CHECKING:
    from simhw.memory.parameters import Memory


MOST_BLOCKS = 1 << 16
"""Blocks that a loop is cut into at the most: far more steps than are worth their transfers, and their bounds are
listed one by one.
"""


@dataclass(frozen=True)
class Blocking:
    """Loops, outermost first, and the number of blocks of each.

    Attributes
    ----------
    order : tuple of str
        "g" and then "p", "c", "o" in any order.
    blocks : tuple of int
        In the order of `order`.
    """

    order: tuple[Dim, ...]
    blocks: tuple[int, ...]

    def __str__(self) -> str:
        return f"{''.join(self.order)}:{'x'.join(map(str, self.blocks))}"

    @property
    def steps(self) -> int:
        """Blocks of all loops together: what the tiles work on between two exchanges of blocks."""
        return prod(self.blocks)

    def count(self, dim: Dim) -> int:
        """Blocks of one loop."""
        return self.blocks[self.order.index(dim)]


def parse_blocking(text: str) -> Blocking | None:
    """A blocking as a machine file writes it, ``gpoc:1x4x2x1``; None for ``auto``.

    Raises
    ------
    ValueError
        The text is neither.
    """
    if text == "auto":
        return None
    order, _, counts = text.partition(":")
    parts = counts.split("x")
    if (
        sorted(order) != sorted(DIMS)
        or order[0] != "g"
        or len(parts) != len(DIMS)
        or not all(part.isdecimal() and int(part) > 0 for part in parts)
    ):
        raise ValueError(
            f"blocking {text!r} is neither auto nor loops and counts, such as gpoc:1x4x2x1: g (copies) first, then p "
            "(positions), "
            "c (input channels) and o (output channels), outermost first, each with the number of blocks it is cut into"
        )
    return Blocking(tuple(order), tuple(int(part) for part in parts))  # type: ignore[arg-type]  # letters were checked


@dataclass(frozen=True)
class TensorTraffic:
    """What a blocking means for one tensor.

    Attributes
    ----------
    need_bytes : float
        Buffer space.
    passes : int
        Times that its blocks go to or come from memory.
    resident : bool
        Its blocks stay while the loop that it does not run along goes on.
    """

    need_bytes: float
    passes: int
    resident: bool


def tensor_traffic(space: Space, blocking: Blocking, tensor: TensorName, memory: "Memory") -> TensorTraffic:
    """Buffer space and passes of one tensor, by the rules of this module; the plain form of what `search`
    does in bulk.
    """
    sizes = {dim: space.sizes(dim, blocking.count(dim), tensor) for dim in TENSOR_DIMS[tensor]}
    capacity = getattr(memory.buffers, tensor).capacity_bytes
    (missing,) = set(DIMS) - set(TENSOR_DIMS[tensor])
    place = blocking.order.index(missing)
    inner = [dim for dim in TENSOR_DIMS[tensor] if blocking.order.index(dim) > place]
    factor = memory.value_bytes * space.taps_of(tensor)
    block = factor * prod(each.largest for each in sizes.values())
    kept = factor * prod(each.total if dim in inner else each.largest for dim, each in sizes.items())
    whole = factor * prod(each.total for each in sizes.values())
    if blocking.count(missing) == 1 or not any(blocking.count(dim) > 1 for dim in inner):
        return TensorTraffic(min(2 * block, whole), 1, True)
    if min(2 * kept, whole) <= capacity:
        return TensorTraffic(min(2 * kept, whole), 1, True)
    return TensorTraffic(min(2 * block, whole), blocking.count(missing), False)


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
def search(space: Space, memory: "Memory") -> Blocking:
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


def _least(table: "_Table", memory: "Memory", limit: int) -> tuple[tuple[float, float, float, float], Blocking] | None:
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


def fixed(space: Space, memory: "Memory", blocking: Blocking, where: str) -> Blocking:
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
