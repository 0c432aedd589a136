"""Taking the layers of a model apart, and putting them together again."""

from collections.abc import Mapping

import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import Chain, Factored, convolution_like, factored


def factor(model: nn.Module, ranks: Mapping[str, int | tuple[int, int]]) -> nn.Module:
    """Put chains in the place of layers.

    Parameters
    ----------
    model : Module
        Changed in place.
    ranks : mapping of module path to rank
        Of a pair, or both of a triple; layers that are not named stay whole.

    Raises
    ------
    WorkloadError
        A path leads to no linear layer or convolution, or a rank does not fit.
    """
    for path, rank in ranks.items():
        layer = dict(model.named_modules()).get(path)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise WorkloadError(f"{type(model).__name__} has no linear layer or convolution {path!r} to decompose")
        replace_module(model, path, factored(layer, rank))
    return model


def recompose(model: nn.Module) -> nn.Module:
    """Put one dense layer in the place of every chain: the model computes the same and learns without the
    constraint.
    """
    for path, chain in chains(model).items():
        replace_module(model, path, _whole(chain))
    return model


def chains(model: nn.Module) -> dict[str, Chain]:
    """The chains of a model, by path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Chain)}


def replace_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of another."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def _whole(chain: Chain) -> Factored:
    parts = chain.factors
    first, last = parts["first"], parts["last"]
    bias = last.bias is not None
    layer: Factored
    if isinstance(first, nn.Linear):
        assert isinstance(last, nn.Linear)
        layer = nn.Linear(first.in_features, last.out_features, bias=bias)
    else:
        # The kernel is the core's; a pair has none, and strides in its first factor.
        core = parts.get("core", first)
        assert isinstance(core, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        layer = convolution_like(core, first.in_channels, last.out_channels, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(chain.to_dense())
        if layer.bias is not None:
            assert last.bias is not None
            layer.bias.copy_(last.bias)
    return layer.train(chain.training)
