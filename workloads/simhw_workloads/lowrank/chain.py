"""A layer in factors: two or three thin layers in a row, with no normalisation or activation between.

The factors run as products of their own, so that a trace shows what decomposition saves; composing the dense weights
first and multiplying by them would hide it.  Linear layers and 1x1 convolutions become a pair by singular values, wider
kernels a triple by Tucker-2 over their channels, or a pair whose first factor has the kernel.  Source: arXiv 2407.20266
and 2309.03824; spec page techniques.md, 5.1.
"""

from collections import OrderedDict
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from tensorly.decomposition import partial_tucker
from tensorly.tenalg import svd_interface
from torch import Tensor, nn

from simhw.errors import WorkloadError

Factored = nn.Linear | nn.Conv2d
"""Layers that can be taken apart, and what a chain is made of."""
Matrix = npt.NDArray[np.float64]


class Chain(nn.Sequential):
    """The factors of one layer: ``first`` and ``last``, and between them the ``core`` of a triple."""

    def __init__(self, *factors: Factored) -> None:
        names = ("first", "last") if len(factors) == 2 else ("first", "core", "last")
        super().__init__(OrderedDict(zip(names, factors, strict=True)))

    @property
    def factors(self) -> dict[str, Factored]:
        """By name, in the order of the forward pass."""
        found: dict[str, Factored] = {}
        for name, module in self.named_children():
            assert isinstance(module, nn.Linear | nn.Conv2d)
            found[name] = module
        return found

    @property
    def ranks(self) -> tuple[int, int]:
        """Outputs of the first factor and inputs of the last; those of a pair are the same."""
        first, last = self.factors["first"], self.factors["last"]
        return first.weight.shape[0], last.weight.shape[1]

    @torch.no_grad()
    def to_dense(self) -> Tensor:
        """The weights (out, in) or (out, in, kh, kw) of the one layer that computes the same."""
        parts = self.factors
        first, last = parts["first"].weight.flatten(1), parts["last"].weight.flatten(1)
        if "core" not in parts:
            return (last @ first).reshape(len(last), *parts["first"].weight.shape[1:])
        core = parts["core"]
        assert isinstance(core, nn.Conv2d)
        return torch.einsum("or,rskl,si->oikl", last, _ungrouped(core), first)


def _ungrouped(core: nn.Conv2d) -> Tensor:
    """The weights of a grouped convolution with the zeros between its groups."""
    outputs, inputs = core.out_channels // core.groups, core.in_channels // core.groups
    dense = core.weight.new_zeros(core.out_channels, core.in_channels, *core.kernel_size)
    for group in range(core.groups):
        rows, columns = slice(group * outputs, (group + 1) * outputs), slice(group * inputs, (group + 1) * inputs)
        dense[rows, columns] = core.weight[rows]
    return dense


def factored(layer: Factored, rank: int | tuple[int, int]) -> Chain:
    """A layer's best factors of a rank.

    Parameters
    ----------
    layer : Linear or Conv2d
        Without groups.  Its parameters may be on the meta device: then the factors have shapes and no values.
    rank : int or (int, int)
        Of a pair; of both outer factors of a triple, or of its first and of its last.

    Returns
    -------
    Chain
        The last factor has the bias; a pair strides in its first factor, a triple in its core.

    Raises
    ------
    WorkloadError
        The layer has groups, or the rank is not within 1 ... its channels.
    """
    weight = layer.weight
    inner, outer = rank if isinstance(rank, tuple) else (rank, rank)
    pair = prod(weight.shape[2:]) == 1
    least = min(weight.shape[:2])
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        raise WorkloadError(
            f"a convolution of {layer.groups} groups cannot be decomposed; only those without groups can"
        )
    if not (
        1 <= inner <= (least if pair else weight.shape[1]) and 1 <= outer <= (least if pair else weight.shape[0])
    ) or (pair and inner != outer):
        raise WorkloadError(f"a layer with weights {tuple(weight.shape)} has no factors of rank {rank}")
    chain = _pair(layer, inner) if pair else _triple(layer, inner, outer)
    if not weight.is_meta:
        values = _singular(weight, inner) if pair else _tucker(weight, inner, outer)
        _fill(chain, layer, values)
    return chain.train(layer.training)


