import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import simhw
from simhw.bfloat16 import from_float32, to_float32
from simhw.capture import Capture
from simhw.capture.operators import NOTED, PRODUCTS, REFUSED, role
from simhw.errors import CaptureError
from simhw.trace.layer import Layer
from simhw.trace.trace import Trace

ALL = ("forward", "input_grad", "weight_grad")


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def coarse(*shape: int) -> Tensor:
    """Random values with few bits: bfloat16 holds them exactly, and float32 their products and sums."""
    return torch.randint(-8, 9, shape).float() / 8


def coarsened(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(coarse(*tensor.shape))
    return model


def captured(model: nn.Module, step: Callable[[], object], folder: Path, **options: object) -> Trace:
    capture = Capture(model, folder / "step.npz", **options)  # type: ignore[arg-type]
    with capture.step():
        step()
    return simhw.load_trace(folder / "step.npz")


def values(bits: np.ndarray) -> Tensor:
    return torch.from_numpy(to_float32(bits).copy())


def convolution(layer: Layer) -> Callable[[Tensor, Tensor], Tensor]:
    function = {"conv1d": functional.conv1d, "conv2d": functional.conv2d, "conv3d": functional.conv3d}[layer.kind]
    g = layer.geometry
    return lambda a, w: function(a, w, None, g.stride, g.padding, g.dilation, g.groups)


def products(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """Output, input gradient and weight gradient, recomputed from a layer's tensors as its kind says."""
    a, w, g = (values(t).requires_grad_() for t in (layer.a, layer.w, layer.g))
    if layer.kind.startswith("conv"):
        output = convolution(layer)(a, w)
    elif layer.kind == "matmul":
        output = a @ w
    else:
        output = a @ w.mT
    assert output.shape == g.shape
    input_grad, weight_grad = torch.autograd.grad(output, (a, w), g.detach())
    return output.detach(), input_grad, weight_grad


CONVOLUTIONS = {
    "conv1d": (nn.Conv1d(3, 4, 3), (2, 3, 9)),
    "conv1d strided, padded, dilated": (nn.Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2), (2, 4, 11)),
    "conv2d": (nn.Conv2d(3, 5, 3, bias=False), (2, 3, 6, 7)),
    "conv2d all at once": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2), (2, 4, 7, 6)),
    "conv2d depthwise": (nn.Conv2d(4, 8, 3, padding=1, groups=4), (2, 4, 5, 5)),
    "conv2d padding same": (nn.Conv2d(2, 3, 3, padding="same"), (2, 2, 5, 5)),
    "conv2d circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 5, 5)),
    "conv2d channels last": (nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last), (2, 4, 6, 6)),
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
        seen["output"] = output.detach() - (module.bias.detach().reshape(-1, *[1] * (output.dim() - 2)) if module.bias is not None else 0)

    (layer,) = captured(model, step, tmp_path).layers
    output, input_grad, weight_grad = products(layer)
    assert (layer.name, layer.kind, layer.operations) == ("1", f"conv{len(shape) - 2}d", ALL)
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
    torch.testing.assert_close(output.reshape(*shape[:-1], 3), outputs[0].detach() - (model.bias.detach() if bias else 0))
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


@pytest.mark.parametrize("function", [lambda x: x @ x.T, lambda x: x.T @ x, lambda x: torch.addmm(torch.zeros(1), x, x.T), lambda x: x @ x])
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
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 4), nn.Linear(4, 3))
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
    assert [layer.operations for layer in trace.layers] == [("forward",), ("input_grad",), ("weight_grad",)]


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


def test_float32_is_rounded_to_nearest_even_or_truncated(tmp_path: Path):
    model, x = nn.Linear(8, 4), torch.randn(5, 8)
    w = model.weight.detach().numpy().copy()
    for rounding in ("rne", "truncate"):
        trace = captured(model, lambda: model(x).sum().backward(), tmp_path, rounding=rounding)
        np.testing.assert_array_equal(trace.layers[0].a, from_float32(x.numpy(), rounding))
        np.testing.assert_array_equal(trace.layers[0].w, from_float32(w, rounding))
        assert trace.metadata.extra["rounding"] == rounding


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_types_are_captured_as_bfloat16(dtype: torch.dtype, tmp_path: Path):
    model, x = coarsened(nn.Linear(4, 3)).to(dtype), coarse(2, 4).to(dtype)
    (layer,) = captured(model, lambda: model(x).sum().backward(), tmp_path).layers
    assert torch.equal(values(layer.a), x.float())
    assert torch.equal(values(layer.w), model.weight.detach().float())


