"""Reweighted regularisation: a penalty on weights or on groups of them, that lets go of what is large.

The penalty is lambda times the sum of P |w| over weights, or of P |W_g| over groups, with P = 1 / (|W_g| + eps) of some
steps ago.  So small groups are pushed to zero ever harder and large ones hardly at all, and no layer needs a ratio of
its own.  P is worked out anew at milestones.  Then groups below a threshold are pruned.  Source: arXiv 2004.05531,
after Candes, Wakin and Boyd (J. Fourier Anal. Appl. 14, 2008).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from simhw_workloads.constraints.masks import Masks, weight_of
from simhw_workloads.task import Batch, Task
from simhw_workloads.train import Hook

Group = tuple[int | None, int | None]
"""Rows and columns of a group in a weight's matrix (out, in x places); None is all of them."""
IRREGULAR: Group = (1, 1)
FILTER: Group = (1, None)
COLUMN: Group = (None, 1)
BLOCK: Group = (4, 4)
"""Those at a matrix's edges are smaller."""


def channel(places: int) -> Group:
    """All weights that read an input of so many places: what a filter of the layer before is worth to this one.

    Batch norm lets a filter be of any size, so that a filter's own size says nothing of its worth.
    """
    return None, places


def group_sizes(weight: Tensor, group: Group) -> Tensor:
    """How large each group of a weight is: its root mean square, (rows, columns) of groups.

    The mean, not the sum, so that one threshold serves groups of all sizes.
    """
    matrix = weight.flatten(1)
    rows, columns = _edges(matrix, group)
    # Blocks at the edges are filled up with zeros, and each group's sum is divided by what it really holds.
    height, width = -matrix.shape[0] % rows, -matrix.shape[1] % columns
    padded = (nn.functional.pad(each, (0, width, 0, height)) for each in (matrix.square(), torch.ones_like(matrix)))
    squares, held = (each.reshape(len(each) // rows, rows, -1, columns).sum((1, 3)) for each in padded)
    # The root has no gradient at 0.
    sizes: Tensor = (squares / held + 1e-20).sqrt()
    return sizes


def spread(groups: Tensor, weight: Tensor, group: Group) -> Tensor:
    """A value of each group at every weight of it, in the weight's shape."""
    matrix = weight.flatten(1)
    rows, columns = _edges(matrix, group)
    whole = groups.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return whole[: matrix.shape[0], : matrix.shape[1]].reshape(weight.shape)


def _edges(matrix: Tensor, group: Group) -> tuple[int, int]:
    return group[0] or matrix.shape[0], group[1] or matrix.shape[1]


class Reweighted(Hook):
    """Adds the penalty on layers of a model.

    Parameters
    ----------
    groups : mapping of path to Group
    strength : float
        Lambda: about what a group costs that stays as it is, whatever its size.
    every : int
        Steps between milestones.
    eps : float
        Added to a group's size, in root mean squares of its layer, so that small groups can come back.  The published
        code has 1e-3 of 1; but batch norm lets a layer be of any scale, and the penalty makes it small.
    """

    def __init__(self, groups: Mapping[str, Group], strength: float, every: int, eps: float = 1e-2) -> None:
        self.groups, self.strength, self.every, self.eps = groups, strength, every, eps
        self._factors: dict[str, Tensor] = {}

    def start(self, model: nn.Module, task: Task) -> None:
        """The first milestone."""
        self._milestone(model)

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor:
        """The penalty."""
        terms = [
            (self._factors[path] * group_sizes(weight_of(model, path), group)).sum()
            for path, group in self.groups.items()
        ]
        return self.strength * torch.stack(terms).sum()

    def stepped(self, model: nn.Module, step: int) -> None:
        """Work P out anew, where it is time."""
        if step % self.every == 0:
            self._milestone(model)

    @torch.no_grad()
    def _milestone(self, model: nn.Module) -> None:
        for path, group in self.groups.items():
            weight = weight_of(model, path)
            sizes = group_sizes(weight, group)
            self._factors[path] = 1 / (sizes + self.eps * weight.square().mean().sqrt())


def threshold_masks(model: nn.Module, groups: Mapping[str, Group], threshold: float) -> Masks:
    """Masks that hold the groups whose size is at least a threshold, in root mean squares of their layer.

    The largest group of a layer stays in any case.
    """
    masks = {}
    for path, group in groups.items():
        weight = weight_of(model, path).detach()
        sizes = group_sizes(weight, group)
        least = min(threshold * float(weight.square().mean().sqrt()), float(sizes.max()))
        masks[path] = spread(sizes >= least, weight, group)
    return masks


def density(masks: Masks) -> float:
    """Share of the weights that masks hold."""
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
