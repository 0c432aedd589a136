"""A network's layers by shape, from a PyTorch model: its forward pass runs on tensors without values."""

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map

from simhw.capture.functions import plain_attention
from simhw.capture.names import Names
from simhw.capture.options import whole_number
from simhw.errors import CaptureError
from simhw.roofline.from_model.constants import Constants
from simhw.roofline.from_model.functions import ShapeFunctions, attention
from simhw.roofline.from_model.record import OperatorRecord
from simhw.roofline.from_model.recorder import ShapeRecorder
from simhw.roofline.layers.network import (
    FORK,
    Conv,
    Experts,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    RecurrentLayer,
    Weight,
)

BATCHES = (2, 3)
"""The model runs with both: sizes that grow from one to the other in proportion are per sample."""
_GROWING = ("rows", "products", "m", "n", "elements", "channels")
_PRODUCTS = (Conv, Linear, Experts, MatMul, RecurrentLayer)


def network_of(
    model: nn.Module, inputs: Tensor | Sequence[Any], name: str = "", batch_axis: int = 0, values: bool = False
) -> Network:
    """The network that a model's forward pass is, with every operator that PyTorch ran.

    The model is copied without its values and run twice on meta tensors, with 2 and 3 samples, in the mode that it is
    in (training or evaluation; dropout is recorded in both).  Nothing of the model changes, and nothing of its size is
    allocated.

    - Products are convolutions, linear layers and products of activations; attention is taken apart into scale,
      product, mask, softmax and product.  A convolution that runs on the frames of a sample one by one gets a further
      dimension of kernel 1.
    - Elementwise functions count the tensors that they read at full size.  A reduction along axes is a pool.  Every
      other operator that multiplies nothing is a pass over its largest tensor.
    - A transposed convolution is a product at every position and the sum of what overlaps (``col2im``); a bilinear
      layer two products; an embedding bag lookups and a pool.  Group and instance norms are layer norms with a scale
      per channel.
    - Views cost nothing; what copies is a ``copy``.  ``fork`` stands after each value that is used more than once.
    - Parameters that no layer holds are a `Weight`.

    Parameters
    ----------
    model : Module
    inputs : Tensor or sequence
        Of the forward pass, as it takes them, with any number of samples.  Their shapes and types count, and the values
        of the first sample where the model asks for them; without any (on the meta device) nothing is taken to be
        padding.
    name : str
        Of the network; by default the model's class.
    batch_axis : int
        The axis of samples in every tensor of `inputs` (1 for recurrent layers that have time first).
    values : bool
        Run on a real copy of the model instead, for a model whose forward pass asks for values.

    Returns
    -------
    Network
        `source` says where it comes from, and what of the model it does not hold.

    Raises
    ------
    CaptureError
        An argument cannot be used, or an operator multiplies in a way that has no layer, needs values, or does not grow
        with the batch; the message names it.
    """
    if not isinstance(model, nn.Module):
        raise CaptureError(f"a network is captured from a torch.nn.Module, not from a {type(model).__name__}")
    if not isinstance(inputs, (Tensor, list, tuple)):
        raise CaptureError(
            f"inputs of type {type(inputs).__name__}: give a tensor, or a list of what the forward pass takes"
        )
    batch_axis = whole_number("batch_axis", batch_axis, 0, "the axis of samples, counted from 0") or 0
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    runs = [_run(model, _with_batch(given, batch, batch_axis), values) for batch in BATCHES]
    (few, unused), (many, _) = runs
    if [record.operator for record in few] != [record.operator for record in many]:
        raise CaptureError(
            f"{type(model).__name__} runs other operators with {BATCHES[1]} samples than with {BATCHES[0]}; it has "
            "no layers per sample"
        )
    layers: list[NetworkLayer] = []
    left_out: dict[str, int] = {}
    names: dict[str, int] = {}
    for a, b in zip(few, many, strict=True):
        for layer in _per_sample(a, b):
            if layer is None:
                left_out[a.operator] = left_out.get(a.operator, 0) + 1
                continue
            names[layer.name] = names.get(layer.name, 0) + 1
            layers.append(layer if names[layer.name] == 1 else replace(layer, name=f"{layer.name}#{names[layer.name]}"))
    network = Network(name or type(model).__name__, tuple(layers))
    return replace(network, source=_source(model, given, network, left_out, unused))


