"""Products of vectors come as products of matrices, with their gradients, and give what PyTorch's own
functions give.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.captured_steps import ALL, captured, coarse, values

M, V, U = (4, 5), (5,), (4,)
# The function of a matrix or vector p and a vector q, the shapes of both, and (rows, reduction, columns) of the
# product.
CASES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...], tuple[int, int, int]]] = {
    "matmul by names": (lambda p, q: torch.matmul(input=p, other=q), M, V, (4, 5, 1)),
    "mv by name": (lambda p, q: torch.mv(p, vec=q), M, V, (4, 5, 1)),
    "dot by name": (lambda p, q: torch.dot(p, tensor=q), V, V, (1, 5, 1)),
    "vdot": (torch.vdot, V, V, (1, 5, 1)),
    "vecdot": (torch.linalg.vecdot, V, V, (1, 5, 1)),
    "inner": (torch.inner, V, V, (1, 5, 1)),
    "addmv": (lambda p, q: torch.addmv(torch.ones(4), p, q, beta=2, alpha=3), M, V, (4, 5, 1)),
    "addmv to a number": (lambda p, q: torch.addmv(torch.tensor(2.0), p, q), M, V, (4, 5, 1)),
    "addmv in place": (lambda p, q: torch.ones(4).mul(1).addmv_(p, q), M, V, (4, 5, 1)),
    "addr": (lambda p, q: torch.addr(torch.ones(4, 5), p, q, beta=2, alpha=3), U, V, (4, 1, 5)),
    "addr in place": (lambda p, q: torch.ones(4, 5).mul(1).addr_(p, q), U, V, (4, 1, 5)),
    "tensordot": (lambda p, q: torch.tensordot(p, q, 1), V, V, (1, 5, 1)),
    "tensordot of all axes": (torch.tensordot, M, M, (1, 20, 1)),
    "tensordot of named axes": (lambda p, q: torch.tensordot(p, q, dims=([-2, 1], [0, 1])), M, M, (1, 20, 1)),
    "einsum of vectors": (lambda p, q: torch.einsum("i,i->", p, q), V, V, (1, 5, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_product_of_vectors_is_a_matmul_with_both_gradients(case: str, tmp_path: Path):
    function, p_shape, q_shape, size = CASES[case]
    p, q = coarse(*p_shape).requires_grad_(), coarse(*q_shape).requires_grad_()
    expected = function(p, q)
    g = coarse(*expected.shape)
    grads = torch.autograd.grad(expected, (p, q), g)
    seen = []

    def step() -> None:
        seen.append(function(p, q))
        seen[0].backward(g)

    (layer,) = captured(nn.Identity(), step, tmp_path).layers
    assert torch.equal(seen[0], expected)
    assert torch.equal(p.grad, grads[0])
    assert torch.equal(q.grad, grads[1])
    assert (layer.kind, layer.operations) == ("matmul", ALL)
    a, w = values(layer.a), values(layer.w)
    assert (a.shape[-2], a.shape[-1], w.shape[-1]) == size
    assert torch.equal(a.flatten(), p.detach().flatten())
    assert torch.equal(w.flatten(), q.detach().flatten())


def test_a_linear_layer_of_one_weight_vector_has_one_output(tmp_path: Path):
    p, q, g = coarse(*M).requires_grad_(), coarse(*V).requires_grad_(), coarse(4)
    (layer,) = captured(nn.Identity(), lambda: torch.nn.functional.linear(p, q).backward(g), tmp_path).layers
    assert (layer.kind, layer.operations) == ("linear", ALL)
    assert torch.equal(values(layer.w), q.detach()[None])
    assert torch.equal(p.grad, g[:, None] * q.detach())
    assert torch.equal(values(layer.g).T @ values(layer.a), q.grad[None])


@pytest.mark.parametrize(
    "function", [torch.mv, torch.matmul, lambda p, q, out: torch.addmv(torch.zeros(4), p, q, out=out)]
)
def test_a_result_may_go_into_a_given_tensor(function: Callable[..., Tensor], tmp_path: Path):
    p, q, out = coarse(*M), coarse(*V), torch.empty(4)
    (layer,) = captured(nn.Identity(), lambda: function(p, q, out=out), tmp_path).layers
    assert torch.equal(out, p @ q)
    assert layer.operations == ("forward",)


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*deprecated")
def test_spectral_norm_s_power_iteration_is_products_of_its_own(norm: Callable[[nn.Module], nn.Module], tmp_path: Path):
    """W v and W^T u update the estimate; u (W v) is the norm that the weight is divided by, and has a gradient."""

    def trained(capture: bool) -> tuple[Tensor, list[tuple[tuple[str, ...], int]]]:
        torch.manual_seed(0)
        model = nn.Sequential(norm(nn.Linear(6, 3)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step() -> None:
            model(torch.ones(2, 6)).sum().backward()
            optimizer.step()

        layers = captured(model, step, tmp_path).layers if capture else step()
        (weight,) = (each.detach() for name, each in model.named_parameters() if "weight" in name)
        return weight, [(layer.operations, values(layer.w).numel() * values(layer.a).numel()) for layer in layers or ()]

    weight, found = trained(capture=True)
    torch.testing.assert_close(weight, trained(capture=False)[0])
    assert len(found) == 5
    assert [operations for operations, _ in found].count(("forward",)) == 2
    assert found[-1] == (("forward", "weight_grad"), 18 * 12)
