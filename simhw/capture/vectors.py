"""Products of vectors, run as products of matrices of one column or row.

The gradient of a matrix times a vector is an outer product, which no product operator computes; as a matrix of one
column both are plain, and so are a dot product and a matrix to which an outer product is added.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _into(out: Tensor | None, result: Tensor) -> Tensor:
    return result if out is None else out.resize_(result.shape).copy_(result)


def _matmul(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:  # PyTorch's names, here and below
    if not (isinstance(input, Tensor) and isinstance(other, Tensor)) or min(input.dim(), other.dim()) != 1:
        return torch.matmul(input, other) if out is None else torch.matmul(input, other, out=out)
    if input.dim() == other.dim():
        return _into(out, torch.mm(input[None, :], other[:, None])[0, 0])
    if other.dim() == 1:
        return _into(out, torch.matmul(input, other[:, None]).squeeze(-1))
    return _into(out, torch.matmul(input[None, :], other).squeeze(-2))


def _mv(input: Tensor, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
    return _into(out, torch.mm(input, vec[:, None]).squeeze(-1))


def _dot(input: Tensor, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
    return _into(out, torch.mm(input[None, :], tensor[:, None])[0, 0])


def _vdot(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    return _dot(input.conj(), other, out=out)


def _vecdot(x: Tensor, y: Tensor, *, dim: int = -1, out: Tensor | None = None) -> Tensor:
    if x.dim() == y.dim() == 1:
        return _vdot(x, y, out=out)
    products: Tensor = torch.linalg.vecdot(x, y, dim=dim)
    return _into(out, products)


def _inner(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    if input.dim() == other.dim() == 1:
        return _dot(input, other, out=out)
    return torch.inner(input, other) if out is None else torch.inner(input, other, out=out)


def _addmv(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Tensor | None = None
) -> Tensor:
    added = input[:, None] if input.dim() else input
    return _into(out, torch.addmm(added, mat, vec[:, None], beta=beta, alpha=alpha).squeeze(-1))


def _addmv_(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    # Not written through a view: autograd would then run the product's gradient in a node of the view's.
    return input.copy_(_addmv(input, mat, vec, beta=beta, alpha=alpha))


def _addr(
    input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Tensor | None = None
) -> Tensor:
    return _into(out, torch.addmm(input, vec1[:, None], vec2[None, :], beta=beta, alpha=alpha))


def _addr_(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    return input.addmm_(vec1[:, None], vec2[None, :], beta=beta, alpha=alpha)


def _tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Tensor | None = None) -> Tensor:
    if isinstance(dims, Tensor):
        dims = dims.tolist() if dims.numel() > 1 else int(dims)
    if isinstance(dims, int):
        summed = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        first, second = ([each] if isinstance(each, int) else [int(axis) for axis in each] for each in dims)
        summed = first, second
    # Where all axes are summed it is one product of vectors; what does not fit PyTorch refuses.
    tensors = a, b
    every = min(a.dim(), b.dim()) > 0 and all(
        sorted(axis % tensor.dim() for axis in axes) == list(range(tensor.dim()))
        for tensor, axes in zip(tensors, summed, strict=True)
    )
    if every and [a.shape[axis] for axis in summed[0]] == [b.shape[axis] for axis in summed[1]]:
        return _dot(a.permute(summed[0]).flatten(), b.permute(summed[1]).flatten(), out=out)
    result: Tensor = torch.tensordot(a, b, dims, out=out)
    return result


VECTOR_PRODUCTS: dict[object, Callable[..., Tensor]] = {
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.linalg.matmul), _matmul),
    Tensor.__rmatmul__: lambda other, input: _matmul(input, other),
    **dict.fromkeys((torch.mv, Tensor.mv), _mv),
    **dict.fromkeys((torch.dot, Tensor.dot), _dot),
    **dict.fromkeys((torch.vdot, Tensor.vdot), _vdot),
    torch.linalg.vecdot: _vecdot,
    torch.tensordot: _tensordot,
    **dict.fromkeys((torch.inner, Tensor.inner), _inner),
    **dict.fromkeys((torch.addmv, Tensor.addmv), _addmv),
    **dict.fromkeys((torch.addr, Tensor.addr), _addr),
    Tensor.addmv_: _addmv_,
    Tensor.addr_: _addr_,
}
"""PyTorch's functions that multiply vectors, and the form that a captured step runs in their place."""
