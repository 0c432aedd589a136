"""What a pooling, a reduction or a bag of embeddings is as a pool: its kind and sizes, from what PyTorch ran."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor


class PoolSizes(NamedTuple):
    """The fields of a `Pool` after its name, with channels of the whole batch."""

    kind: Literal["max", "average"]
    channels: int
    size: tuple[int, ...]
    out_size: tuple[int, ...]
    kernel: tuple[int, ...]


def of_pool(name: str, args: Sequence[Any], out: Tensor) -> PoolSizes:
    """A pooling over 1 to 3 dimensions, which the operator's name tells; an adaptive one has the kernel that covers."""
    x = args[0]
    dims = int(name.split("d")[0][-1] if name.startswith("mkldnn") else name[name.index("pool") + 4])
    size, out_size = tuple(x.shape[-dims:]), tuple(out.shape[-dims:])
    if "adaptive" in name:
        kernel = tuple(-(-a // b) for a, b in zip(size, out_size, strict=True))
    else:
        kernel = tuple(args[1]) * (dims if len(args[1]) == 1 else 1)
    return PoolSizes("max" if "max" in name else "average", math.prod(x.shape[:-dims]), size, out_size, kernel)


def of_reduction(name: str, x: Tensor, result: Tensor) -> PoolSizes:
    """A mean, sum or extreme along axes is a pool over all that it reduces."""
    kept = max(1, result.numel())
    size: tuple[int, ...] = (x.numel() // kept,)
    if x.dim() == 4 and tuple(result.shape[:2]) == tuple(x.shape[:2]) and kept == x.shape[0] * x.shape[1]:
        size = tuple(x.shape[2:])
    extreme = name.removeprefix("a").startswith(("max", "min", "rgmax", "rgmin"))
    return PoolSizes("max" if extreme else "average", kept, size, (1,) * len(size), size)


def of_bag(lookups: int, largest: bool, result: Tensor) -> PoolSizes:
    """The vectors of every bag become one, the largest or the mean, per value of it."""
    each = -(-lookups // max(1, result.shape[0]))
    return PoolSizes("max" if largest else "average", result.numel(), (each,), (1,), (each,))
