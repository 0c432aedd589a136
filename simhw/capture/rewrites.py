"""Functions whose products PyTorch runs out of the dispatcher's sight, as the products that they are made of.

Bilinear layers, grouped products (the experts of a mixture), and the grids of affine transforms.  The results are the
same up to the order of sums.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from simhw.errors import CaptureError

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def bilinear(linear: Linear, input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y[o] = sum over i, j of x1[i] W[o, i, j] x2[j]``: the outer product of both inputs, and a linear layer of it.

    Parameters
    ----------
    linear : callable
        Input (..., in), weight (out, in), bias.
    input1, input2, weight, bias
        As ``torch.nn.functional.bilinear`` names them: (..., I), (..., J), (O, I, J), (O,).
    """
    outputs, *sizes = weight.shape
    if (
        input1.shape[-1:] != torch.Size(sizes[:1])
        or input2.shape[-1:] != torch.Size(sizes[1:])
        or input1.shape[:-1] != input2.shape[:-1]
    ):
        return torch.bilinear(input1, input2, weight, bias)  # which says what does not fit
    outer = torch.bmm(input1.reshape(-1, sizes[0], 1), input2.reshape(-1, 1, sizes[1]))
    return linear(outer.reshape(*input1.shape[:-1], sizes[0] * sizes[1]), weight.reshape(outputs, -1), bias)


def grouped_mm(
    self: Tensor,
    mat2: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """One product for each group; the arguments are those of ``torch._grouped_mm``.

    Where an operand has no group axis, `offs` gives the end of each group's rows of `self`, columns of `mat2`, or,
    where neither has one, of what is summed over.  Rows and columns behind the last end are zero.
    """
    if self.dim() == mat2.dim() == 3:
        result = torch.bmm(self, mat2)
    elif offs is None:
        return torch._grouped_mm(self, mat2, offs=offs, bias=bias, out_dtype=out_dtype)  # which says what is missing
    else:
        ends = [int(end) for end in offs]
        groups = len(ends)
        along = self.shape[0 if mat2.dim() == 3 else -1] if self.dim() == 2 else mat2.shape[-1]
        sizes = [end - start for start, end in zip([0, *ends], [*ends, along], strict=True)]
        if min(sizes) < 0:
            raise CaptureError(
                f"aten::_grouped_mm: group ends {ends[:8]} do not rise up to the {along} rows that they divide"
            )
        # Split and unbound, not sliced one by one: the gradient of a slice is as large as what it was cut from.
        left = self.unbind(0) if self.dim() == 3 else torch.split(self, sizes, 0 if mat2.dim() == 3 else 1)[:groups]
        right = mat2.unbind(0) if mat2.dim() == 3 else torch.split(mat2, sizes, 0 if self.dim() == 2 else 1)[:groups]
        parts = [torch.mm(a, b) for a, b in zip(left, right, strict=True)]
        if self.dim() == mat2.dim():
            result = torch.stack(parts)
        else:
            axis = 0 if self.dim() == 2 else 1
            rest = list(parts[0].shape)
            rest[axis] = sizes[-1]
            result = torch.cat([*parts, parts[0].new_zeros(rest)], axis)
    if bias is not None:
        result = result + bias
    return result if out_dtype is None else result.to(out_dtype)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Positions of an output grid times each sample's transform: (N, spatial..., dims) of theta (N, dims, dims + 1)."""
    spatial = tuple(size)[2:]
    if theta.dim() != 3 or tuple(theta.shape) != (size[0], len(spatial), len(spatial) + 1):
        return torch.affine_grid_generator(theta, list(size), bool(align_corners))  # which says what does not fit
    axes = []
    for steps in spatial:
        line = (
            torch.linspace(-1, 1, steps, dtype=theta.dtype, device=theta.device)
            if steps > 1
            else theta.new_zeros(steps)
        )
        axes.append(line if align_corners else line * (steps - 1) / steps)
    places = torch.meshgrid(*axes, indexing="ij")
    # The transform's first row is that of the last axis.
    grid = torch.stack([*reversed(places), torch.ones_like(places[0])], -1).reshape(1, -1, len(spatial) + 1)
    return torch.bmm(grid.expand(len(theta), -1, -1), theta.mT).reshape(len(theta), *spatial, len(spatial))


REWRITTEN: Mapping[object, Callable[..., Any]] = {
    torch._grouped_mm: grouped_mm,
    torch.affine_grid_generator: affine_grid,
    torch.nn.functional.affine_grid: affine_grid,
}


def pseudoinverse(
    matrix: Tensor, *, atol: Tensor | None = None, rtol: Tensor | None = None, hermitian: bool = False
) -> Tensor:
    """``aten::linalg_pinv``: the product of the singular (or eigen-) vectors, after the decomposition."""
    if rtol is None:
        rtol = matrix.new_tensor(torch.finfo(matrix.dtype).eps * max(matrix.shape[-2:]), dtype=matrix.real.dtype)
        if atol is not None:
            rtol = torch.where(atol > 0, torch.zeros_like(rtol), rtol)
    if hermitian:
        values, left = torch.linalg.eigh(matrix)
        sizes, right = values.abs(), left.mH
        largest = sizes.amax(-1, keepdim=True)
    else:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        sizes, largest = values, values[..., :1]
    limit = (rtol[..., None] if rtol.dim() else rtol) * largest
    if atol is not None:
        limit = torch.maximum(limit, atol[..., None] if atol.dim() else atol)
    inverse = torch.where(sizes > limit, values.reciprocal(), torch.zeros_like(values)).to(matrix.dtype)
    return torch.matmul(right.mH * inverse[..., None, :], left.mH)


TAKEN_APART: Mapping[str, Callable[..., Tensor]] = {"linalg_pinv": pseudoinverse}
"""Operators whose own gradient is kept, but whose products are run one by one below it."""
