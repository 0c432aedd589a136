"""A layer as a tensor train: its weights as a row of small cores, each a thin layer of its own.

The outputs and the inputs of a layer are split into factors: 64 into 8 x 8, say.  The weights are then a tensor with an
axis for each factor of the outputs, one for the kernel's places (of a convolution), and one for each factor of the
inputs.  Its tensor train has a core per axis, and neighbouring cores share a rank.  The forward pass takes the cores
from the inputs' end to the outputs', each a small product.  A convolution with one factor on each side is a 1x1, a
kernel between few channels, and a 1x1, as by Tucker-2; only the way to the cores differs.

Source: Oseledets (SIAM J. Sci. Comput. 33(5), 2011) for the algorithm, arXiv 2107.12422 for convolutions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import Factored, convolution_like
from simhw_workloads.lowrank.surgery import replace_module

L = TypeVar("L", bound=Factored)


@dataclass(frozen=True)
class TrainShape:
    """How a layer's weights are a tensor train.

    Attributes
    ----------
    outputs, inputs : tuple of int
        Factors of the layer's channels.
    ranks : tuple of int
        Between neighbouring cores: those of the outputs, the kernel (of a convolution), those of the inputs.
    """

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    ranks: tuple[int, ...]

    def axes(self, weight: Tensor) -> tuple[int, ...]:
        """The tensor's axes for such weights.

        Raises
        ------
        WorkloadError
            The factors do not make the layer's channels, or the ranks do not fit between the cores.
        """
        kernel = (weight[0, 0].numel(),) if weight.dim() > 2 else ()
        axes = (*self.outputs, *kernel, *self.inputs)
        if (prod(self.outputs), prod(self.inputs)) != weight.shape[:2] or len(self.ranks) != len(axes) - 1:
            raise WorkloadError(
                f"weights {tuple(weight.shape)} are no tensor train of outputs {self.outputs}, inputs {self.inputs} "
                f"and ranks {self.ranks}: factors must make the channels, and one rank stands between two cores"
            )
        return axes


def cores_of(weight: Tensor, shape: TrainShape) -> list[Tensor]:
    """The cores (rank, axis, rank) of a weight, by one truncated singular value decomposition after another.

    Parameters
    ----------
    weight : (out, in) or (out, in, kh, kw)
    shape : TrainShape
        Ranks that the tensor cannot have become those that it can.
    """
    axes = shape.axes(weight)
    rest = (weight.detach().flatten(2).transpose(1, 2) if weight.dim() > 2 else weight.detach()).double()
    cores, before = [], 1
    for axis, rank in zip(axes[:-1], shape.ranks, strict=True):
        left, values, right = torch.linalg.svd(rest.reshape(before * axis, -1), full_matrices=False)
        kept = min(rank, len(values))
        cores.append(left[:, :kept].reshape(before, axis, kept))
        rest, before = values[:kept, None] * right[:kept], kept
    return [*cores, rest.reshape(before, axes[-1], 1)]


def composed(cores: Sequence[Tensor], like: Tensor) -> Tensor:
    """The weight whose cores these are, in another weight's shape and type."""
    whole = cores[0]
    for core in cores[1:]:
        whole = torch.tensordot(whole, core, dims=1)
    if like.dim() > 2:
        whole = whole.reshape(like.shape[0], -1, like.shape[1]).transpose(1, 2)
    return whole.reshape(like.shape).to(like.dtype)


def truncated(weight: Tensor, shape: TrainShape) -> Tensor:
    """A weight at the ranks of a tensor train: the nearest of them but for a factor (Oseledets, corollary 2.4)."""
    return composed(cores_of(weight, shape), weight)


