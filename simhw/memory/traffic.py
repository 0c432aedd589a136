"""What a blocking means for a tensor: the buffer space that it needs, and how often its blocks cross the pins.

A tensor that does not run along a loop is met again in each of that loop's blocks.  Its blocks within one such pass
stay in the buffer where all of them fit; otherwise each pass fetches them again, and an output that is not complete
goes out and comes back as partial sums.  Buffers hold two of whatever is replaced while tiles run (double buffering),
or a whole tensor.  Source: the spec leaves the dataflow open; the rules are ours (docs/memory.md).
"""

from dataclasses import dataclass
from math import prod

from simhw.memory.blocking import Blocking
from simhw.memory.parameters import Memory
from simhw.memory.space import MISSING_DIM, TENSOR_DIMS, Space
from simhw.trace.layer import TensorName


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


def tensor_traffic(space: Space, blocking: Blocking, tensor: TensorName, memory: Memory) -> TensorTraffic:
    """Buffer space and passes of one tensor, by the rules of this module; the plain form of what
    `simhw.memory.search` does in bulk.
    """
    sizes = {dim: space.sizes(dim, blocking.count(dim), tensor) for dim in TENSOR_DIMS[tensor]}
    capacity = getattr(memory.buffers, tensor).capacity_bytes
    missing = MISSING_DIM[tensor]
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
