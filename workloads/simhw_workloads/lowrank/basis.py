"""Basis convolutions: some filters of a layer are convolved, and the others are mixed from their outputs.

The outputs of a layer are b and M b: b of the basis filters, M a matrix that is trained like them.  Where the layer was
trained before, the basis are its filters that span the others best, and M is their least-squares fit.  Only layers are
replaced that bear it: one layer at a time is replaced without any training, and what that costs tells.  Source:
arXiv 2408.06024 (abstract; that b itself is among the outputs is ours); spec page techniques.md, 2.12.
"""

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy.linalg import qr
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import as_matrix, convolution_like
from simhw_workloads.lowrank.surgery import replace_module


class BasisConv2d(nn.Module):
    """A convolution with a basis of filters.

    Parameters
    ----------
    layer : Conv2d
        That it stands for; without groups and without bias.  Its weights may be on the meta device.
    count : int
        Basis filters; fewer than the layer's.

    Attributes
    ----------
    basis : Conv2d
    mix : Conv2d
        1x1, from the basis outputs to the others.
    places : (outputs,) int64 Tensor
        Where among b and M b each output stands.

    Raises
    ------
    WorkloadError
        The layer has groups or a bias, or the count does not fit.
    """

    places: Tensor

    def __init__(self, layer: nn.Conv2d, count: int) -> None:
        super().__init__()
        outputs = layer.out_channels
        if layer.groups > 1 or layer.bias is not None:
            raise WorkloadError("only convolutions without groups and bias get a basis of filters")
        if not 1 <= count < min(outputs, 1 + layer.weight[0].numel()):
            raise WorkloadError(f"{outputs} filters of {layer.weight[0].numel()} weights have no basis of {count}")
        self.basis = convolution_like(layer, layer.in_channels, count)
        self.mix = nn.Conv2d(count, outputs - count, 1, bias=False, device=layer.weight.device)
        self.register_buffer("places", torch.arange(outputs))
        self.train(layer.training)
        if layer.weight.is_meta:
            return
        order, mix = spanning(as_matrix(layer.weight), count)
        self.places.copy_(torch.from_numpy(np.argsort(order)))
        with torch.no_grad():
            self.basis.weight.copy_(layer.weight[torch.from_numpy(order[:count].copy())])
            self.mix.weight.copy_(torch.from_numpy(mix)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """What the layer computed, of (N, inputs, H, W)."""
        b = self.basis(x)
        return torch.cat([b, self.mix(b)], dim=1)[:, self.places]

    @torch.no_grad()
    def to_dense(self) -> Tensor:
        """The weights (out, in, kh, kw) of the one layer that computes the same."""
        mixed = torch.einsum("ob,bikl->oikl", self.mix.weight[:, :, 0, 0], self.basis.weight)
        return torch.cat([self.basis.weight, mixed])[self.places]


def spanning(filters: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Filters that span the others well, by QR with pivoting, and the others' best mix of them.

    Parameters
    ----------
    filters : (outputs, weights) array
    count : int

    Returns
    -------
    (outputs,) int array, (outputs - count, count) array
        All filters, the basis first; the least-squares coefficients of the others, in that order.
    """
    _, order = qr(filters.T, mode="r", pivoting=True)
    basis, others = filters[order[:count]], filters[order[count:]]
    return order, np.linalg.lstsq(basis.T, others.T, rcond=None)[0].T


def sensitivities(
    model: nn.Module, paths: Iterable[str], share: float, loss: Callable[[nn.Module], float]
) -> dict[str, float]:
    """By how much the loss rises where one layer alone gets a basis of that share of its filters.

    Parameters
    ----------
    model : Module
        Stays as it is.
    paths : iterable of str
        Its convolutions.
    share : float
    loss : callable
        Of a model.
    """
    whole = loss(model)
    return {path: loss(with_bases(copy.deepcopy(model), [path], share)) - whole for path in paths}


def with_bases(model: nn.Module, paths: Iterable[str], share: float) -> nn.Module:
    """Give convolutions a basis of that share of their filters, at least one."""
    for path in paths:
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Conv2d)
        replace_module(model, path, BasisConv2d(layer, max(1, round(share * layer.out_channels))))
    return model
