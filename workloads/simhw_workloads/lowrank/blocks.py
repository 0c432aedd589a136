"""A linear layer as two block-diagonal products with a permutation between: Monarch matrices, and AntMan's layers.

The inputs are cut into blocks of neighbours, the outputs into as many blocks, every so-manieth output in one.  Each
block of inputs sends `rank` values to each block of outputs.  So the dense weights, cut the same way, are a grid of
blocks of that rank, and the closest such matrix to a dense one has the best factors of each block by itself.

A block-diagonal product is a grouped 1x1 convolution: as such it runs, and as such a trace shows it.  Source: Monarch,
arXiv 2204.00595 (ranks of more than 1: its code); AntMan, arXiv 1910.01740; spec page techniques.md, 2.4 and 2.17.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Linear, Network, NetworkLayer
from simhw_workloads.lowrank.surgery import replace_module


class BlockProduct(nn.Module):
    """P L P R x + bias with block-diagonal L and R.

    Parameters
    ----------
    inputs, outputs : int
        Multiples of `blocks`.
    blocks : int
        Of L and of R.
    rank : int
        Values from each block of inputs to each block of outputs; at most the sizes of both.
    bias : bool

    Raises
    ------
    WorkloadError
        The sizes do not fit.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        if blocks < 1 or inputs % blocks or outputs % blocks or not 1 <= rank <= min(inputs, outputs) // blocks:
            raise WorkloadError(f"{inputs} inputs and {outputs} outputs have no {blocks} blocks with ranks of {rank}")
        self.blocks, self.rank = blocks, rank
        self.first = nn.Conv1d(inputs, blocks * blocks * rank, 1, groups=blocks, bias=False)
        self.last = nn.Conv1d(blocks * blocks * rank, outputs, 1, groups=blocks, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs), or (N, T, inputs) to (N, T, outputs)."""
        columns = x[:, :, None] if x.dim() == 2 else x.mT
        between = self.first(columns)
        count, positions = len(between), between.shape[2]
        sent = between.reshape(count, self.blocks, self.blocks, self.rank, positions).transpose(1, 2)
        blocked = self.last(sent.reshape(count, -1, positions))
        # From outputs block by block to every so-manieth in one block.
        result: Tensor = blocked.reshape(count, self.blocks, -1, positions).transpose(1, 2).flatten(1, 2)
        return result[:, :, 0] if x.dim() == 2 else result.mT

    @torch.no_grad()
    def to_dense(self) -> Tensor:
        """The weights (outputs, inputs) of the linear layer that computes the same."""
        inner, outer = self._factors()
        return torch.einsum("lskr,klrp->slkp", outer, inner).reshape(self.last.out_channels, self.first.in_channels)

    def to_linear(self) -> nn.Linear:
        """The linear layer that computes the same."""
        bias = self.last.bias is not None
        layer = nn.Linear(self.first.in_channels, self.last.out_channels, bias, device=self.first.weight.device)
        with torch.no_grad():
            layer.weight.copy_(self.to_dense())
            if self.last.bias is not None:
                layer.bias.copy_(self.last.bias.reshape(self.blocks, -1).T.flatten())
        return layer.train(self.training)

    @torch.no_grad()
    def take(self, inner: Tensor, outer: Tensor) -> None:
        """Set the factors: (k, l, rank, inputs / blocks), (l, outputs / blocks, k, rank) for block k to block l."""
        self.first.weight.copy_(inner.reshape(self.first.weight.shape))
        self.last.weight.copy_(outer.reshape(self.last.weight.shape))

    @torch.no_grad()
    def take_bias(self, bias: Tensor) -> None:
        """Set the bias (outputs,), in the order of the outputs."""
        assert self.last.bias is not None
        self.last.bias.copy_(bias.reshape(-1, self.blocks).T.flatten())

    def _factors(self) -> tuple[Tensor, Tensor]:
        inner = self.first.weight.reshape(self.blocks, self.blocks, self.rank, -1)
        return inner, self.last.weight.reshape(self.blocks, -1, self.blocks, self.rank)


def projected(layer: nn.Linear, blocks: int, rank: int) -> BlockProduct:
    """The closest block product to a linear layer: of every block the best factors of the rank.

    The distance is that of Frobenius; a layer that is such a product already is met exactly.

    Raises
    ------
    WorkloadError
        As of `BlockProduct`.
    """
    product = _like(layer, blocks, rank)
    grid = layer.weight.detach().double().reshape(-1, blocks, blocks, layer.in_features // blocks).permute(2, 1, 0, 3)
    left, values, right = torch.linalg.svd(grid, full_matrices=False)
    root = values[..., :rank].sqrt()
    product.take(root[..., None] * right[..., :rank, :], (left[..., :rank] * root[..., None, :]).permute(1, 2, 0, 3))
    return product


def drawn(layer: nn.Linear, blocks: int, rank: int) -> BlockProduct:
    """A block product to train from scratch: random, its dense weights as large in the mean square as the layer's.

    A dense weight is a sum of `rank` products of two drawn values.

    Raises
    ------
    WorkloadError
        As of `BlockProduct`.
    """
    product = _like(layer, blocks, rank)
    if not layer.weight.is_meta:
        scale = float(layer.weight.detach().square().mean()) ** 0.5 / sqrt(rank)
        for factor in (product.first, product.last):
            nn.init.normal_(factor.weight, std=sqrt(scale))
    return product


def _like(layer: nn.Linear, blocks: int, rank: int) -> BlockProduct:
    """With the sizes and the bias of a layer."""
    with layer.weight.device:
        product = BlockProduct(layer.in_features, layer.out_features, blocks, rank, layer.bias is not None)
    if layer.bias is not None and not layer.weight.is_meta:
        product.take_bias(layer.bias.detach())
    return product.train(layer.training)


def block_products(model: nn.Module) -> dict[str, BlockProduct]:
    """The block products of a model, by path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, BlockProduct)}


def linear_layers(model: nn.Module, paths: Iterable[str]) -> dict[str, nn.Linear]:
    """The linear layers of a model that stand at or below some paths."""
    below = tuple(paths)
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(path == each or path.startswith(each + ".") for each in below)
    }


def expand(model: nn.Module) -> nn.Module:
    """Put linear layers in the place of all block products: the model computes the same and learns densely."""
    for path, product in block_products(model).items():
        replace_module(model, path, product.to_linear())
    return model


def with_block_products(network: Network, below: str, blocks: int, rank: Callable[[int, int], int]) -> Network:
    """A network by shape with block products in the place of the linear layers whose names begin so.

    Parameters
    ----------
    network : Network
    below : str
    blocks : int
    rank : callable
        Of a layer's inputs and outputs.
    """
    layers: list[NetworkLayer] = []
    for layer in network.layers:
        if isinstance(layer, Linear) and layer.name.startswith(below):
            sizes = layer.in_features, layer.out_features
            with torch.device("meta"):
                product = BlockProduct(*sizes, blocks, rank(*sizes), layer.bias)
            parts = network_of(product, torch.zeros(1, layer.rows, layer.in_features)).layers
            layers += [replace(part, name=f"{layer.name}.{part.name}") for part in parts]
        else:
            layers.append(layer)
    return replace(network, name=f"{network.name}-blocks{blocks}", layers=tuple(layers))
