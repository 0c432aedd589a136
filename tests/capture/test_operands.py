"""Operands of captured products are what was really multiplied, however memory is written to and looked at."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import simhw
from tests.captured_steps import ALL, captured, coarse, coarsened, products, values

# Operands by value


def test_a_buffer_refilled_through_numpy_is_captured_anew(tmp_path: Path):
    model = coarsened(nn.Linear(4, 2, bias=False))
    buffer = np.zeros((3, 4), np.float32)
    x = torch.from_numpy(buffer)
    batches = [coarse(3, 4).numpy(), coarse(3, 4).numpy()]

    def step() -> None:
        for batch in batches:
            buffer[:] = batch
            model(x).sum().backward()

    layers = captured(model, step, tmp_path).layers
    assert [layer.operations for layer in layers] == [("forward", "weight_grad")] * 2
    for layer, batch in zip(layers, batches, strict=True):
        np.testing.assert_array_equal(values(layer.a).numpy(), batch)


def test_weights_written_through_numpy_are_captured_anew(tmp_path: Path):
    model, x = coarsened(nn.Conv1d(2, 3, 2, bias=False)), coarse(2, 2, 5)

    def step() -> None:
        model(x)
        model.weight.detach().numpy()[:] *= 2
        model(x)

    first, second = captured(model, step, tmp_path).layers
    assert torch.equal(values(second.w), 2 * values(first.w))


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 2, bias=False), lambda: nn.Conv1d(4, 2, 1, bias=False)])
def test_weights_written_between_forward_and_backward_give_the_gradient_an_instance_of_its_own(
    make: Callable[[], nn.Module], tmp_path: Path
):
    model = coarsened(make())
    x = coarse(2, 4, *([3] if isinstance(model, nn.Conv1d) else [])).requires_grad_()

    def step() -> None:
        output = model(x)
        model.weight.detach().numpy()[:] *= 2
        output.backward(torch.ones_like(output))

    layers = captured(model, step, tmp_path).layers
    assert layers[0].operations[0] == "forward"
    last = next(layer for layer in layers if "input_grad" in layer.operations)
    assert torch.equal(values(last.w), model.weight.detach())
    torch.testing.assert_close(products(last)[1], x.grad)


# Operands of stride 0


def test_a_frozen_linear_on_a_turned_input_keeps_one_weight(tmp_path: Path):
    model = coarsened(nn.Linear(16, 24))
    model.requires_grad_(False)
    x = coarse(6, 16, 5).requires_grad_()
    g = coarse(6, 5, 24)
    seen = []

    def step() -> None:
        seen.append(model(x.transpose(1, 2)))
        seen[0].backward(g)

    (layer,) = captured(model, step, tmp_path).layers
    assert (layer.name, layer.kind, layer.operations) == ("linear", "linear", ALL[:2])
    assert layer.shapes == {"a": (6, 5, 16), "w": (24, 16), "g": (6, 5, 24)}
    output, input_grad, _ = products(layer)
    assert torch.equal(output, (seen[0] - model.bias).detach())
    assert torch.equal(input_grad.transpose(1, 2), x.grad)


def test_a_weight_that_a_user_expands_has_one_weight_gradient(tmp_path: Path):
    w, x, g = nn.Parameter(coarse(4, 3)), coarse(5, 2, 4), coarse(5, 2, 3)
    model = nn.Module()
    model.weight = w
    (layer,) = captured(model, lambda: torch.bmm(x, w.expand(5, 4, 3)).backward(g), tmp_path).layers
    assert (layer.kind, layer.operations, layer.shapes["w"]) == ("linear", ("forward", "weight_grad"), (3, 4))
    assert torch.equal(products(layer)[2].T, w.grad)


@pytest.mark.parametrize("left", [True, False])
def test_a_buffer_times_a_batch_is_a_linear_layer(left: bool, tmp_path: Path):
    model = nn.Module()
    model.register_buffer("mixing", coarse(6, 6))
    x = coarse(3, 2, 6, 6).requires_grad_()
    g = coarse(3, 2, 6, 6)
    seen = []

    def step() -> None:
        seen.append(model.mixing @ x if left else x.mT @ model.mixing)
        seen[0].backward(g)

    (layer,) = captured(model, step, tmp_path).layers
    output, input_grad, _ = products(layer)
    assert (layer.name, layer.kind, layer.operations, layer.shapes["w"]) == ("mixing", "linear", ALL[:2], (6, 6))
    expected, grad = (seen[0].mT, x.grad.mT) if left else (seen[0], x.grad.mT)
    assert torch.equal(output.reshape(3, 2, 6, 6), expected.detach())
    assert torch.equal(input_grad.reshape(3, 2, 6, 6), grad)


@pytest.mark.parametrize("left", [True, False])
def test_one_tensor_times_a_batch_is_one_tensor(left: bool, tmp_path: Path):
    one, x, g = coarse(4, 4), coarse(3, 4, 4).requires_grad_(), coarse(3, 4, 4)
    repeated = one.expand(3, 4, 4)
    seen = []

    def step() -> None:
        seen.append(torch.bmm(repeated, x) if left else torch.bmm(x, repeated))
        seen[0].backward(g)

    (layer,) = captured(nn.Identity(), step, tmp_path).layers
    output, input_grad, _ = products(layer)
    assert (layer.kind, layer.operations, layer.shapes["a"], layer.shapes["w"]) == ("matmul", ALL[:2], (12, 4), (4, 4))
    turned = (lambda t: t.mT) if left else (lambda t: t)
    assert torch.equal(turned(output.reshape(3, 4, 4)), seen[0].detach())
    assert torch.equal(turned(input_grad.reshape(3, 4, 4)), x.grad)


def test_frozen_and_inferred_attention_keep_their_projections_weights(tmp_path: Path):
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    x = coarse(3, 5, 8)

    def step() -> None:
        with torch.inference_mode():
            model(x, x, x)

    inferred = captured(model, step, tmp_path)
    model.requires_grad_(False)
    frozen = captured(model, lambda: model(x, x, x), tmp_path)
    for trace in (inferred, frozen):
        assert [(layer.name, layer.kind) for layer in trace.layers] == [
            ("in_proj_weight", "linear"),
            ("matmul", "matmul"),
            ("matmul#2", "matmul"),
            ("out_proj", "linear"),
        ]
        assert [layer.shapes["w"] for layer in trace.layers if layer.kind == "linear"] == [(24, 8), (8, 8)]


def test_a_single_product_is_scheduled_as_a_whole():
    """Rows of the two operands are no images of one batch: as many of A as of W would not even fit."""
    a, w = coarse(6, 8).numpy(), coarse(8, 3).numpy()
    a[:4] = 0
    layer = simhw.Layer("product", "matmul", a=a, w=w, operations=("forward",))
    assert simhw.simulate_layer(layer, "forward", "tensordash").operand == "a"