def test_bfloat16_autocast_is_captured_under_the_parameters_names(tmp_path: Path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2))
    x = coarse(2, 1, 4, 4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(x).float().sum()
        loss.backward()

    trace = captured(model, step, tmp_path)
    assert [(layer.name, layer.kind) for layer in trace.layers] == [("0", "conv2d"), ("2", "linear"), ("4", "linear")]
    assert trace.layers[1].operations == ALL
    np.testing.assert_array_equal(trace.layers[1].w, from_float32(model[2].weight.detach().numpy()))


# Recurrent layers


class Cell(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for now in x:
            state = self.cell(now, state)
        return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_layer_s_gate_products_are_stacked_over_time(kind: str, tmp_path: Path):
    module = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](3, 4, num_layers=2, bidirectional=True)
    gates = {"lstm": 4, "gru": 3}[kind]
    model, x = nn.Sequential(module), torch.randn(5, 2, 3).requires_grad_()
    with torch.no_grad():
        expected = module(x)[0].clone()
    seen = []

    def step() -> None:
        seen.append(module(x)[0])
        seen[0].sum().backward()

    trace = captured(model, step, tmp_path)
    torch.testing.assert_close(seen[0].detach(), expected)
    layers = {layer.name: layer for layer in trace.layers}
    for depth, way in itertools.product((0, 1), ("", "_reverse")):
        inputs = 3 if depth == 0 else 8
        projection = layers[f"0.weight_ih_l{depth}{way}"]
        assert (projection.kind, projection.operations) == (kind, ALL)
        assert (projection.shapes["a"], projection.shapes["g"]) == ((5, 2, inputs), (5, 2, 4 * gates))
        # The initial state of zeros needs no gradient, so the first time step ran one product less.
        first, others = layers[f"0.weight_hh_l{depth}{way}"], layers[f"0.weight_hh_l{depth}{way}#2"]
        assert (first.shapes["a"], first.operations) == ((1, 2, 4), ("forward", "weight_grad"))
        assert (others.shapes["a"], others.operations) == ((4, 2, 4), ALL)
        assert others.kind == kind
        weight_grad = products(others)[2] + values(first.g)[0].T @ values(first.a)[0]
        torch.testing.assert_close(weight_grad, getattr(module, f"weight_hh_l{depth}{way}").grad, rtol=0.05, atol=0.02)
        torch.testing.assert_close(products(projection)[2], getattr(module, f"weight_ih_l{depth}{way}").grad, rtol=0.05, atol=0.02)
    assert len(layers) == 12


def test_recurrent_gates_equal_the_products_of_the_states(tmp_path: Path):
    module, x = nn.LSTM(3, 4, batch_first=True), torch.randn(2, 5, 3)
    seen = []

    def step() -> None:
        seen.append(module(x)[0])
        seen[0].sum().backward()

    projection, first, others = captured(module, step, tmp_path).layers
    np.testing.assert_array_equal(projection.a, from_float32(x.transpose(0, 1).contiguous().numpy()))
    assert (values(first.a) == 0).all()
    # The operand of time step t is the hidden state, which is the output, of time step t - 1.
    np.testing.assert_array_equal(others.a, from_float32(seen[0].detach().transpose(0, 1)[:-1].contiguous().numpy()))
    assert projection.operations == ("forward", "weight_grad")


def test_recurrent_layers_under_autocast_keep_their_names_and_kinds(tmp_path: Path):
    module, x = nn.LSTM(3, 4, proj_size=2), torch.randn(5, 2, 3)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            output = module(x)[0].float().sum()
        output.backward()

    layers = captured(module, step, tmp_path).layers
    assert {layer.name.partition("#")[0]: layer.kind for layer in layers} == dict.fromkeys(
        ("weight_ih_l0", "weight_hh_l0", "weight_hr_l0"), "lstm"
    )


@pytest.mark.parametrize(("kind", "module"), [("lstm", nn.LSTMCell), ("gru", nn.GRUCell), ("linear", nn.RNNCell)])
def test_the_time_steps_of_a_cell_are_one_layer(kind: str, module: type, tmp_path: Path):
    model, x = Cell(module(3, 4)), torch.randn(6, 2, 3)
    trace = captured(model, lambda: model(x).sum().backward(), tmp_path)
    shapes = {layer.name: (layer.kind, layer.shapes["a"], layer.operations) for layer in trace.layers}
    assert shapes.pop("cell.weight_ih") == (kind, (6, 2, 3), ("forward", "weight_grad"))
    assert sorted(shapes.values(), key=str) == [(kind, (1, 2, 4), ("forward", "weight_grad")), (kind, (5, 2, 4), ALL)]


def test_truncated_backpropagation_gives_an_instance_per_stretch(tmp_path: Path):
    module, x = nn.LSTM(3, 4), torch.randn(6, 2, 3)

    def step() -> None:
        state = None
        for part in x.split(3):
            output, state = module(part, state)
            output.sum().backward()
            state = tuple(s.detach() for s in state)

    trace = captured(module, step, tmp_path)
    projections = [layer.shapes["a"] for layer in trace.layers if "weight_ih" in layer.name]
    assert projections == [(3, 2, 3), (3, 2, 3)]


def test_packed_sequences_keep_each_time_step_s_batch(tmp_path: Path):
    module = nn.GRU(3, 4)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(4, 3, 3), torch.tensor([4, 2, 1]))
    trace = captured(module, lambda: module(packed)[0].data.sum().backward(), tmp_path)
    recurrent = sum(layer.shapes["a"][0] * layer.shapes["a"][1] for layer in trace.layers if "weight_hh" in layer.name)
    assert recurrent == 4 + 2 + 1


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_plain_recurrent_network_is_linear_layers(nonlinearity: str, tmp_path: Path):
    module, x = nn.RNN(3, 4, nonlinearity=nonlinearity), torch.randn(5, 2, 3)
    trace = captured(module, lambda: module(x)[0].sum().backward(), tmp_path)
    assert {layer.kind for layer in trace.layers} == {"linear"}
    assert [layer.shapes["a"] for layer in trace.layers] == [(5, 2, 3), (1, 2, 4), (4, 2, 4)]


