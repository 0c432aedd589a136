"""Copies of tensors as bfloat16 bit patterns, made on the spot: training overwrites weights and activations
in place.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from simhw.bfloat16 import BF16Array, is_nonfinite
from simhw.errors import CaptureError

Rounding = Literal["rne", "truncate"]
Nonfinite = Literal["error", "zero", "keep"]

_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)

PIECE_VALUES = 1 << 18
"""Values that are compared with captured ones at a time: rounded, they stay in a cache."""

Identity = tuple[int, int, tuple[int, ...], tuple[int, ...]]


def storage(tensor: Tensor) -> int:
    """A number that two tensors share while both are alive, exactly if they are views of the same memory.

    A tensor without plain storage (sparse, or opaque to PyTorch) is memory of its own.
    """
    number: int = tensor.untyped_storage()._cdata if torch._C._has_storage(tensor) else tensor._cdata
    return number


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among an operator's arguments, also those in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def plain_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors with memory of their own that a tensor is made of: itself, a sparse one's values, or what a subclass
    wraps.
    """
    if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        flatten = getattr(tensor, "__tensor_flatten__", None)
        held = [getattr(tensor, name) for name in flatten()[0]] if flatten is not None else list(vars(tensor).values())
        return tuple(part for each in held if isinstance(each, Tensor) for part in plain_parts(each))
    if tensor.layout is torch.sparse_coo:
        return (tensor._values(),)
    return (tensor.values(),) if tensor.layout in _COMPRESSED else (tensor,)


def unseen(tensor: Tensor) -> tuple[str, str] | None:
    """What of a tensor capture cannot read, and what to use in its place; None where it can."""
    if tensor.is_nested:
        return "a nested tensor", "use layout=torch.jagged or to_padded_tensor"
    if tensor.is_sparse or tensor.layout in _COMPRESSED:
        return "a sparse tensor", "use to_dense()"
    if tensor.layout is not torch.strided:
        return f"a tensor of layout {tensor.layout}", "use to_dense()"
    return None if tensor.is_floating_point() else (f"{tensor.dtype}", "use floating-point numbers")


def identity(tensor: Tensor) -> Identity:
    """Storage, offset, shape and strides; the stride of an axis of length 1 means nothing and is given as 0."""
    strides = tuple(0 if n == 1 else s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return storage(tensor), int(tensor.storage_offset()), tuple(tensor.shape), strides


def _as_torch(bits: BF16Array) -> Tensor:
    """The same memory as bfloat16 numbers."""
    return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)


class Copier:
    """Copies tensors to bfloat16 bit patterns, and keeps one copy of what has not changed since.

    Parameters
    ----------
    rounding : {"rne", "truncate"}
        Nearest even, as PyTorch's own conversion does, or the low 16 bits of the float32 dropped.
    nonfinite : {"error", "zero", "keep"}
        What becomes of NaN and infinity.
    """

    def __init__(self, rounding: Rounding, nonfinite: Nonfinite) -> None:
        self._rounding = rounding
        self._nonfinite = nonfinite
        self._copies: dict[int, tuple[StorageWeakRef, dict[tuple[object, ...], BF16Array]]] = {}
        self.zeroed = 0

    def bits(self, tensor: Tensor, what: str) -> BF16Array:
        """A contiguous copy of a tensor, rounded to bfloat16.

        Parameters
        ----------
        tensor : Tensor
            Plain and of floating-point numbers (see `unseen`); any shape, strides and device.
        what : str
            Names layer and tensor in errors.

        Raises
        ------
        CaptureError
            The tensor holds NaN or infinity, and these are errors.
        """
        weak, copies = self._copies.get(storage(tensor), (None, {}))
        if weak is None or weak.expired():  # type: ignore[no-untyped-call]  # torch's class has no hints
            weak, copies = StorageWeakRef(tensor.untyped_storage()), {}  # type: ignore[no-untyped-call]  # likewise
            # The weak reference keeps the address from being used again, so a stale entry is never taken for a new
            # tensor.
            self._copies[storage(tensor)] = (weak, copies)
        key = (*identity(tensor)[1:], tensor.dtype)
        # Values may have been written unseen, through NumPy's view of the memory: only what is equal is the same copy.
        if key in copies and self.holds(tensor, copies[key]):
            return copies[key]
        bits = self._rounded(tensor)
        # A NaN makes both extremes NaN, an infinity one of them infinite: one pass, and the only one over finite
        # values.
        low, high = torch.aminmax(_as_torch(bits))
        if not (math.isfinite(low) and math.isfinite(high)):
            self.zeroed += self._meet_nonfinite(bits, what)
        copies[key] = bits
        return bits

    def peek(self, tensor: Tensor) -> BF16Array:
        """The values that `bits` would give, neither kept nor counted nor checked: to compare with what was
        captured.
        """
        bits = self._rounded(tensor)
        if self._nonfinite == "zero":
            bits[is_nonfinite(bits)] = 0
        return bits

    def holds(self, tensor: Tensor, bits: BF16Array) -> bool:
        """Whether a tensor has, whatever its leading axes, the values that were captured."""
        if tensor.numel() != bits.size:
            return False
        # Piece by piece, which stay in a cache.
        whole = tensor.detach().view(-1) if tensor.is_contiguous() else tensor
        held = bits.reshape(whole.shape)
        step = max(1, PIECE_VALUES * len(whole) // max(1, whole.numel()))
        return all(
            np.array_equal(self.peek(whole[start : start + step]), held[start : start + step])
            for start in range(0, len(whole), step)
        )

    def _rounded(self, tensor: Tensor) -> BF16Array:
        """A contiguous copy in bfloat16."""
        source = tensor.detach()
        if self._rounding == "truncate" and source.dtype != torch.bfloat16:
            short = (source.float().contiguous().view(torch.int32) >> 16).to(torch.int16)
            truncated: BF16Array = short.cpu().numpy().view(np.uint16)
            return truncated
        # Memory that NumPy asks for comes in large pages where the system has them: three times as fast to fill.
        bits = np.empty(tensor.shape, np.uint16)
        _as_torch(bits).copy_(source if source.device.type == "cpu" else source.to(torch.bfloat16))
        return bits

    def _meet_nonfinite(self, bits: BF16Array, what: str) -> int:
        """Do what was asked for with NaN and infinity; how many became zero."""
        bad = is_nonfinite(bits)
        if self._nonfinite == "keep":
            return 0
        count = int(bad.sum())
        if self._nonfinite == "zero":
            bits[bad] = 0
            return count
        first = tuple(int(n) for n in np.unravel_index(int(bad.argmax()), bad.shape))
        raise CaptureError(
            f"{what}: {count} NaN or infinite values (first at index {first}); training diverged? "
            'use nonfinite="zero" to capture them as 0, or "keep"'
        )
