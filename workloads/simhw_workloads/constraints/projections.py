"""Sets that weights are held to, each by its projection: the nearest point of the set.

- few weights that are not zero;
- few levels, equally far apart or powers of two (ADMM-NN, arXiv 1812.11677);
- few values of any size, by k-means (ATMC, arXiv 1902.03538);
- a low rank: singular values, Tucker-2 or a tensor train (arXiv 2107.12422).

Zeros stay zeros in the sets of levels and of values: what pruning took away does not come back.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.constraints.admm import Projection
from simhw_workloads.constraints.masks import mask_of, weight_of
from simhw_workloads.lowrank.chain import nearest
from simhw_workloads.lowrank.tensor_train import TrainShape, truncated

LevelKind = Literal["multiples", "binary multiples", "powers"]
_STEPS_TRIED = 100


def largest(weight: Tensor, count: int) -> Tensor:
    """A weight of which only the `count` values of largest magnitude are not zero."""
    return weight * mask_of(weight, weight.abs().flatten().topk(count).indices)


def pruned(densities: Mapping[str, float], model: nn.Module) -> dict[str, Projection]:
    """Projections on a share of each layer's weights, at least one.

    Parameters
    ----------
    densities : mapping of path to float
    model : Module
    """
    return {
        path: partial(largest, count=max(1, round(density * weight_of(model, path).numel())))
        for path, density in densities.items()
    }


def levels(bits: int, kind: LevelKind) -> Tensor:
    """The positive levels of `bits` bits, over their step: as many again are negative, and zero is none of them.

    1, 2, 3, ... for multiples, and 1, 2, 4, ... for powers of two.
    """
    if bits < 1:
        raise WorkloadError(f"levels of {bits} bits: give at least 1, which is a sign")
    places = torch.arange(2 ** (bits - 1), dtype=torch.float64)
    return 2**places if kind == "powers" else places + 1


def quantised(weight: Tensor, bits: int, kind: LevelKind) -> Tensor:
    """A weight whose values are zero or levels; the step is the one that changes the weight least.

    Parameters
    ----------
    weight : Tensor
    bits : int
        Of a level; a zero is told apart by where it stands.
    kind : {"multiples", "binary multiples", "powers"}
        Multiples of any step; of a step that is a power of two, so that level k has the terms of k; powers of two,
        which have one term each.
    """
    values = weight[weight != 0].double()
    if not len(values):
        return weight
    grid = levels(bits, kind)
    top = float(values.abs().max())
    # Steps from that at which the largest value is a level, downwards; below a quarter of it most values would be
    # clipped.
    steps = top / grid[-1] * torch.linspace(0.05, 1, _STEPS_TRIED, dtype=torch.float64)
    if kind != "multiples":
        steps = torch.exp2(torch.log2(steps).round()).unique()  # type: ignore[no-untyped-call]  # torch's
    best = min(
        (_nearest_level(values, grid * step) for step in steps), key=lambda made: float((made - values).square().sum())
    )
    result = weight.clone()
    result[weight != 0] = best.to(weight.dtype)
    return result


def _nearest_level(values: Tensor, grid: Tensor) -> Tensor:
    """Values at their nearest positive or negative level of a grid."""
    middles = (grid[1:] + grid[:-1]) / 2
    return values.sign() * grid[torch.bucketize(values.abs(), middles)]


def clustered(weight: Tensor, bits: int, rounds: int = 20) -> Tensor:
    """A weight with at most ``2**bits`` values besides zero, by k-means on those that are not zero.

    Centres begin at quantiles, so that the same weight always gives the same.
    """
    values = weight[weight != 0].double()
    if not len(values):
        return weight
    shares = (torch.arange(2**bits, dtype=torch.float64) + 0.5) / 2**bits
    centres = torch.quantile(values, shares).unique()  # type: ignore[no-untyped-call]  # torch's
    for _ in range(rounds):
        nearest_one = torch.bucketize(values, (centres[1:] + centres[:-1]) / 2)
        counts = torch.bincount(nearest_one, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, nearest_one, values)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres).sort().values
    result = weight.clone()
    result[weight != 0] = centres[torch.bucketize(values, (centres[1:] + centres[:-1]) / 2)].to(weight.dtype)
    return result


def low_rank(ranks: Mapping[str, int | tuple[int, int]]) -> dict[str, Projection]:
    """Projections on factors: singular values of linear layers and 1x1 convolutions, Tucker-2 of wider kernels."""
    return {path: partial(nearest, rank=rank) for path, rank in ranks.items()}


def train_ranks(shapes: Mapping[str, TrainShape]) -> dict[str, Projection]:
    """Projections on tensor trains."""
    return {path: partial(truncated, shape=shape) for path, shape in shapes.items()}
