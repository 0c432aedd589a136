"""Functions that a capture of shapes meets as a whole, before PyTorch takes them apart: they are layers of their own.

Recurrent layers and cells, linear layers, dropout (which is nothing in evaluation) and attention, which is run as its
products.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from simhw.capture.recurrent import RECURRENT_CELLS, RECURRENT_LAYERS
from simhw.capture.vectors import VECTOR_PRODUCTS
from simhw.errors import CaptureError
from simhw.roofline.from_model.recorder import ShapeRecorder

_ATTENTION = torch.nn.functional.scaled_dot_product_attention
_LINEAR = torch.nn.functional.linear
_RMS_NORMS = (torch.nn.functional.rms_norm, torch.rms_norm)
_DROPOUTS = (
    torch.nn.functional.dropout,
    torch.nn.functional.dropout1d,
    torch.nn.functional.dropout2d,
    torch.nn.functional.dropout3d,
)


class ShapeFunctions(TorchFunctionMode):
    """Functions that are layers as a whole, though PyTorch runs them as several operators or as fused ones."""

    def __init__(self, recorder: ShapeRecorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run `func`, and record it where it is one of these."""
        given, recorder = dict(kwargs or {}), self._recorder
        if func is _ATTENTION:
            return attention(*args, **given)
        if func in RECURRENT_LAYERS:
            return self._recurrent(func, args, given)
        if func in RECURRENT_CELLS:
            with recorder.hidden():
                result = func(*args, **given)
            state = args[1][0] if isinstance(args[1], (tuple, list)) else args[1]
            output = result[0] if isinstance(result, tuple) else result
            recorder.cell(RECURRENT_CELLS[func], args[0], state, args[2:4], args[4:6], output)
            return result
        if func is _LINEAR:
            return self.linear(*args, **given)
        if func in _DROPOUTS:
            return self.dropout(*args, **given)
        if func == torch.bilinear:
            return self.bilinear(*args, **given)
        if func in VECTOR_PRODUCTS:
            return VECTOR_PRODUCTS[func](*args, **given)
        if func in (Tensor.tolist, Tensor.__contains__) and args[0].is_meta:
            value = recorder.value(args[0])
            if func is Tensor.__contains__:  # of padding, which inputs that are not known are taken not to have
                return value is not None and args[1] in tree_leaves(value.tolist())
            if value is not None:
                return value.tolist()
        if func in _RMS_NORMS:
            return self.rms_norm(*args, **given)
        if func is torch.nn.functional.instance_norm:
            with recorder.hidden():
                result = func(*args, **given)
            weights = [*args[3:5], *(given[each] for each in ("weight", "bias") if each in given)]
            recorder.channel_norm("aten::instance_norm", args[0], weights, result)
            return result
        return func(*args, **given)

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # PyTorch's names
        """Record a linear layer; one whose weights are computed is a product of activations."""
        if weight.dim() == 1 and bias is None:
            return self.linear(input, weight[None, :]).squeeze(-1)
        known = self._recorder.is_weight(weight)
        # Without function modes, which would come back here.
        with self._recorder.hidden() if known else nullcontext(), torch._C.DisableTorchFunction():
            result = _LINEAR(input, weight, bias)
        if not known:
            return result
        self._recorder.linear("aten::linear", input, weight, bias, result)
        return result

    def dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: ARG002  # PyTorch's signature
        """Record a dropout, in evaluation too: there it is nothing, but a step of training may be asked of the same
        network.
        """
        if p <= 0:
            return x
        with self._recorder.hidden():
            result = torch.empty_like(x).copy_(x)
        self._recorder.pointwise("dropout", "dropout", [x], result)
        return result

    def rms_norm(
        self,
        input: Tensor,  # PyTorch's name
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        """Record an RMS norm."""
        with self._recorder.hidden(), torch._C.DisableTorchFunction():
            result = torch.rms_norm(input, normalized_shape, weight, eps)
        self._recorder.rms_norm("aten::rms_norm", input, normalized_shape, weight, result)
        return result

    def bilinear(self, first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Record x W y as its products: x with every matrix of W, as a linear layer, and what that gives with y."""
        outputs, inputs, others = weight.shape
        with self._recorder.hidden():
            table = weight.permute(0, 2, 1).reshape(outputs * others, inputs)
            turned = torch.empty((*first.shape[:-1], outputs * others), dtype=first.dtype, device=first.device)
        self._recorder.linear("aten::bilinear", first, table, None, turned, held=weight)
        result = (turned.reshape(-1, outputs, others) @ second.reshape(-1, others, 1)).reshape(
            *first.shape[:-1], outputs
        )
        return result if bias is None else result + bias

    def _recurrent(self, func: Callable[..., Any], args: Sequence[Any], given: dict[str, Any]) -> Any:
        recorder, cell = self._recorder, RECURRENT_LAYERS[func]
        if given or len(args) != 9:
            raise CaptureError(f"{cell}: called in a form that is not known")
        x, _, weights, biases, layers, dropout, _, bidirectional, batch_first = args
        if not isinstance(x, Tensor) or isinstance(weights, Tensor):
            raise CaptureError(
                f"{cell}: packed sequences have no single length; give padded ones to capture a network by shape"
            )
        with recorder.hidden():
            result = func(*args)
        batch, steps = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
        directions = 2 if bidirectional else 1
        each = len(weights) // (layers * directions)
        if each != (4 if biases else 2):
            raise CaptureError(
                f"{cell}: a projection of the state has no layer in a network by shape; it cannot be captured"
            )
        for number in range(layers):
            for direction in range(directions):
                own = weights[(number * directions + direction) * each :][:each]
                recorder.recurrent(cell, batch, steps, own, [x] if number == 0 else [], result[0])
            if dropout and number + 1 < layers:
                with recorder.hidden():
                    between = torch.empty_like(result[0])
                recorder.pointwise("dropout", "dropout", [], between)
        return result


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot-product attention as scale, product, mask, softmax, dropout and product."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scores = (query * (scale or query.shape[-1] ** -0.5)) @ key.mT
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights = torch.softmax(scores, -1)
    if dropout_p > 0:
        weights = torch.nn.functional.dropout(
            weights, dropout_p, training=True
        )  # which is `ShapeFunctions.dropout` here
    return weights @ value
