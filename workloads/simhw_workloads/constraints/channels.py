"""Taking channels out of a network for good: of the layer that makes them, of its batch norm, and of the layer that
reads them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.constraints.masks import weight_of
from simhw_workloads.lowrank.chain import Factored, convolution_like
from simhw_workloads.lowrank.surgery import replace_module
from simhw_workloads.models.digit_cnn import DigitCNN


def reader_of(model: DigitCNN, path: str) -> str:
    """The layer that reads what a layer makes.

    Raises
    ------
    WorkloadError
        It is the last one, or none of the model's.
    """
    if path not in model.ORDER[:-1]:
        raise WorkloadError(f"no layer reads the outputs of {path!r}; layers that others read are {model.ORDER[:-1]}")
    return model.ORDER[model.ORDER.index(path) + 1]


def keep_outputs(model: DigitCNN, path: str, kept: Tensor) -> None:
    """Keep only some outputs of a layer: the network computes what it did, as if the others were zero.

    Parameters
    ----------
    model : DigitCNN
        Changed in place.  Its parameters may be on the meta device.
    path : str
        The layer and its reader must be whole.
    kept : (outputs,) bool
        At least one.

    Raises
    ------
    WorkloadError
        Nothing is kept, or no layer reads the outputs.
    """
    reader_path = reader_of(model, path)
    maker, reader = model.get_submodule(path), model.get_submodule(reader_path)
    assert isinstance(maker, nn.Linear | nn.Conv2d)
    assert isinstance(reader, nn.Linear | nn.Conv2d)
    if not bool(kept.any()):
        raise WorkloadError(f"{path}: none of its {len(kept)} outputs is kept; keep at least one")
    # Behind a flattening each channel is several of the reader's inputs in a row.
    inputs = kept.repeat_interleave(reader.weight.shape[1] // len(kept))
    replace_module(model, path, _narrowed(maker, kept, torch.ones(maker.weight.shape[1], dtype=torch.bool)))
    replace_module(model, reader_path, _narrowed(reader, torch.ones(reader.weight.shape[0], dtype=torch.bool), inputs))
    if isinstance(maker, nn.Conv2d):
        name = path.replace("conv", "bn")
        replace_module(model, name, _narrowed_norm(model.get_submodule(name), kept))


def keep_counts(model: DigitCNN, counts: Mapping[str, int]) -> DigitCNN:
    """Keep only so many outputs of layers, the first: of a model whose shapes matter and not its values."""
    for path, count in counts.items():
        keep_outputs(model, path, torch.arange(full_widths(model)[path]) < count)
    return model


def full_widths(model: DigitCNN) -> dict[str, int]:
    """How many outputs each layer has that another reads."""
    return {path: len(weight_of(model, path)) for path in model.ORDER[:-1]}


@torch.no_grad()
def _narrowed(layer: Factored, outputs: Tensor, inputs: Tensor) -> Factored:
    made, taken, bias = int(outputs.sum()), int(inputs.sum()), layer.bias is not None
    new: Factored
    if isinstance(layer, nn.Linear):
        new = nn.Linear(taken, made, bias=bias, device=layer.weight.device)
    else:
        new = convolution_like(layer, taken, made, bias=bias)
    if not layer.weight.is_meta:
        new.weight.copy_(layer.weight[outputs][:, inputs])
        if layer.bias is not None:
            assert new.bias is not None
            new.bias.copy_(layer.bias[outputs])
    return new.train(layer.training)


@torch.no_grad()
def _narrowed_norm(norm: nn.Module, kept: Tensor) -> nn.BatchNorm2d:
    assert isinstance(norm, nn.BatchNorm2d)
    new = nn.BatchNorm2d(int(kept.sum()), eps=norm.eps, device=norm.weight.device)
    if not norm.weight.is_meta:
        for name, value in norm.state_dict().items():
            getattr(new, name).copy_(value[kept] if value.dim() else value)
    return new.train(norm.training)