class TensorTrain(nn.Module):
    """The cores of a layer as layers, from that of its last input factor to that of its first output factor.

    Linear cores of a linear layer; of a convolution 1x1 cores and the kernel's, which has its stride and padding.

    Parameters
    ----------
    layer : Linear or Conv2d
        Without groups.  Its parameters may be on the meta device: then the cores have shapes and no values.
    shape : TrainShape
    """

    def __init__(self, layer: Factored, shape: TrainShape) -> None:
        super().__init__()
        self.shape = shape
        shape.axes(layer.weight)
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            raise WorkloadError(f"a convolution of {layer.groups} groups cannot be a tensor train")
        cores = _meta_cores(layer.weight, shape) if layer.weight.is_meta else cores_of(layer.weight, shape)
        outputs = len(shape.outputs)
        self.inward = nn.ModuleList(_inward(core, layer) for core in reversed(cores[len(cores) - len(shape.inputs) :]))
        self.kernel = _kernel(cores[outputs], layer) if isinstance(layer, nn.Conv2d) else nn.Identity()
        self.outward = nn.ModuleList(_outward(core, layer) for core in reversed(cores[:outputs]))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) to (N, out), or (N, in, H, W) to (N, out, H', W')."""
        samples, spatial = x.shape[0], x.shape[2:]
        rank, size = 1, prod(self.shape.inputs)
        for core, axis in zip(self.inward, reversed(self.shape.inputs), strict=True):
            size //= axis
            # The factors that are still to come stand beside the samples: each has the same core.
            x = core(x.reshape(samples * size, axis * rank, *spatial))
            rank = x.shape[1]
        x = self.kernel(x)
        spatial, given = x.shape[2:], 1
        for core, axis in zip(self.outward, reversed(self.shape.outputs), strict=True):
            x = core(x)
            rank = x.shape[1] // axis
            # (N, done, axis, rank) to (N, axis, done, rank): the factor just made is a slower one than those before.
            x = x.reshape(samples, given, axis, rank, *spatial).transpose(1, 2)
            given *= axis
            x = x.reshape(samples * given, rank, *spatial)
        x = x.reshape(samples, given, *spatial)
        return x if self.bias is None else x + self.bias.reshape(-1, *(1 for _ in spatial))


def to_tensor_train(model: nn.Module, shapes: Mapping[str, TrainShape]) -> nn.Module:
    """Put tensor trains in the place of layers.

    Parameters
    ----------
    model : Module
        Changed in place.
    shapes : mapping of module path to TrainShape

    Raises
    ------
    WorkloadError
        A path leads to no linear layer or convolution, or the shape does not fit.
    """
    for path, shape in shapes.items():
        layer = dict(model.named_modules()).get(path)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise WorkloadError(f"{type(model).__name__} has no linear layer or convolution {path!r} to take apart")
        replace_module(model, path, TensorTrain(layer, shape))
    return model


def _meta_cores(weight: Tensor, shape: TrainShape) -> list[Tensor]:
    axes, before, cores = shape.axes(weight), 1, []
    for place, axis in enumerate(axes):
        most = min(before * axis, prod(axes[place + 1 :]))
        after = min(shape.ranks[place], most) if place < len(shape.ranks) else 1
        cores.append(torch.empty(before, axis, after, device="meta"))
        before = after
    return cores


def _inward(core: Tensor, layer: Factored) -> Factored:
    before, axis, after = core.shape
    return _pointwise(core.reshape(before, axis * after), layer)


def _outward(core: Tensor, layer: Factored) -> Factored:
    before, axis, after = core.shape
    return _pointwise(core.transpose(0, 1).reshape(axis * before, after), layer)


def _kernel(core: Tensor, layer: nn.Conv2d) -> nn.Conv2d:
    before, _, after = core.shape
    made = convolution_like(layer, after, before)
    return _with(made, core.transpose(1, 2).reshape(made.weight.shape))


def _pointwise(matrix: Tensor, layer: Factored) -> Factored:
    outputs, inputs = matrix.shape
    if isinstance(layer, nn.Linear):
        return _with(nn.Linear(inputs, outputs, bias=False, device=layer.weight.device), matrix)
    return _with(nn.Conv2d(inputs, outputs, 1, bias=False, device=layer.weight.device), matrix[:, :, None, None])


@torch.no_grad()
def _with(layer: L, weight: Tensor) -> L:
    if not weight.is_meta:
        layer.weight.copy_(weight)
    return layer
