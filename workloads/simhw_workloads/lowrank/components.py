"""Pairs of factors as sums of components: how large each is, penalties that make some vanish, and taking those out.

A pair of rank r computes the sum of r outer products: row i of its first factor and column i of its last.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import Chain, convolution_like, paired
from simhw_workloads.lowrank.surgery import chains, replace_module
from simhw_workloads.task import Batch, Task
from simhw_workloads.train import Hook


def rows_and_columns(chain: Chain) -> tuple[Tensor, Tensor]:
    """Of a pair of rank r: the first factor (r, in) and the last, transposed (r, out), with their graph.

    Raises
    ------
    WorkloadError
        It is a triple.
    """
    if "core" in chain.factors:
        raise WorkloadError("a triple has no components: only pairs have")
    return chain.factors["first"].weight.flatten(1), chain.factors["last"].weight.flatten(1).T


def magnitudes(chain: Chain) -> Tensor:
    """(r,): the norm of each component, which is its row's times its column's."""
    rows, columns = rows_and_columns(chain)
    sizes: Tensor = rows.norm(dim=1) * columns.norm(dim=1)
    return sizes


def pair_up(model: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
    """Put pairs in the place of layers; those of full rank compute the same.

    Parameters
    ----------
    model : Module
        Changed in place.  Its parameters may be on the meta device.
    ranks : mapping of path to rank
    """
    for path, rank in ranks.items():
        layer = model.get_submodule(path)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise WorkloadError(f"{type(model).__name__} has no linear layer or convolution {path!r} to decompose")
        replace_module(model, path, paired(layer, rank))
    return model


def cut(model: nn.Module, kept: Mapping[str, Tensor]) -> nn.Module:
    """Leave only some components of pairs.

    Parameters
    ----------
    model : Module
        Changed in place.
    kept : mapping of path to (r,) bool Tensor
        At least one of each pair.
    """
    for path, chain in chains(model).items():
        if path in kept and not bool(kept[path].all()):
            replace_module(model, path, _kept(chain, kept[path]))
    return model


def pair_ranks(model: nn.Module) -> dict[str, int]:
    """The rank of every pair, by path."""
    return {path: chain.ranks[0] for path, chain in chains(model).items() if "core" not in chain.factors}


def above(model: nn.Module, least: Callable[[Tensor], float]) -> dict[str, Tensor]:
    """Which components of each pair have at least a magnitude, which may depend on those of the pair; the largest
    always stays.
    """
    found = {}
    for path, chain in chains(model).items():
        sizes = magnitudes(chain).detach()
        found[path] = (sizes >= least(sizes)) | (sizes == sizes.max())
    return found


def _kept(chain: Chain, kept: Tensor) -> Chain:
    if not bool(kept.any()):
        raise WorkloadError("a pair of which no component stays computes nothing")
    first, last = chain.factors["first"], chain.factors["last"]
    rank, bias = int(kept.sum()), last.bias is not None
    fewer: Chain
    if isinstance(first, nn.Linear):
        assert isinstance(last, nn.Linear)
        fewer = type(chain)(
            nn.Linear(first.in_features, rank, bias=False), nn.Linear(rank, last.out_features, bias=bias)
        )
    else:
        assert isinstance(last, nn.Conv2d)
        fewer = type(chain)(
            convolution_like(first, first.in_channels, rank),
            convolution_like(last, rank, last.out_channels, bias=bias),
        )
    with torch.no_grad():
        fewer.factors["first"].weight.copy_(first.weight[kept])
        fewer.factors["last"].weight.copy_(last.weight[:, kept])
        if last.bias is not None:
            fewer.factors["last"].bias.copy_(last.bias)  # type: ignore[union-attr]  # it has one where the chain does
    return fewer.train(chain.training)


class Funnel(Hook):
    """A penalty that draws small components to nothing and leaves large ones alone.

    It stands in for the published funnel function, which is not within reach: f(s) = s / (s + gamma) of each
    component's magnitude s.  It is steep at 0 and flat far out, and gamma falls geometrically, so that the funnel
    becomes narrower.

    Parameters
    ----------
    strength : float
        Times the sum over components.
    gamma : (float, float)
        At the first step and at the last.
    steps : int
    """

    def __init__(self, strength: float, gamma: tuple[float, float], steps: int) -> None:
        self.strength, self._ends, self._steps = strength, gamma, steps
        self.gamma = gamma[0]

    def start(self, model: nn.Module, task: Task) -> None:
        """Wide at first."""
        self.gamma = self._ends[0]

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor:
        """The penalty of all components."""
        sizes = torch.cat([magnitudes(chain) for chain in chains(model).values()])
        return self.strength * (sizes / (sizes + self.gamma)).sum()

    def stepped(self, model: nn.Module, step: int) -> None:
        """A little narrower."""
        first, last = self._ends
        self.gamma = first * (last / first) ** min(1.0, step / self._steps)