# Attention


def test_attention_is_two_matmuls_between_linear_layers(tmp_path: Path):
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(3, 5, 8).requires_grad_()
    trace = captured(model, lambda: model(x).sum().backward(), tmp_path)
    found = [(layer.name, layer.kind, layer.shapes["a"]) for layer in trace.layers]
    assert found == [
        ("self_attn.in_proj_weight", "linear", (15, 8)),
        ("self_attn.matmul", "matmul", (6, 5, 4)),
        ("self_attn.matmul#2", "matmul", (6, 5, 5)),
        ("self_attn.out_proj", "linear", (15, 8)),
        ("linear1", "linear", (3, 5, 8)),
        ("linear2", "linear", (3, 5, 16)),
    ]
    assert all(layer.operations == ALL for layer in trace.layers)
    # The second product's first operand is what the softmax gave.
    torch.testing.assert_close(values(trace.layers[2].a).sum(-1), torch.ones(6, 5), rtol=0.01, atol=0.01)


def test_fused_attention_gives_the_same_loss_and_is_restored_afterwards(tmp_path: Path):
    q, k, v = (torch.randn(2, 3, 5, 4).requires_grad_() for _ in range(3))
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    seen = []

    def step() -> None:
        seen.append(functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        seen[0].sum().backward()

    trace = captured(nn.Identity(), step, tmp_path)
    torch.testing.assert_close(seen[0], expected)
    assert [layer.operations for layer in trace.layers] == [ALL, ALL]
    assert torch.backends.mha.get_fastpath_enabled()
    assert functional.scaled_dot_product_attention(q, k, v).grad_fn.name().startswith("ScaledDotProductFlash")


def test_an_encoder_in_evaluation_does_not_take_the_fused_path(tmp_path: Path):
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1).eval()

    def step() -> None:
        with torch.no_grad():
            model(torch.randn(3, 5, 8))

    assert len(captured(model, step, tmp_path).layers) == 6


# Names


def test_tied_weights_are_named_after_the_module_that_runs(tmp_path: Path):
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.decoder = nn.Linear(4, 7, bias=False)
            self.decoder.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.embed(x))

    model = Tied()
    trace = captured(model, lambda: model(torch.tensor([[1, 2], [3, 4]])).sum().backward(), tmp_path)
    assert [(layer.name, layer.kind) for layer in trace.layers] == [("decoder", "linear")]


def test_a_weight_computed_from_parameters_is_a_linear_layer_of_its_module(tmp_path: Path):
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    trace = captured(model, lambda: model(coarse(2, 4)).sum().backward(), tmp_path)
    assert [(layer.name, layer.kind, layer.operations) for layer in trace.layers] == [("0.linear", "linear", ("forward", "weight_grad"))]


