"""Copies of tensors as bfloat16 bit patterns, made on the spot: training overwrites weights and activations in place."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from simhw.bfloat16 import BF16Array
from simhw.errors import CaptureError

Rounding = Literal["rne", "truncate"]
Nonfinite = Literal["error", "zero", "keep"]

_EXPONENT = np.uint16(0x7F80)

Identity = tuple[int, int, tuple[int, ...], tuple[int, ...]]


def storage(tensor: Tensor) -> int:
    """A number that two tensors share while both are alive, exactly if they are views of the same memory."""
    number: int = tensor.untyped_storage()._cdata
    return number


def identity(tensor: Tensor) -> Identity:
    """Storage, offset, shape and strides; the stride of an axis of length 1 means nothing and is given as 0."""
    strides = tuple(0 if n == 1 else s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return storage(tensor), int(tensor.storage_offset()), tuple(tensor.shape), strides


class Copier:
    """Copies tensors to bfloat16 bit patterns, and one that has not changed since only once.

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
        """A contiguous copy of a floating-point tensor, rounded to bfloat16.

        Parameters
        ----------
        tensor : Tensor
            Any shape, strides and device.
        what : str
            Names layer and tensor in errors.

        Raises
        ------
        CaptureError
            The tensor is not a plain floating-point tensor, or holds NaN or infinity and these are errors.
        """
        if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.is_nested:
            raise CaptureError(f"{what} is {tensor.dtype}, {tensor.layout}: only plain floating-point tensors can be captured")
        weak, copies = self._copies.get(storage(tensor), (None, {}))
        if weak is None or weak.expired():  # type: ignore[no-untyped-call]  # torch's class has no hints
            weak, copies = StorageWeakRef(tensor.untyped_storage()), {}  # type: ignore[no-untyped-call]
            # The weak reference keeps the address from being used again, so a stale entry is never taken for a new tensor.
            self._copies[storage(tensor)] = (weak, copies)
        key = (*identity(tensor)[1:], tensor.dtype)
        if key not in copies:
            copies[key] = self._copy(tensor, what)
        return copies[key]

    def forget(self, tensors: Iterator[Tensor]) -> None:
        """Forget the copies of tensors that are being written to."""
        for tensor in tensors:
            self._copies.pop(storage(tensor), None)

    def _copy(self, tensor: Tensor, what: str) -> BF16Array:
        with torch.no_grad():
            source = tensor.detach()
            if self._rounding == "truncate" and source.dtype != torch.bfloat16:
                short = (source.float().contiguous().view(torch.int32) >> 16).to(torch.int16)
                rounded = short.view(torch.bfloat16)
            else:
                rounded = source.to(torch.bfloat16, memory_format=torch.contiguous_format, copy=True)
            rounded = rounded.cpu()
            # A NaN makes both extremes NaN, an infinity one of them infinite: one pass, and the only one over finite values.
            low, high = torch.aminmax(rounded)
            bits: BF16Array = rounded.view(torch.int16).numpy().view(np.uint16)
            if not (math.isfinite(low) and math.isfinite(high)):
                self._meet_nonfinite(bits, what)
        return bits

    def _meet_nonfinite(self, bits: BF16Array, what: str) -> None:
        bad = (bits & _EXPONENT) == _EXPONENT
        if self._nonfinite == "keep":
            return
        count = int(bad.sum())
        if self._nonfinite == "zero":
            bits[bad] = 0
            self.zeroed += count
            return
        first = tuple(int(n) for n in np.unravel_index(int(bad.argmax()), bad.shape))
        raise CaptureError(
            f"{what}: {count} NaN or infinite values (first at index {first}); training diverged? "
            'use nonfinite="zero" to capture them as 0, or "keep"'
        )
