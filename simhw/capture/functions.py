"""Functions that a captured step runs in another form: one whose products the dispatcher can see.

`nn.LSTM` on a CPU is one fused operator; with the fused library off it is the gate products of each time step.
Products of vectors run as products of matrices (`simhw.capture.vectors`).  Attention is run as two batched products.
The results are the same up to the order of sums.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from simhw.capture.recurrent import RECURRENT_CELLS, RECURRENT_LAYERS, RecurrentCall
from simhw.capture.rewrites import REWRITTEN, bilinear
from simhw.capture.vectors import VECTOR_PRODUCTS


class Functions(TorchFunctionMode):
    """Rewrites functions as the module says, and notes what the dispatcher cannot know of a running one.

    Attributes
    ----------
    leading : tuple of int or None
        Leading axes of the input of the `linear` that runs now, which the product itself sees flattened.
    recurrent : RecurrentCall or None
    """

    def __init__(self) -> None:
        super().__init__()
        self.leading: tuple[int, ...] | None = None
        self.recurrent: RecurrentCall | None = None
        self._calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run `func`, or its other form."""
        given = dict(kwargs or {})
        if func is torch.nn.functional.linear:
            return self._linear(*args, **given)
        if func is torch.bilinear:
            return bilinear(self._linear, *args, **given)
        if func in REWRITTEN:
            return REWRITTEN[func](*args, **given)
        if func in VECTOR_PRODUCTS:
            return VECTOR_PRODUCTS[func](*args, **given)
        if func in RECURRENT_LAYERS and given:
            # With names, an order of its own: its products are seen, but time steps are not told apart.
            with self._running(RecurrentCall(RECURRENT_LAYERS[func], 0, 0, 0)), _unfused():
                return func(*args, **given)
        if func in RECURRENT_LAYERS:
            self._calls += 1
            packed = isinstance(args[1], Tensor) and (func is torch.lstm or isinstance(args[2], Tensor))
            shape = args[0].shape
            times, batch = (0, 0) if packed else (shape[1], shape[0]) if args[-1] else (shape[0], shape[1])
            # A layer that is called anew for each time step is like a cell.
            number = 0 if times == 1 else self._calls
            with self._running(RecurrentCall(RECURRENT_LAYERS[func], number, times, batch)), _unfused():
                return func(*args, **given)
        if func in RECURRENT_CELLS:
            x = args[0] if args else given["input"]
            with self._running(RecurrentCall(RECURRENT_CELLS[func], 0, 1, x.shape[0])):
                return func(*args, **given)
        return func(*args, **given)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # PyTorch's names
        if weight.dim() == 1 and bias is None:
            return self._linear(input, weight[None, :]).squeeze(-1)
        self.leading = None if input.is_nested else tuple(input.shape[:-1])
        try:
            return torch.nn.functional.linear(input, weight, bias)
        finally:
            self.leading = None

    @contextmanager
    def _running(self, call: RecurrentCall) -> Iterator[None]:
        self.recurrent = call
        try:
            yield
        finally:
            self.recurrent = None


@contextmanager
def _unfused() -> Iterator[None]:
    # Not `torch.backends.mkldnn.flags`: it sets TF32 as well, which warns where there is no such hardware.
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention and transformer layers as separate products, not as fused operators."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