def test_several_models_are_told_apart(tmp_path: Path):
    one, two = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 1))
    capture = Capture({"generator": one, "discriminator": two}, tmp_path / "step.npz")
    with capture.step():
        two(one(coarse(2, 3))).sum().backward()
    trace = simhw.load_trace(tmp_path / "step.npz")
    assert [layer.name for layer in trace.layers] == ["generator", "discriminator.0"]
    assert trace.metadata.model == "Linear, Sequential"


# What cannot be captured faithfully is refused


def scripted_custom_operator() -> Tensor:
    library = torch.library.Library("simhw_test", "FRAGMENT")
    if not hasattr(torch.ops.simhw_test, "secret_gemm"):
        library.define("secret_gemm(Tensor a, Tensor b) -> Tensor")
        library.impl("secret_gemm", lambda a, b: a @ b, "CPU")
    return torch.ops.simhw_test.secret_gemm(torch.ones(2, 2), torch.ones(2, 2))


REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "transposed convolution": (lambda: nn.ConvTranspose2d(2, 3, 3)(torch.ones(1, 2, 4, 4)), "aten::convolution (transposed)"),
    "bilinear": (lambda: nn.Bilinear(3, 3, 2)(torch.ones(1, 3), torch.ones(1, 3)), "aten::_trilinear"),
    "distances": (lambda: torch.cdist(torch.ones(3, 2), torch.ones(3, 2), p=1.0), "aten::_cdist_forward"),
    "addbmm": (lambda: torch.addbmm(torch.zeros(2, 2), torch.ones(3, 2, 2), torch.ones(3, 2, 2)), "aten::addbmm"),
    "sparse": (lambda: torch.sparse.mm(torch.eye(3).to_sparse(), torch.ones(3, 2)), "_sparse"),
    "integers": (lambda: torch.ones(2, 2, dtype=torch.int64) @ torch.ones(2, 2, dtype=torch.int64), "torch.int64"),
    "fused operator of another library": (scripted_custom_operator, "simhw_test::secret_gemm"),
    "fused recurrent layer": (
        lambda: torch.ops.aten.mkldnn_rnn_layer(
            *(
                torch.ones(2, 1, 4),
                torch.ones(16, 4),
                torch.ones(16, 4),
                torch.ones(16),
                torch.ones(16),
                torch.ones(1, 4),
                torch.ones(1, 4),
            ),
            *(False, [], 2, 4, 1, True, False, False, True),
        ),
        "aten::mkldnn_rnn_layer",
    ),
    "fused attention": (
        lambda: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*(torch.ones(1, 1, 2, 4),) * 3),
        "aten::_scaled_dot_product_flash_attention_for_cpu",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_an_operator_that_hides_products_is_refused_by_name_and_module(case: str, tmp_path: Path):
    run, operator = REFUSALS[case]

    class Hidden(nn.Module):
        def forward(self) -> None:
            run()

    model = nn.ModuleDict({"inner": Hidden()})
    with pytest.raises(CaptureError, match=re.escape(operator)) as error:
        captured(model, lambda: model["inner"](), tmp_path)
    assert "'inner" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_operator_can_be_declared_harmless(tmp_path: Path):
    def step() -> None:
        torch.cdist(torch.ones(3, 2), torch.ones(3, 2), p=1.0)
        torch.ones(2, 2) @ torch.ones(2, 2)

    assert len(captured(nn.Identity(), step, tmp_path, ignore={"aten::_cdist_forward"}).layers) == 1


def test_solvers_are_counted_beside_the_layers(tmp_path: Path):
    def step() -> None:
        torch.linalg.svd(torch.ones(3, 2) @ torch.ones(2, 2))
        torch.linalg.svd(torch.eye(3))

    assert captured(nn.Identity(), step, tmp_path).metadata.extra["not_captured"] == {"aten::_linalg_svd": 2}


