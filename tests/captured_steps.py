"""Captured steps for the tests of capture: small models with values that bfloat16 holds exactly."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import simhw
from simhw.bfloat16 import to_float32
from simhw.capture import Capture
from simhw.trace.layer import Layer
from simhw.trace.trace import Trace

ALL = ("forward", "input_grad", "weight_grad")


def coarse(*shape: int) -> Tensor:
    """Random values with few bits: bfloat16 holds them exactly, and float32 their products and sums."""
    return torch.randint(-8, 9, shape).float() / 8


def coarsened(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(coarse(*tensor.shape))
    return model


def captured(model: nn.Module, step: Callable[[], object], folder: Path, **options: object) -> Trace:
    capture = Capture(model, folder / "step.npz", **options)  # type: ignore[arg-type]
    with capture.step():
        step()
    return simhw.load_trace(folder / "step.npz")


def values(bits: np.ndarray) -> Tensor:
    return torch.from_numpy(to_float32(bits).copy())


def convolution(layer: Layer) -> Callable[[Tensor, Tensor], Tensor]:
    function = getattr(functional, layer.kind)
    g = layer.geometry
    if layer.kind.startswith("conv_transpose"):
        return lambda a, w: function(a, w, None, g.stride, g.padding, g.output_padding, g.groups, g.dilation)
    return lambda a, w: function(a, w, None, g.stride, g.padding, g.dilation, g.groups)


def products(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """Output, input gradient and weight gradient, recomputed from a layer's tensors as its kind says."""
    a, w, g = (values(t).requires_grad_() for t in (layer.a, layer.w, layer.g))
    if layer.kind.startswith("conv"):
        output = convolution(layer)(a, w)
    elif layer.kind == "matmul":
        output = a @ w
    else:
        output = a @ w.mT
    assert output.shape == g.shape
    input_grad, weight_grad = torch.autograd.grad(output, (a, w), g.detach())
    return output.detach(), input_grad, weight_grad
