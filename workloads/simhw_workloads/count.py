"""Counts the multiply-accumulates that a step runs, with PyTorch's own counter of operations."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count


def _convolution_backward(
    gradient: list[int],
    inputs: list[int],
    weights: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: list[bool],
    **_: Any,
) -> int:
    """Operations of a convolution's gradients: each that is wanted takes as many as the forward pass.

    PyTorch's own formula counts the weights' gradient of a grouped convolution as if it had no groups.
    """
    forward: int = conv_flop_count(inputs, weights, gradient, transposed)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))


class MacCounter(FlopCounterMode):
    """Counts the operations that run inside its ``with`` block."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates so far; PyTorch counts each as two operations."""
        return int(self.get_total_flops()) // 2


def mac_counter() -> MacCounter:
    """A counter that starts at 0."""
    return MacCounter(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})


@torch.no_grad()
def zero_product_share(model: nn.Module, inputs: Tensor) -> float:
    """Share of a forward pass's products whose activation is zero, of convolutions and linear layers.

    Padding counts as an activation that is as often zero as the others of its layer.

    Parameters
    ----------
    model : nn.Module
        Runs in the mode that it is in.
    inputs : Tensor
    """
    zero = total = 0.0

    def see(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal zero, total
        weight = layer.get_parameter("weight")
        places = output.numel() // weight.shape[0]
        total += places * weight.numel()
        zero += places * weight.numel() * float((given[0] == 0).float().mean())

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(see) for layer in layers]
    model(inputs)
    for handle in handles:
        handle.remove()
    return zero / total