def test_every_operator_of_this_torch_that_may_multiply_is_decided_upon():
    """A new PyTorch with a new fused operator fails here, not in a user's silently incomplete trace."""
    suspicious = re.compile(
        r"(^|_)(mm|bmm|gemm|matmul|linear|conv|convolution|rnn|lstm|gru|attention|attn|dot|vdot|mv|bilinear|trilinear|cdist|pdist|"
        r"euclidean|einsum|addr|encoder|head|smm|hspmm)|(add|badd|addb|int4pack_|int8pack_|sspadd)mm|mm$|addmv|conv[123]d|matmul|attention"
    )
    # Named alike, but they multiply nothing: interpolation, packing, pointwise parts of cells, shape and set-up work.
    innocent = re.compile(
        r"upsample_|_upsample|pack_4bit|linear_quantize_weight|pack_gemm|_convert_weight|prepack|flatten_weight|reorder_conv|"
        r"thnn_(fused|differentiable)|lgamma|digamma|glu|_overrideable$|scaled_dot_product_attention_math$|grid_sampler|"
        r"leaky|relu$|_convert_indices|linspace|prod|isfinite|_linear_pointwise"
    )
    overloads: dict[str, list[str]] = {}
    for full in torch._C._dispatch_get_all_op_names():
        if full.startswith("aten::"):
            overloads.setdefault(full.removeprefix("aten::").partition(".")[0], []).append(full)
    undecided = []
    for name, full_names in sorted(overloads.items()):
        # What is made of other operators is never seen whole outside of inference mode, and is taken apart there.
        composite = all(torch._C._dispatch_has_kernel_for_dispatch_key(full, "CompositeImplicitAutograd") for full in full_names)
        if suspicious.search(name) and not innocent.search(name) and not composite and role("aten", name) == "harmless":
            undecided.append(name)
    assert undecided == []


def test_every_operator_that_capture_knows_exists():
    known = {name.partition(".")[0].removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names()}
    assert {*REFUSED, *NOTED, *PRODUCTS} - known == set()


def test_a_backward_pass_of_an_earlier_forward_pass_is_refused(tmp_path: Path):
    model = nn.Linear(3, 2)
    loss = model(torch.ones(1, 3)).sum()
    with pytest.raises(CaptureError, match="put forward, backward and optimizer step all inside"):
        captured(model, loss.backward, tmp_path)


