"""A layer as two factors and a rest: W = U V + C, each part a layer of its own.

Source: ATMC (arXiv 1902.03538), whose code composes W before it multiplies.  Here the parts run as products of their
own, so that a trace shows what their zeros save.
"""

import torch
from torch import Tensor, nn

from simhw_workloads.lowrank.chain import Factored, paired
from simhw_workloads.lowrank.surgery import replace_module

PARTS = ("factors.first", "factors.last", "rest")


class FactorsAndRest(nn.Module):
    """``factors(x) + rest(x)``; the first factor has the layer's kernel, the rest its bias.

    At first the factors are the best of their rank, and the rest is what they leave: all three parts live.  The
    published code begins with all of W in one part, and a common budget then never lets the others come to life (spec
    page techniques.md, 2.8).

    Parameters
    ----------
    layer : Linear or Conv2d
        Without groups; it becomes the rest.
    rank : int
    """

    def __init__(self, layer: Factored, rank: int) -> None:
        super().__init__()
        bias, layer.bias = layer.bias, None
        self.factors, self.rest = paired(layer, rank), layer
        layer.bias = bias
        with torch.no_grad():
            layer.weight -= self.factors.to_dense()

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        result: Tensor = self.factors(x) + self.rest(x)
        return result


def with_rest(model: nn.Module, ranks: dict[str, int]) -> list[str]:
    """Put factors and rests in the place of layers; gives the paths of all their parts."""
    parts = []
    for path, rank in ranks.items():
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        replace_module(model, path, FactorsAndRest(layer, rank))
        parts += [f"{path}.{part}" for part in PARTS]
    return parts
