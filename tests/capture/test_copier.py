"""Copies of tensors as bfloat16: rounded as by definition, compared value by value however they lie, and kept once."""

import numpy as np
import pytest
import torch
from torch import Tensor

from simhw.bfloat16 import from_float32
from simhw.capture.tensors import PIECE_VALUES, Copier, Nonfinite, Rounding
from simhw.errors import CaptureError


def tensors() -> dict[str, Tensor]:
    """Of one piece and of several, in order and not, and of other numbers."""
    torch.manual_seed(0)
    wide = torch.randn(3, PIECE_VALUES // 2 + 1)
    return {
        "single": torch.tensor(1.234567),
        "one piece": torch.randn(7, 5),
        "whole pieces": torch.randn(2, PIECE_VALUES),
        "several pieces": wide,
        "across": wide.mT,
        "cut": wide[:, 3:-2],
        "channels last": torch.randn(2, 3, 40, 50).to(memory_format=torch.channels_last),
        "long rows": torch.randn(2, PIECE_VALUES + 3)[:, 1:],
        "double": torch.randn(9, 4, dtype=torch.float64),
        "half": torch.randn(9, 4, dtype=torch.float16),
        "bfloat16": torch.randn(9, 4).bfloat16(),
    }


@pytest.mark.parametrize("rounding", ["rne", "truncate"])
@pytest.mark.parametrize("name", tensors())
def test_copies_are_rounded_as_by_definition_and_told_from_all_others(name: str, rounding: Rounding) -> None:
    copier, tensor = Copier(rounding, "error"), tensors()[name].requires_grad_()
    bits = copier.bits(tensor, "x")
    np.testing.assert_array_equal(bits, from_float32(tensor.detach().float().numpy(), rounding))
    assert bits.flags.c_contiguous
    np.testing.assert_array_equal(copier.peek(tensor), bits)
    assert copier.holds(tensor, bits)
    assert copier.bits(tensor, "x") is bits
    for place in {0, bits.size // 2, bits.size - 1}:
        changed = bits.copy()
        changed.reshape(-1)[place] ^= 1
        assert not copier.holds(tensor, changed)
    assert not copier.holds(tensor, bits.reshape(-1)[:-1])


def test_leading_axes_do_not_matter_to_a_comparison() -> None:
    copier, tensor = Copier("rne", "error"), torch.randn(2, 3, 5)
    assert copier.holds(tensor, copier.peek(tensor).reshape(6, 5))
    assert copier.holds(tensor.mT, np.ascontiguousarray(copier.peek(tensor).swapaxes(1, 2)).reshape(10, 3))


def test_what_was_written_unseen_is_copied_anew() -> None:
    copier, tensor = Copier("rne", "error"), torch.zeros(2, PIECE_VALUES)
    before = copier.bits(tensor, "x")
    tensor.numpy()[-1, -1] = 1.0
    after = copier.bits(tensor, "x")
    assert (before[-1, -1], after[-1, -1]) == (0, 0x3F80)
    assert copier.bits(tensor, "x") is after


@pytest.mark.parametrize(("nonfinite", "value", "zeroed"), [("zero", 0, 2), ("keep", 0x7F80, 0)])
def test_values_that_are_not_finite_are_met_once_for_a_copy_that_is_kept(
    nonfinite: Nonfinite, value: int, zeroed: int
) -> None:
    copier, tensor = Copier("rne", nonfinite), torch.ones(2, PIECE_VALUES)
    tensor[1, 5] = tensor[0, 0] = float("inf")
    bits = copier.bits(tensor, "x")
    assert (bits[1, 5], bits[0, 0], bits[0, 1]) == (value, value, 0x3F80)
    assert copier.bits(tensor, "x") is bits
    assert copier.holds(tensor, bits)
    assert copier.zeroed == zeroed


def test_values_that_become_infinite_later_are_refused() -> None:
    copier, tensor = Copier("rne", "error"), torch.ones(2, PIECE_VALUES)
    copier.bits(tensor, "x")
    tensor.numpy()[1, 9] = np.inf
    with pytest.raises(CaptureError, match=r"x: 1 NaN or infinite values \(first at index \(1, 9\)\)"):
        copier.bits(tensor, "x")