def paired(layer: Factored, rank: int) -> Chain:
    """A layer's best pair of a rank: a convolution's first factor has its kernel, the last is 1x1.

    Parameters
    ----------
    layer : Linear or Conv2d
        Without groups.  Its parameters may be on the meta device.
    rank : int

    Raises
    ------
    WorkloadError
        The layer has groups, or the rank is not within 1 ... what its weights, one row an output, can have.
    """
    weight = layer.weight
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        raise WorkloadError(
            f"a convolution of {layer.groups} groups cannot be decomposed; only those without groups can"
        )
    if not 1 <= rank <= min(weight.flatten(1).shape):
        raise WorkloadError(f"a layer with weights {tuple(weight.shape)} has no factors of rank {rank}")
    if isinstance(layer, nn.Linear):
        chain = _pair(layer, rank)
    else:
        last = nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None, device=weight.device)
        chain = Chain(convolution_like(layer, layer.in_channels, rank), last)
    if not weight.is_meta:
        _fill(chain, layer, _singular(weight, rank))
    return chain.train(layer.training)


def nearest(weight: Tensor, rank: int | tuple[int, int]) -> Tensor:
    """Weights (out, in) or (out, in, kh, kw) at a rank: what the factors that `factored` gives compose to."""
    inner, outer = rank if isinstance(rank, tuple) else (rank, rank)
    if prod(weight.shape[2:]) == 1:
        first, last = _singular(weight, inner)
        dense = last @ first
    else:
        first, core, last = _tucker(weight, inner, outer)
        dense = np.einsum("or,rskl,si->oikl", last, core, first)
    return torch.from_numpy(dense).reshape(weight.shape).to(weight.dtype)


def convolution_like(layer: nn.Conv2d, inputs: int, outputs: int, *, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution with the kernel, stride, padding, dilation and device of a layer, and channels of its own."""
    return nn.Conv2d(
        inputs,
        outputs,
        layer.kernel_size,  # type: ignore[arg-type]  # torch's own pair
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=groups,
        bias=bias,
        device=layer.weight.device,
    )


def split(matrix: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """The best factors (rank, in) and (out, rank) of a matrix (out, in), each with the roots of the singular values."""
    left, values, right = svd_interface(matrix, n_eigenvecs=rank, method="truncated_svd")
    root = np.sqrt(values[:rank])
    return root[:, None] * right[:rank], left[:, :rank] * root


@torch.no_grad()
def _fill(chain: Chain, layer: Factored, values: tuple[Matrix, ...]) -> None:
    """Give the factors their values, and the last one the layer's bias."""
    for factor, value in zip(chain.factors.values(), values, strict=True):
        factor.weight.copy_(torch.from_numpy(np.ascontiguousarray(value)).reshape(factor.weight.shape))
    if layer.bias is not None:
        chain.factors["last"].bias.copy_(layer.bias)  # type: ignore[union-attr]  # it has one where the layer does


def as_matrix(weight: Tensor) -> Matrix:
    """Weights (out, in) in double precision, a kernel's axes within the inputs."""
    matrix: Matrix = weight.detach().double().flatten(1).numpy()
    return matrix


def _singular(weight: Tensor, rank: int) -> tuple[Matrix, ...]:
    return split(as_matrix(weight), rank)


def _tucker(weight: Tensor, inner: int, outer: int) -> tuple[Matrix, ...]:
    """First (inner, in), core (outer, inner, kh, kw) and last (out, outer) factor."""
    (core, (last, first)), _ = partial_tucker(
        weight.detach().double().numpy(), rank=[outer, inner], modes=[0, 1], init="svd", n_iter_max=10, tol=1e-4
    )
    return first.T, core, last


def _pair(layer: Factored, rank: int) -> Chain:
    device = layer.weight.device
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return Chain(
            nn.Linear(layer.in_features, rank, bias=False, device=device),
            nn.Linear(rank, layer.out_features, bias=bias, device=device),
        )
    first = nn.Conv2d(layer.in_channels, rank, 1, stride=layer.stride, padding=layer.padding, bias=False, device=device)  # type: ignore[arg-type]  # as its own
    return Chain(first, nn.Conv2d(rank, layer.out_channels, 1, bias=bias, device=device))


def _triple(layer: Factored, inner: int, outer: int) -> Chain:
    assert isinstance(layer, nn.Conv2d)
    device = layer.weight.device
    core = convolution_like(layer, inner, outer)
    first = nn.Conv2d(layer.in_channels, inner, 1, bias=False, device=device)
    return Chain(first, core, nn.Conv2d(outer, layer.out_channels, 1, bias=layer.bias is not None, device=device))