def _run(model: nn.Module, inputs: tuple[Any, ...], values: bool) -> tuple[list[OperatorRecord], list[str]]:
    """The records of a forward pass of a copy, and the parameters that it did not use."""
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise CaptureError(
            f"parameter {lazy[0]} has no shape yet: run the model once, so that its lazy modules take theirs"
        )
    bare = copy.deepcopy(model, _without_values(model)) if not values else copy.deepcopy(model)
    names = Names({"": bare})
    modules = [(path, module) for path, module in bare.named_modules() if path and not any(module.children())]
    leaves = {path for path, module in modules if type(module).__module__.startswith("torch.nn.")}
    read = [each for each in tree_leaves(inputs) if isinstance(each, Tensor)]
    constants = None
    if not values:
        without = {id(each): torch.empty_like(each, device="meta") for each in read}
        constants = Constants([(without[id(each)], each.cpu()) for each in read if not each.is_meta])
        inputs = tree_map(lambda each: without.get(id(each), each), inputs)
        read = list(without.values())
    recorder = ShapeRecorder(names, leaves, dict(bare.named_parameters()), read, constants)
    with ExitStack() as around:
        around.enter_context(torch.no_grad())
        around.enter_context(plain_attention())
        if not values:
            around.enter_context(torch.device("meta"))
        functions = ShapeFunctions(recorder)
        for context in (names, recorder, functions):
            around.enter_context(context)
        for module, called, ours in (
            # nn.MultiheadAttention calls them where function modes do not see it.
            (torch.nn.functional, "scaled_dot_product_attention", attention),
            (torch.nn.functional, "dropout", functions.dropout),
            (torch.nn.functional, "linear", functions.linear),
            (torch, "autocast", _Autocast),
        ):
            around.callback(setattr, module, called, getattr(module, called))
            setattr(module, called, ours)
        try:
            bare(*inputs)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            # A tensor without values that is given to NumPy is an error of types.
            if values or (isinstance(error, TypeError) and "meta" not in str(error)):
                raise
            first = str(error).splitlines()[0]
            where = recorder.failed or type(model).__name__
            raise CaptureError(
                f"{where} does not run on tensors without values; give inputs that have some, or values=True: {first}"
            ) from error
    return recorder.records, recorder.unused


class _Autocast(torch.autocast):
    """Autocast that a model asks of the device of its tensors, which is none that autocast knows."""

    def __init__(self, device_type: str, *args: Any, **given: Any) -> None:
        super().__init__("cpu" if device_type == "meta" else device_type, *args, **given)


