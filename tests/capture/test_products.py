"""Every kind of product is captured with the tensors that reproduce its output and gradients, and nobody else's."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from simhw.bfloat16 import from_float32
from tests.captured_steps import ALL, captured, coarse, coarsened, products, values

CONVOLUTIONS = {
    "conv1d": (nn.Conv1d(3, 4, 3), (2, 3, 9)),
    "conv1d strided, padded, dilated": (nn.Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2), (2, 4, 11)),
    "conv2d": (nn.Conv2d(3, 5, 3, bias=False), (2, 3, 6, 7)),
    "conv2d all at once": (
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        (2, 4, 7, 6),
    ),
    "conv2d depthwise": (nn.Conv2d(4, 8, 3, padding=1, groups=4), (2, 4, 5, 5)),
    "conv2d padding same": (nn.Conv2d(2, 3, 3, padding="same"), (2, 2, 5, 5)),
    "conv2d circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 5, 5)),
    "conv2d channels last": (nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last), (2, 4, 6, 6)),
    "conv_transpose1d": (nn.ConvTranspose1d(3, 4, 3), (2, 3, 5)),
    "conv_transpose2d": (nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), (2, 4, 3, 4)),
    "conv_transpose2d all at once": (
        nn.ConvTranspose2d(
            4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), dilation=(2, 1), groups=2
        ),
        (2, 4, 3, 4),
    ),
    "conv_transpose3d": (nn.ConvTranspose3d(2, 2, (1, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1)), (2, 2, 3, 4, 5)),
    "conv3d": (nn.Conv3d(2, 4, (1, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1), groups=2), (2, 2, 3, 4, 5)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_s_tensors_reproduce_its_output_and_gradients(case: str, tmp_path: Path):
    module, shape = CONVOLUTIONS[case]
    model = nn.Sequential(nn.Identity(), coarsened(module))
    model.zero_grad()
    x = coarse(*shape).requires_grad_()
    seen = {}

    def step() -> None:
        output = model(x)
        g = coarse(*output.shape)
        output.backward(g)
        seen["output"] = output.detach() - (
            module.bias.detach().reshape(-1, *[1] * (output.dim() - 2)) if module.bias is not None else 0
        )

    (layer,) = captured(model, step, tmp_path).layers
    output, input_grad, weight_grad = products(layer)
    assert (layer.name, layer.kind, layer.operations) == ("1", case.split()[0], ALL)
    torch.testing.assert_close(output, seen["output"])
    if "circular" in case:
        # The layer's input is the padded one: what wraps around adds up outside of it.
        assert input_grad.shape[-1] == shape[-1] + 2
    else:
        torch.testing.assert_close(input_grad, x.grad)
    torch.testing.assert_close(weight_grad, module.weight.grad)


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6), (2, 3, 4, 6), (6,)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_keeps_the_leading_axes_of_its_input(shape: tuple[int, ...], bias: bool, tmp_path: Path):
    model = coarsened(nn.Linear(6, 3, bias=bias))
    x = coarse(*shape).requires_grad_()
    outputs = []

    def step() -> None:
        outputs.append(model(x))
        outputs[0].backward(coarse(*outputs[0].shape))

    (layer,) = captured(model, step, tmp_path).layers
    output, input_grad, weight_grad = products(layer)
    leading = shape[:-1] or (1,)
    assert (layer.kind, layer.operations, layer.shapes["a"]) == ("linear", ALL, (*leading, 6))
    torch.testing.assert_close(
        output.reshape(*shape[:-1], 3), outputs[0].detach() - (model.bias.detach() if bias else 0)
    )
    torch.testing.assert_close(input_grad.reshape(shape), x.grad)
    torch.testing.assert_close(weight_grad, model.weight.grad)


def test_a_weight_on_the_left_of_a_product_is_a_linear_layer_too(tmp_path: Path):
    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(coarse(4, 6))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight @ x

    model, x, g = Left(), coarse(6, 5).requires_grad_(), coarse(4, 5)
    (layer,) = captured(model, lambda: model(x).backward(g), tmp_path).layers
    output, input_grad, weight_grad = products(layer)
    assert (layer.kind, layer.operations, layer.shapes["a"]) == ("linear", ALL, (5, 6))
    torch.testing.assert_close(output, (model.weight @ x).detach().T)
    torch.testing.assert_close(input_grad, x.grad.T)
    torch.testing.assert_close(weight_grad, model.weight.grad)


def matmul_cases() -> dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...]]]:
    return {
        "mm": (torch.mm, (4, 5), (5, 3)),
        "mm square": (torch.mm, (4, 4), (4, 4)),
        "mm of a transposed left": (lambda p, q: p.T @ q, (4, 4), (4, 4)),
        "mm of a transposed right": (lambda p, q: p @ q.T, (4, 4), (4, 4)),
        "mm of two transposed": (lambda p, q: p.T @ q.T, (4, 4), (4, 4)),
        "addmm": (lambda p, q: torch.addmm(torch.zeros(4, 4), p, q), (4, 4), (4, 4)),
        "bmm": (torch.bmm, (2, 4, 5), (2, 5, 3)),
        "bmm square": (torch.bmm, (2, 4, 4), (2, 4, 4)),
        "bmm of a transposed right": (lambda p, q: p @ q.mT, (2, 4, 4), (2, 4, 4)),
        "baddbmm": (lambda p, q: torch.baddbmm(torch.zeros(1), p, q), (2, 4, 4), (2, 4, 4)),
        "matmul of four axes": (torch.matmul, (2, 3, 4, 5), (2, 3, 5, 4)),
        "broadcast matmul": (torch.matmul, (2, 3, 4, 5), (5, 4)),
        "einsum": (lambda p, q: torch.einsum("bhmk,bhnk->bhmn", p, q), (2, 3, 4, 5), (2, 3, 4, 5)),
        "matrix times vector": (lambda p, q: p @ q, (4, 5), (5,)),
        "batch times vector": (lambda p, q: p @ q, (2, 4, 5), (5,)),
        "vector times matrix": (lambda p, q: p @ q, (5,), (5, 3)),
        "torch.mv": (torch.mv, (4, 5), (5,)),
        "dot": (torch.dot, (5,), (5,)),
        "one of one": (torch.mm, (1, 1), (1, 1)),
    }


@pytest.mark.parametrize("case", matmul_cases())
@pytest.mark.parametrize("needs", ["both", "first", "second"])
def test_a_matmul_s_tensors_reproduce_its_output_and_gradients(case: str, needs: str, tmp_path: Path):
    function, p_shape, q_shape = matmul_cases()[case]
    p = coarse(*p_shape).requires_grad_(needs != "second")
    q = coarse(*q_shape).requires_grad_(needs != "first")
    seen = []

    def step() -> None:
        seen.append(function(p, q))
        seen[0].backward(coarse(*seen[0].shape))

    (layer,) = captured(nn.Identity(), step, tmp_path).layers
    output, input_grad, weight_grad = products(layer)
    assert layer.kind == "matmul"
    assert layer.operations == {"both": ALL, "first": ALL[:2], "second": (ALL[0], ALL[2])}[needs]
    torch.testing.assert_close(output.flatten(), seen[0].detach().flatten())
    # A transposed operand's gradient is the transpose of the operand that multiplied.
    for operand, grad in ((p, input_grad), (q, weight_grad)):
        if operand.requires_grad:
            assert sorted(grad.flatten().tolist()) == pytest.approx(sorted(operand.grad.flatten().tolist()))
            if "transposed" not in case and case != "einsum":
                torch.testing.assert_close(grad.flatten(), operand.grad.flatten())


@pytest.mark.parametrize(
    "function", [lambda x: x @ x.T, lambda x: x.T @ x, lambda x: torch.addmm(torch.zeros(1), x, x.T), lambda x: x @ x]
)
def test_a_product_of_a_matrix_with_itself_is_not_confused(function: Callable[[Tensor], Tensor], tmp_path: Path):
    x, g = coarse(4, 4).requires_grad_(), coarse(4, 4)
    (layer,) = captured(nn.Identity(), lambda: function(x).backward(g), tmp_path).layers
    assert layer.operations == ALL
    assert torch.equal(values(layer.g), g)


def test_products_are_linked_to_their_own_gradients_where_shapes_and_weights_repeat(tmp_path: Path):
    shared = coarsened(nn.Linear(4, 4, bias=False))

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = shared, shared
            self.norm = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2):
                x = torch.tanh(self.second(torch.tanh(self.first(x))))
            return self.norm(x)

    model, x = Twice(), coarse(4, 4).requires_grad_()
    gradients: dict[int, Tensor] = {}
    count = itertools.count()

    def watch(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        number = next(count)
        output.register_hook(lambda grad: gradients.__setitem__(number, grad.clone()))

    shared.register_forward_hook(watch)
    trace = captured(model, lambda: model(x).sum().backward(), tmp_path)
    assert [layer.name for layer in trace.layers] == ["first", "first#2", "first#3", "first#4", "norm"]
    for number, layer in enumerate(trace.layers[:4]):
        assert layer.operations == ALL
        np.testing.assert_array_equal(layer.g, from_float32(gradients[number].numpy()))


def test_a_first_layer_has_no_input_grad_and_a_frozen_one_no_weight_grad(tmp_path: Path):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 4), nn.Linear(4, 3)
    )
    model[2].requires_grad_(False)
    model[4].requires_grad_(False)
    trace = captured(model, lambda: model(coarse(2, 1, 6, 6)).sum().backward(), tmp_path)
    ran = {layer.name: layer.operations for layer in trace.layers}
    assert ran == {"0": ("forward", "weight_grad"), "2": ALL[:2], "4": ALL[:2], "5": ALL}


def test_a_frozen_trunk_and_evaluation_run_forward_only(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)

    def step() -> None:
        model(coarse(3, 4)).sum().backward()
        with torch.no_grad():
            model(coarse(3, 4))
        with torch.inference_mode():
            model(coarse(3, 4))

    trace = captured(model, step, tmp_path)
    assert [(layer.name, layer.operations) for layer in trace.layers] == [
        ("0", ("forward",)),
        ("1", ("forward", "weight_grad")),
        *((name, ("forward",)) for name in ("0#2", "1#2", "0#3", "1#3")),
    ]
    assert not trace.layers[0].holds("g")


def test_inference_mode_sees_convolutions_and_attention(tmp_path: Path):
    model = nn.Conv1d(2, 4, 3)

    def step() -> None:
        with torch.inference_mode():
            x = model(coarse(2, 2, 6))
            functional.scaled_dot_product_attention(x, x, x)

    assert [layer.kind for layer in captured(model, step, tmp_path).layers] == ["conv1d", "matmul", "matmul"]


def test_accumulated_batches_are_separate_instances(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))

    def step() -> None:
        for _ in range(2):
            model(coarse(3, 4)).sum().backward()

    trace = captured(model, step, tmp_path)
    assert [layer.name for layer in trace.layers] == ["0", "1", "0#2", "1#2"]
    assert all("weight_grad" in layer.operations for layer in trace.layers)


def test_a_second_backward_pass_through_one_graph_is_an_instance_without_forward(tmp_path: Path):
    model, x = nn.Linear(4, 2), coarse(3, 4).requires_grad_()

    def step() -> None:
        output = model(x)
        output.backward(torch.ones(3, 2), retain_graph=True)
        output.backward(torch.full((3, 2), 2.0))

    first, second = captured(model, step, tmp_path).layers
    assert (first.operations, second.operations) == (ALL, ALL[1:])
    assert (values(first.g) == 1).all()
    assert (values(second.g) == 2).all()


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_shows_the_forward_pass_run_again(reentrant: bool, tmp_path: Path):
    block = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())
    model = nn.Sequential(block, nn.Linear(4, 4))
    x = coarse(4, 4).requires_grad_()
    plain = captured(model, lambda: model(x).sum().backward(), tmp_path)
    expected = {layer.name: layer.g for layer in plain.layers}

    def step() -> None:
        model[1](checkpoint(block, x, use_reentrant=reentrant)).sum().backward()

    trace = captured(model, step, tmp_path)
    backward = [layer for layer in trace.layers if "weight_grad" in layer.operations]
    forward = [layer.name.partition("#")[0] for layer in trace.layers if "forward" in layer.operations]
    assert len(backward) == 4
    for layer in backward:
        np.testing.assert_array_equal(layer.g, expected[layer.name.partition("#")[0]])
        assert layer.operations[-2:] == ALL[1:]
    # Recomputation stops early in the newer form: the last layer's output is needed by nobody.
    assert forward.count("0.0") == 2
    assert forward.count("0.4") == 2
    again = trace.metadata.extra["recomputed"]
    assert [layer.name for layer in trace.layers if layer.name in again and "forward" in layer.operations] == again
    assert [name.partition("#")[0] for name in again] == ["0.0", "0.2", "0.4"]
    assert "recomputed" not in plain.metadata.extra


def test_tensors_kept_on_another_device_in_between_are_still_linked(tmp_path: Path):
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), coarse(4, 4).requires_grad_()

    def step() -> None:
        with torch.autograd.graph.save_on_cpu():
            model(x).sum().backward()

    assert [layer.operations for layer in captured(model, step, tmp_path).layers] == [ALL, ALL]


def test_gradients_that_a_program_computes_itself_are_seen(tmp_path: Path):
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(context: object, x: Tensor, w: Tensor) -> Tensor:
            context.save_for_backward(x, w)
            return functional.conv2d(x, w)

        @staticmethod
        def backward(context: object, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, w = context.saved_tensors
            return torch.nn.grad.conv2d_input(x.shape, w, grad), torch.nn.grad.conv2d_weight(x, w.shape, grad)

    x, w = coarse(2, 3, 5, 5).requires_grad_(), coarse(4, 3, 3, 3).requires_grad_()
    trace = captured(nn.Identity(), lambda: Own.apply(x, w).sum().backward(), tmp_path)
    (layer,) = trace.layers
    assert layer.operations == ALL
    _, input_grad, weight_grad = products(layer)
    assert torch.equal(input_grad, x.grad)
    assert torch.equal(weight_grad, w.grad)


def test_the_updates_of_the_optimizer_do_not_reach_what_was_captured(tmp_path: Path):
    model = coarsened(nn.Linear(4, 2, bias=False))
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def step() -> None:
        for _ in range(2):
            model(coarse(3, 4)).sum().backward()
            optimizer.step()

    first, second = captured(model, step, tmp_path).layers
    assert torch.equal(values(first.w), before)
    assert not torch.equal(values(second.w), before)


def test_a_write_behind_autograd_s_back_is_seen(tmp_path: Path):
    model, x = coarsened(nn.Linear(4, 2, bias=False)), coarse(3, 4)

    def step() -> None:
        model(x)
        model.weight.data.mul_(2)
        x.data.mul_(2)
        model(x)

    first, second = captured(model, step, tmp_path).layers
    assert torch.equal(values(second.w), 2 * values(first.w))
    assert torch.equal(values(second.a), 2 * values(first.a))
