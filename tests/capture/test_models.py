"""Recurrent layers and attention, which PyTorch runs as fused operators, come apart into their products."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw.bfloat16 import from_float32
from tests.captured_steps import ALL, captured, products, values


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
        torch.testing.assert_close(
            products(projection)[2], getattr(module, f"weight_ih_l{depth}{way}").grad, rtol=0.05, atol=0.02
        )
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


def test_a_layer_called_for_each_time_step_is_stacked_like_a_cell(tmp_path: Path):
    module, x = nn.LSTM(3, 4), torch.randn(6, 2, 3)

    def step() -> None:
        state, total = None, torch.zeros(())
        for now in x:
            output, state = module(now[None], state)
            total = total + output.sum()
        total.backward()

    found = {layer.name: layer.shapes["a"] for layer in captured(module, step, tmp_path).layers}
    assert found == {"weight_ih_l0": (6, 2, 3), "weight_hh_l0": (1, 2, 4), "weight_hh_l0#2": (5, 2, 4)}


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
