"""Ordered dropout of ranks: components of a pair learn to matter in their order, so that the last ones can go.

A step trains the whole network, and once more with one random pair at a random rank b: only its first b components
run.  A penalty on the tails of both factors draws late components to nothing first.  What has become small is taken
out between phases.  Source: Maestro, arXiv 2308.14929; spec page techniques.md, 2.15.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw_workloads.gradients import still_statistics
from simhw_workloads.lowrank.chain import Chain
from simhw_workloads.lowrank.components import rows_and_columns
from simhw_workloads.lowrank.surgery import chains, replace_module
from simhw_workloads.task import Batch
from simhw_workloads.train import Hook


class OrderedChain(Chain):
    """A pair that can run with its first components alone.

    Attributes
    ----------
    width : int or None
        Components that run; all where None.
    """

    width: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """What the layer computes, with as many components as `width` says."""
        if self.width is None:
            for factor in self:
                x = factor(x)
            return x
        first, last = self.factors["first"], self.factors["last"]
        inner, outer = first.weight[: self.width], last.weight[:, : self.width]
        if isinstance(first, nn.Linear):
            return functional.linear(functional.linear(x, inner), outer, last.bias)
        assert isinstance(last, nn.Conv2d)
        assert isinstance(first, nn.Conv2d)
        result: Tensor = last._conv_forward(first._conv_forward(x, inner, None), outer, last.bias)
        return result


def order(model: nn.Module) -> nn.Module:
    """Make all pairs of a model `OrderedChain`s, with the same weights."""
    for path, chain in chains(model).items():
        replace_module(model, path, OrderedChain(*chain.factors.values()).train(chain.training))
    return model


class OrderedDropout(Hook):
    """Trains with a second pass at a random rank, and the hierarchical group lasso.

    It is given to `Run.fit` as a hook and its `gradient` as the gradient.

    Parameters
    ----------
    strength : float
        Times the sum, over all pairs and ranks, of the norms of both factors' tails from there on.
    seed : int
        Of pairs and ranks.
    """

    def __init__(self, strength: float, seed: int) -> None:
        self.strength = strength
        self._random = torch.Generator().manual_seed(seed)
        self._second = False

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor | None:
        """The penalty, once a step."""
        if self._second:
            return None
        return self.strength * torch.stack([tails(chain) for chain in chains(model).values()]).sum()

    def gradient(self, model: nn.Module, closure: Callable[[], Tensor]) -> Tensor:
        """The gradients of the whole network's loss and of that at one random rank; gives the first loss."""
        loss = closure()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        pairs = [chain for chain in chains(model).values() if isinstance(chain, OrderedChain)]
        chosen = pairs[self._draw(len(pairs))]
        chosen.width, self._second = 1 + self._draw(chosen.ranks[0]), True
        # A network that is cut for one pass has statistics of its own, which no one is scored with.
        with still_statistics(model):
            closure().backward()  # type: ignore[no-untyped-call]
        chosen.width, self._second = None, False
        return loss

    def _draw(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._random))


def tails(chain: Chain) -> Tensor:
    """The hierarchical group lasso of a pair: over all i, the norms of both factors from component i on."""
    return sum((_tail_norms(each) for each in rows_and_columns(chain)), start=torch.zeros(()))


def _tail_norms(factor: Tensor) -> Tensor:
    # A component that is exactly zero would have no gradient of the root.
    squares = factor.square().sum(dim=1).flip(0).cumsum(0)
    return (squares + 1e-12).sqrt().sum()