def gradient_penalty(model: nn.Module) -> None:
    x = coarse(2, 3).requires_grad_()
    (grad,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    grad.square().sum().backward()


def functional_gradient(model: nn.Module) -> None:
    parameters = dict(model.named_parameters())
    torch.func.grad(lambda p: torch.func.functional_call(model, p, (coarse(2, 3),)).sum())(parameters)


@pytest.mark.parametrize("step", [gradient_penalty, functional_gradient])
def test_second_order_and_functional_gradients_are_refused(step: Callable[[nn.Module], None], tmp_path: Path):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    with pytest.raises(CaptureError, match=r"create_graph=True.*torch\.func"):
        captured(model, lambda: step(model), tmp_path)


@pytest.mark.parametrize("size", [3, 4])
def test_a_hook_that_multiplies_a_gradient_is_refused(size: int, tmp_path: Path):
    """At size 4 the hook's product has the very shapes of the layer's input gradient: only its values tell it apart."""
    model, x = nn.Linear(size, 4), coarse(2, size).requires_grad_()

    def step() -> None:
        output = model(x)
        output.register_hook(lambda grad: grad @ torch.ones(4, 4))
        output.sum().backward()

    with pytest.raises(CaptureError, match="a hook on a gradient that multiplies"):
        captured(model, step, tmp_path)


def test_a_step_without_layers_is_refused(tmp_path: Path):
    with pytest.raises(CaptureError, match="step 1: no layer ran"):
        captured(nn.ReLU(), lambda: None, tmp_path)


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_a_captured_step_of_a_compiled_model_runs_uncompiled_under_the_same_names(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    compiled = torch.compile(model, backend="aot_eager")
    trace = captured(compiled, lambda: compiled(coarse(3, 4)).sum().backward(), tmp_path)
    assert [(layer.name, layer.operations) for layer in trace.layers] == [("0", ("forward", "weight_grad")), ("2", ALL)]
    assert trace.metadata.model == "Sequential"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_reported_with_layer_count_and_place(value: float, tmp_path: Path):
    model, x = nn.Sequential(nn.Identity(), nn.Linear(4, 2)), coarse(3, 4)
    x[1, 2] = x[2, 0] = value
    with pytest.raises(CaptureError, match=re.escape("layer '1', tensor A: 2 NaN or infinite values (first at index (1, 2))")):
        captured(model, lambda: model(x), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (layer,) = captured(model, lambda: model(x), tmp_path, nonfinite="zero").layers
    assert values(layer.a)[1, 2] == 0
    assert torch.equal(values(layer.a)[0], x[0])


def test_a_gradient_that_is_not_finite_is_reported_from_within_backward(tmp_path: Path):
    model = nn.Linear(4, 2)
    with pytest.raises(CaptureError, match="layer 'linear', tensor G: 6 NaN or infinite values"):
        captured(model, lambda: (model(coarse(3, 4)) * float("inf")).sum().backward(), tmp_path)


def test_options_that_cannot_work_are_refused_before_training(tmp_path: Path):
    model = nn.Linear(1, 1)
    for options, problem in (
        ({"path": tmp_path / "one.npz", "steps": {1, 2}}, r"put \{step\} into its name"),
        ({"path": tmp_path / "none" / "one.npz"}, "no such folder"),
        ({"path": tmp_path / "one.npz", "steps": {0}}, "counted from 1"),
        ({"path": tmp_path / "one.npz", "steps": ()}, "counted from 1"),
        ({"path": tmp_path / "one.npz", "rounding": "up"}, "one of rne, truncate"),
        ({"path": tmp_path / "one.npz", "nonfinite": "maybe"}, "one of error, zero, keep"),
        ({"path": tmp_path / "one.npz", "max_bytes": 0}, "max_bytes=0"),
    ):
        with pytest.raises(CaptureError, match=problem):
            Capture(model, **options)


# The user's own loop

SCRIPT = """
    import os, signal, sys
    import torch
    from torch import nn
    from simhw.capture import Capture

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    criterion = nn.CrossEntropyLoss()
    capture = Capture(model, "trace-{step}.npz", steps={2, 4}, dataset="noise", batch=8, seed=0)
    for _ in range(5):
        x, y = torch.randn(8, 1, 8, 8), torch.randint(0, 10, (8,))
        with capture.step():
            loss = criterion(model(x), y)
            loss.backward()
            EXTRA
            optimizer.step()
            optimizer.zero_grad()
    print(loss.item())
"""


def run_script(folder: Path, extra: str) -> subprocess.CompletedProcess[str]:
    script = folder / "train.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("EXTRA", extra))
    return subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_three_lines_capture_a_user_s_own_training_loop(tmp_path: Path):
    done = run_script(tmp_path, "pass")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.glob("*.npz")) == ["trace-2.npz", "trace-4.npz"]
    trace = simhw.load_trace(tmp_path / "trace-4.npz")
    assert [(layer.name, layer.kind) for layer in trace.layers] == [("0", "conv2d"), ("3", "linear")]
    about = trace.metadata
    assert (about.step, about.batch, about.seed, about.dataset, about.model) == (4, 8, 0, "noise", "Sequential")
    assert about.framework == f"PyTorch {torch.__version__}"
    assert "train.py" in about.capture_command


def test_capture_does_not_change_what_is_learnt(tmp_path: Path):
    def losses(steps: set[int]) -> list[float]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        optimizer = torch.optim.AdamW(model.parameters())
        capture = Capture(model, tmp_path / "{step}.npz", steps)
        found = []
        for _ in range(4):
            with capture.step():
                loss = functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.randint(0, 10, (8,)))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            found.append(loss.item())
        return found

    assert losses({1, 3}) == losses({100})


def test_an_interrupt_within_a_step_leaves_no_trace_and_goes_on(tmp_path: Path):
    interrupted = run_script(tmp_path, "os.kill(os.getpid(), signal.SIGINT) if capture._count == 4 else None")
    assert interrupted.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in interrupted.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trace-2.npz", "train.py"]


def test_an_interrupt_while_a_trace_is_written_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = nn.Linear(4, 2)
    old = captured(model, lambda: model(coarse(3, 4)), tmp_path).layers[0].a.tolist()

    def stopped(*_paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        captured(model, lambda: model(coarse(3, 4)), tmp_path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step.npz"]
    assert simhw.load_trace(tmp_path / "step.npz").layers[0].a.tolist() == old


def test_a_step_that_failed_leaves_no_trace_and_the_next_is_whole(tmp_path: Path):
    model = nn.Linear(4, 2)
    capture = Capture(model, tmp_path / "{step}.npz", steps={1, 2})
    with pytest.raises(RuntimeError), capture.step():
        model(coarse(3, 5))
    with capture.step():
        model(coarse(3, 4))
    assert [p.name for p in tmp_path.iterdir()] == ["2.npz"]
    assert [layer.name for layer in simhw.load_trace(tmp_path / "2.npz").layers] == ["linear"]


def test_a_sample_stays_within_its_size(tmp_path: Path):
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256))
    trace = captured(model, lambda: model(torch.randn(64, 256)).sum().backward(), tmp_path, max_bytes=200_000)
    assert trace.sampled
    assert (tmp_path / "step.npz").stat().st_size <= 200_000
