"""Gradients find their forward product where autograd has no node for it."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import simhw
from simhw.errors import CaptureError
from tests.captured_steps import ALL, captured, coarse, coarsened, products, values


class Own(torch.autograd.Function):
    """A linear layer by a user, with a ReLU in it, so that G is none of autograd's tensors."""

    @staticmethod
    def forward(context: object, x: Tensor, w: Tensor) -> Tensor:
        y = x @ w.t()
        context.save_for_backward(x, w, y)
        return y.relu()

    @staticmethod
    def backward(context: object, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, w, y = context.saved_tensors
        g = grad * (y > 0)
        return g @ w, g.flatten(0, -2).t() @ x.flatten(0, -2)


class OwnLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(coarse(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return Own.apply(x, self.weight)


@pytest.mark.parametrize("leading", [(5,), (2, 3)])
def test_the_products_of_a_user_s_function_are_one_layer(leading: tuple[int, ...], tmp_path: Path):
    """Three products of rows x in x out each, whichever leading axes the rows have."""
    model, x = nn.Sequential(OwnLinear(4, 3)), coarse(*leading, 4).requires_grad_()
    g = coarse(*leading, 3)
    seen = []

    def step() -> None:
        seen.append(model(x))
        seen[0].backward(g)

    (layer,) = captured(model, step, tmp_path).layers
    assert (layer.name, layer.kind, layer.operations) == ("0", "linear", ALL)
    output, input_grad, weight_grad = products(layer)
    assert torch.equal(output.relu().reshape(*leading, 3), seen[0].detach())
    assert torch.equal(input_grad.reshape(x.shape), x.grad)
    assert torch.equal(weight_grad, model[0].weight.grad)
    for operation in ALL:
        assert simhw.simulate_layer(layer, operation, "tensordash").macs == math.prod(leading) * 4 * 3


def test_a_user_s_function_that_runs_twice_with_one_weight_is_two_layers(tmp_path: Path):
    layer_twice = OwnLinear(4, 4)
    model, x = nn.Sequential(layer_twice, layer_twice, nn.Linear(4, 2)), coarse(4, 4).requires_grad_()
    model(x).sum().backward()
    expected = layer_twice.weight.grad.clone()
    layer_twice.weight.grad = None
    first, second, last = captured(model, lambda: model(x).sum().backward(), tmp_path).layers
    assert [layer.operations for layer in (first, second, last)] == [ALL] * 3
    torch.testing.assert_close(products(first)[2] + products(second)[2], expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(products(first)[1], x.grad / 2, rtol=0.02, atol=0.02)


def test_a_backward_product_with_an_operand_of_its_own_is_an_instance_of_its_own(tmp_path: Path):
    """Forward multiplies rounded weights, backward the real ones."""

    class Rounded(torch.autograd.Function):
        @staticmethod
        def forward(context: object, x: Tensor, w: Tensor) -> Tensor:
            context.save_for_backward(x, w)
            return x @ w.round().t()

        @staticmethod
        def backward(context: object, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, w = context.saved_tensors
            return grad @ w, grad.t() @ x

    x, w = coarse(2, 4).requires_grad_(), coarse(3, 4).requires_grad_()
    g = coarse(2, 3)
    trace = captured(nn.Identity(), lambda: Rounded.apply(x, w).backward(g), tmp_path)
    first, second = trace.layers
    assert torch.equal(values(first.w).T, w.detach().round())
    assert torch.equal(values(second.w).T, w.detach())
    assert sorted(first.operations + second.operations) == sorted(ALL)
    assert torch.equal(values(second.g), g)


def test_a_forward_product_that_a_user_s_function_runs_again_is_forward_work(tmp_path: Path):
    class Again(torch.autograd.Function):
        @staticmethod
        def forward(context: object, x: Tensor, w: Tensor) -> Tensor:
            context.save_for_backward(x, w)
            return torch.tanh(x @ w)

        @staticmethod
        def backward(context: object, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, w = context.saved_tensors
            g = grad * (1 - torch.tanh(x @ w) ** 2)
            return g @ w.t(), x.t() @ g

    x, w = coarse(2, 4).requires_grad_(), coarse(4, 3).requires_grad_()
    trace = captured(nn.Identity(), lambda: Again.apply(x, w).sum().backward(), tmp_path)
    assert [layer.operations for layer in trace.layers] == [ALL, ("forward",)]


def test_a_product_of_a_user_s_backward_pass_that_shares_no_operand_is_refused(tmp_path: Path):
    class Odd(torch.autograd.Function):
        @staticmethod
        def forward(_context: object, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(_context: object, grad: Tensor) -> Tensor:
            return grad @ torch.full((4, 4), 3.0)

    x = coarse(2, 4).requires_grad_()
    with pytest.raises(
        CaptureError, match=r"OddBackward: its backward pass runs a product of shapes \(2, 4\) and \(4, 4\)"
    ):
        captured(nn.Identity(), lambda: Odd.apply(x).sum().backward(), tmp_path)


class Rounding(torch.autograd.Function):
    """A linear layer that rounds G for each of its two gradients on its own."""

    @staticmethod
    def forward(context: object, x: Tensor, w: Tensor) -> Tensor:
        context.save_for_backward(x, w)
        return x @ w.t()

    @staticmethod
    def backward(context: object, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, w = context.saved_tensors
        return (grad * 2).round() / 2 @ w, grad.round().t() @ x


def test_each_gradient_of_a_user_s_function_has_the_g_that_it_multiplied(tmp_path: Path):
    x, w, g = coarse(4, 4).requires_grad_(), coarse(4, 4).requires_grad_(), coarse(4, 4)
    first, second = captured(nn.Identity(), lambda: Rounding.apply(x, w).backward(g), tmp_path).layers
    assert (first.operations, second.operations) == (ALL[:2], ("weight_grad",))
    assert torch.equal(products(first)[1], x.grad)
    assert torch.equal(values(second.g), g.round())
    assert torch.equal(values(second.g).T @ values(second.a), w.grad)


def test_projections_of_one_input_in_a_user_s_function_keep_their_own_gradients(tmp_path: Path):
    """All three weight gradients share their operand: their G tells them apart."""

    class Projections(torch.autograd.Function):
        @staticmethod
        def forward(context: object, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
            context.save_for_backward(x, q, k, v)
            return x @ q, x @ k, x @ v

        @staticmethod
        def backward(context: object, *grads: Tensor) -> tuple[Tensor, ...]:
            x, *weights = context.saved_tensors
            back = sum(grad @ weight.t() for grad, weight in zip(grads, weights, strict=True))
            return back, *(x.t() @ grad for grad in grads)

    x, weights = coarse(5, 4).requires_grad_(), [coarse(4, 4).requires_grad_() for _ in range(3)]
    gs = [coarse(5, 4) for _ in range(3)]
    layers = captured(
        nn.Identity(), lambda: torch.autograd.backward(Projections.apply(x, *weights), gs), tmp_path
    ).layers
    assert [layer.operations for layer in layers] == [ALL] * 3
    for layer, weight, g in zip(layers, weights, gs, strict=True):
        assert torch.equal(values(layer.w), weight.detach())
        assert torch.equal(values(layer.g), g)
        assert torch.equal(products(layer)[2], weight.grad)


def test_an_activation_that_a_user_s_function_compressed_is_told_from_g_by_the_other_gradient(tmp_path: Path):
    """A and G are both 4 x 4: shapes do not tell which operand of the weight gradient is which."""

    class Compressed(torch.autograd.Function):
        @staticmethod
        def forward(context: object, x: Tensor, w: Tensor) -> Tensor:
            context.save_for_backward((x * 2).round().to(torch.int8), w)
            return x @ w.t()

        @staticmethod
        def backward(context: object, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, w = context.saved_tensors
            return grad @ w, grad.t() @ (x.float() / 2)

    x, w, g = coarse(4, 4).requires_grad_(), coarse(4, 4).requires_grad_(), coarse(4, 4)
    first, second = captured(nn.Identity(), lambda: Compressed.apply(x, w).backward(g), tmp_path).layers
    assert (first.operations, second.operations) == (ALL[:2], ("weight_grad",))
    assert torch.equal(values(second.a), (x.detach() * 2).round() / 2)
    assert torch.equal(values(second.g), g)


@pytest.mark.parametrize(("model", "shape"), [(nn.Linear(4, 3), (5, 4)), (nn.Conv1d(4, 3, 2), (2, 4, 5))])
def test_two_passes_through_one_graph_for_different_gradients_have_each_its_g(
    model: nn.Module, shape: tuple[int, ...], tmp_path: Path
):
    coarsened(model)
    x, given = coarse(*shape).requires_grad_(), []

    def step() -> None:
        output = model(x)
        given.extend(coarse(*output.shape) for _ in range(2))
        given.extend(torch.autograd.grad(output, x, given[0], retain_graph=True))
        output.backward(given[1], inputs=[model.weight])

    first, second = captured(model, step, tmp_path).layers
    assert (first.operations, second.operations) == (ALL[:2], ("weight_grad",))
    assert torch.equal(values(first.g), given[0])
    assert torch.equal(values(second.g), given[1])
    assert torch.equal(products(first)[1], given[2])
    repeated = values(second.a).requires_grad_(), model.weight.detach().clone().requires_grad_()
    output = functional.linear(*repeated) if isinstance(model, nn.Linear) else functional.conv1d(*repeated)
    assert torch.equal(torch.autograd.grad(output, repeated[1], values(second.g))[0], model.weight.grad)


def test_a_scripted_model_s_gradients_belong_to_its_layers_from_the_second_run_on(tmp_path: Path):
    plain = coarsened(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)))
    scripted = torch.jit.script(plain)
    x, g = coarse(3, 4).requires_grad_(), coarse(3, 2)
    for _ in range(2):
        scripted(x).backward(g)
    plain.zero_grad()
    x.grad = None
    layers = captured(scripted, lambda: scripted(x).backward(g), tmp_path).layers
    assert [(layer.name, layer.kind, layer.operations) for layer in layers] == [
        ("0", "linear", ALL),
        ("2", "linear", ALL),
    ]
    torch.testing.assert_close(products(layers[0])[2], plain[0].weight.grad, rtol=0.02, atol=0.02)
    torch.testing.assert_close(products(layers[0])[1], x.grad, rtol=0.02, atol=0.02)
    torch.testing.assert_close(products(layers[1])[2], plain[2].weight.grad, rtol=0.02, atol=0.02)


def test_gradients_through_functional_convolutions_of_a_user_s_function_are_linked(tmp_path: Path):
    class Transposed(torch.autograd.Function):
        @staticmethod
        def forward(context: object, x: Tensor, w: Tensor) -> Tensor:
            context.save_for_backward(x, w)
            return functional.conv_transpose2d(x, w, stride=2)

        @staticmethod
        def backward(context: object, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, w = context.saved_tensors
            shape = ((2, 2), (0, 0), (1, 1), True, (0, 0), 1)
            back = torch.ops.aten.convolution_backward
            return back(grad, x, w, None, *shape, (True, False, False))[0], back(
                grad, x, w, None, *shape, (False, True, False)
            )[1]

    x, w = coarse(2, 3, 3, 3).requires_grad_(), coarse(3, 4, 2, 2).requires_grad_()
    (layer,) = captured(nn.Identity(), lambda: Transposed.apply(x, w).sum().backward(), tmp_path).layers
    assert (layer.kind, layer.operations) == ("conv_transpose2d", ALL)
    assert torch.equal(products(layer)[1], x.grad)
    assert torch.equal(products(layer)[2], w.grad)