def _without_values(model: nn.Module) -> dict[int, Any]:
    """What a deep copy shall take for each tensor of a model: one of its shape on the meta device."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                bare = torch.empty_like(tensor, device="meta", requires_grad=False)
                memo[id(tensor)] = (
                    nn.Parameter(bare, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else bare
                )
    return memo


def _with_batch(inputs: tuple[Any, ...], batch: int, axis: int) -> tuple[Any, ...]:
    """The inputs with so many samples."""

    def change(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.dim() <= axis or not value.numel():
            raise CaptureError(
                f"an input of shape {tuple(value.shape)} has no samples along axis {axis}; give batch_axis"
            )
        return value.index_select(axis, torch.zeros(batch, dtype=torch.long, device=value.device))

    return tuple(tree_map(change, value) for value in inputs)


def _per_sample(a: OperatorRecord, b: OperatorRecord) -> list[NetworkLayer | None]:
    """The layer of one sample, and the fork after it if its value is used more than once; None where it does not grow
    with the batch.
    """
    layer = a.layer
    if isinstance(layer, Weight):
        return [layer]
    if type(a.layer) is not type(b.layer) or a.layer.name != b.layer.name:
        raise CaptureError(f"{a.layer.name}: runs otherwise with another batch; it has no layers per sample")
    differ = {field.name for field in fields(layer) if getattr(layer, field.name) != getattr(b.layer, field.name)}
    if a.images != b.images:
        differ.add("images")
    if not differ:
        if isinstance(layer, _PRODUCTS) and not a.constant:
            raise CaptureError(
                f"layer {layer.name!r}: the product {a.operator} does not grow with the batch, but is done once for "
                "all samples; "
                "a network by shape has sizes per sample alone"
            )
        # A table that is looked up once for all samples, such as one of positions, is updated all the same.
        return [None, *([Weight(layer.name, layer.parameters, layer.trainable)] if layer.parameters else [])]  # type: ignore[union-attr]  # it has parameters
    if isinstance(layer, Pool) and a.counts and len(differ) > 1:
        return [None]  # how many entries of all samples' masks are set
    if isinstance(layer, Normalization) and "channels" in differ:
        raise CaptureError(
            f"layer {layer.name!r} normalises each sample by itself, which no layer of a network by shape does"
        )
    sizes = {name: (getattr(a.layer, name, a.images), getattr(b.layer, name, b.images)) for name in differ}
    if (
        len(differ) > 1
        or not differ <= {"images", *_GROWING}
        or any(few * BATCHES[1] != many * BATCHES[0] for few, many in sizes.values())
    ):
        raise CaptureError(
            f"layer {layer.name!r}: operator {a.operator} works across samples or on a part of them "
            f"({', '.join(sorted(differ))} change with the batch); it cannot be split into samples"
        )
    (growing,) = differ
    if growing == "images":
        split = _frames(layer, a.images // BATCHES[0])
    else:
        split = replace(layer, **{growing: getattr(layer, growing) // BATCHES[0]})
    if a.uses < 2:
        return [split]
    return [split, Pointwise(f"{layer.name}.fork", FORK, a.elements // BATCHES[0], a.uses)]


def _frames(layer: NetworkLayer, frames: int) -> NetworkLayer:
    """A convolution over a sample's frames one by one: a further dimension of kernel 1."""
    if frames == 1:
        return layer
    if not isinstance(layer, Conv) or len(layer.size) > 2:
        raise CaptureError(
            f"layer {layer.name!r} runs {frames} times on each sample at once; a network by shape cannot say that"
        )
    return replace(
        layer,
        size=(frames, *layer.size),
        kernel=(1, *layer.kernel),
        stride=(1, *layer.stride),
        padding=(0, *layer.padding),
        dilation=(1, *layer.dilation),
    )


def _source(
    model: nn.Module, inputs: tuple[Any, ...], network: Network, left_out: dict[str, int], unused: list[str]
) -> str:
    shapes = ", ".join("x".join(str(n) for n in each.shape) for each in tree_leaves(inputs) if isinstance(each, Tensor))
    parts = [
        f"captured from {type(model).__module__}.{type(model).__qualname__} on {shapes}, PyTorch {torch.__version__}"
    ]
    if left_out:
        parts.append(
            "done once for all samples and not held: "
            + ", ".join(f"{count} {name}" for name, count in left_out.items())
        )
    parameters = sum(each.numel() for name, each in model.named_parameters() if name not in set(unused))
    if parameters != network.parameters:
        parts.append(
            f"layers hold {network.parameters:,} parameters, the model {parameters:,}: weights shared by layers "
            "count in each, "
            "recurrent layers and normalisations with all their biases and scales"
        )
    if unused:
        parts.append(f"{len(unused)} parameters are not used, such as {unused[0]}")
    return "; ".join(parts)
