"""Layer merging: a bottleneck's 3x3 is decomposed, and its outer factors go into the 1x1 convolutions before and behind
it.

The block stays three convolutions deep, where a chain would be five, and becomes narrower inside.  Batch norm and ReLU
stand between the factors and the convolutions that they go into.  Batch norm is linear in evaluation, so its scale and
shift go along exactly; ReLU then acts on fewer, mixed channels, which is another function: fine-tuning has to mend
that. Source: arXiv 2407.20266; spec page techniques.md, 5.1.
"""

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import factored
from simhw_workloads.models.resnet import Bottleneck


def merge(model: nn.Module, share: float = 0.5) -> nn.Module:
    """Make every bottleneck as narrow inside as a Tucker-2 rank of `share` of its channels.

    Without its ReLUs a merged block computes in evaluation exactly what it would with its 3x3 in factors of that rank.

    Parameters
    ----------
    model : Module
        Changed in place.  Its parameters may be on the meta device.
    share : float
        One half reproduces the published multiply-accumulates.

    Raises
    ------
    WorkloadError
        There is no bottleneck, or the share leaves no channel.
    """
    blocks = [module for module in model.modules() if isinstance(module, Bottleneck)]
    if not blocks:
        raise WorkloadError(f"{type(model).__name__} has no bottlenecks to merge factors into")
    for block in blocks:
        inner, outer = int(block.conv2.in_channels * share), int(block.conv2.out_channels * share)
        if min(inner, outer) < 1:
            raise WorkloadError(f"{share:g} of {block.conv2.in_channels} channels is less than one")
        _merge(block, inner, outer)
    return model


@torch.no_grad()
def _merge(block: Bottleneck, inner: int, outer: int) -> None:
    first, core, last = factored(block.conv2, (inner, outer)).factors.values()
    assert isinstance(core, nn.Conv2d)
    mixed, spread = first.weight.flatten(1), last.weight.flatten(1)
    scale, _ = _affine(block.bn1)
    before = _pointwise(block.conv1, mixed @ (scale[:, None] * block.conv1.weight.flatten(1)))
    norm1 = _norm(block.bn1, inner)
    if not mixed.is_meta:
        # Mean and variance (as if channels were independent) of the mixed ones; in evaluation they pass but for the
        # shift.
        assert block.bn1.running_mean is not None
        _set_norm(
            norm1, mixed @ (scale * block.bn1.running_mean), mixed**2 @ block.bn1.weight**2, mixed @ block.bn1.bias
        )
    scale, shift = _affine(block.bn2)
    behind = _pointwise(block.conv3, block.conv3.weight.flatten(1) @ (scale[:, None] * spread))
    norm2 = _norm(block.bn2, outer)
    if not mixed.is_meta:
        assert block.bn2.running_mean is not None
        assert block.bn2.running_var is not None
        mean = torch.linalg.lstsq(spread, block.bn2.running_mean[:, None]).solution[:, 0]
        variance = torch.linalg.pinv(spread) ** 2 @ block.bn2.running_var
        _set_norm(norm2, mean, variance, mean)
        # The shift that bn2 gave goes through conv3, and bn3 takes what comes out of it from its mean.
        assert block.bn3.running_mean is not None
        block.bn3.running_mean -= block.conv3.weight.flatten(1) @ shift
    block.conv1, block.bn1, block.conv2, block.bn2, block.conv3 = before, norm1, core, norm2, behind


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel in evaluation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - scale * norm.running_mean


def _pointwise(layer: nn.Conv2d, weight: Tensor) -> nn.Conv2d:
    outputs, inputs = weight.shape
    new = nn.Conv2d(inputs, outputs, 1, bias=False, device=weight.device).train(layer.training)
    if not weight.is_meta:
        new.weight.copy_(weight[:, :, None, None])
    return new


def _norm(norm: nn.BatchNorm2d, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=norm.eps, device=norm.weight.device).train(norm.training)


def _set_norm(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, bias: Tensor) -> None:
    """Statistics of its inputs, a scale that leaves them as they are, and a bias in place of their mean."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.copy_(bias)
