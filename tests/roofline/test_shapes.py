"""Networks captured from PyTorch models by shapes alone: every operator a layer, nothing allocated, nothing made up."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from simhw.errors import CaptureError
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import (
    Conv,
    Embedding,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    RecurrentLayer,
    Weight,
)
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step
from simhw_workloads.models.resnet import resnet50
from tests.roofline.zoo_layers import Gate, Residual


class Function(nn.Module):
    """A forward pass, and the modules and parameters that it uses."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def functions(network: Network) -> list[str]:
    return [layer.function for layer in network.layers if isinstance(layer, Pointwise)]


def of_kind(network: Network, kind: type[NetworkLayer]) -> list[NetworkLayer]:
    return [layer for layer in network.layers if isinstance(layer, kind)]


# --- whole models ---


def test_resnet50_is_the_shipped_list_up_to_names() -> None:
    network = network_of(on_meta(resnet50), torch.empty(1, 3, 224, 224), "resnet50")
    shipped = load_network("resnet50")
    assert (network.parameters, network.macs) == (shipped.parameters, shipped.macs)
    # Downsampling runs first in one and last in the other.
    assert Counter(replace(layer, name="") for layer in network.layers) == Counter(
        replace(layer, name="") for layer in shipped.layers
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet50": (resnet50, (2, 3, 64, 64)),
    "transformer": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2), (2, 10,
    32)),
    "decoder": (lambda: Function(lambda self, x: self.layer(x, x), layer=nn.TransformerDecoderLayer(32, 4,
    batch_first=True)), (2, 10, 32)),
    "video": (lambda: nn.Sequential(nn.Conv3d(3, 8, 3, groups=1), nn.Conv3d(8, 8, (1, 3, 3), (1, 2, 2), groups=4)),
    (2, 3, 8, 16, 16)),
    "waveform": (lambda: nn.Sequential(nn.Conv1d(2, 8, 5, dilation=2), nn.Linear(12, 3)), (2, 2, 20)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_arithmetic_is_that_of_pytorch_s_own_counter(name: str) -> None:
    build, shape = MODELS[name]
    model, x = on_meta(build).eval(), torch.empty(shape, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    network = network_of(model, x)
    assert 2 * shape[0] * network.macs == counter.get_total_flops()
    assert network.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_nothing_of_the_model_s_size_is_allocated() -> None:
    # Weights of 4 TB, and a real model's beside it whose copy shares nothing.
    network = network_of(on_meta(lambda: nn.Linear(10**6, 10**6)), torch.empty(1, 10**6))
    assert network.layers == (Linear("linear", 10**6, 10**6, 1),)


def test_a_real_model_is_left_as_it_was() -> None:
    model, x = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.MultiheadAttention(4, 2)),
        torch.randn(2, 3, 8, 8),
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dropout, attention, linear = functional.dropout, functional.scaled_dot_product_attention, functional.linear
    network_of(model[:3], x)
    with pytest.raises(CaptureError):
        network_of(nn.Sequential(nn.Conv2d(3, 4, 3), Function(lambda _, x: torch.fft.rfft(x))), x)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (functional.dropout, functional.scaled_dot_product_attention, functional.linear) == (
        dropout,
        attention,
        linear,
    )


def test_a_captured_network_makes_a_training_step() -> None:
    network = network_of(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)),
        torch.zeros(1, 3, 8, 8),
    )
    assert {work.layer for work in step(network, Run(8))} == {"0", "1", "2", "4", "loss", "optimizer"}


# --- layers ---


def test_attention_comes_apart() -> None:
    network = network_of(nn.MultiheadAttention(64, 4, batch_first=True), [torch.zeros(1, 10, 64)] * 3)
    products = [replace(layer, name="") for layer in network.layers if isinstance(layer, Linear | MatMul)]
    # Query, key and value differ to PyTorch as three tensors do: a third of in_proj each.
    assert products == [
        *[Linear("", 64, 64, 10)] * 3,
        MatMul("", 4, 10, 10, 16),
        MatMul("", 4, 10, 16, 10),
        Linear("", 64, 64, 10),
    ]
    assert network.parameters == 4 * 64 * 64 + 4 * 64


def test_masked_attention_with_dropout_by_its_function() -> None:
    def forward(_: nn.Module, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(x, x, x, dropout_p=0.1, is_causal=True)

    network = network_of(Function(forward), torch.zeros(1, 4, 10, 16))
    assert functions(network) == ["scale", "mask", "dropout"]


def test_recurrent_layers_are_one_each_way() -> None:
    network = network_of(nn.LSTM(8, 16, 2, bidirectional=True, dropout=0.1), torch.zeros(5, 1, 8), batch_axis=1)
    assert network.layers == (
        RecurrentLayer("l0", "lstm", 8, 16, 5),
        RecurrentLayer("l0_reverse", "lstm", 8, 16, 5),
        Pointwise("dropout", "dropout", 5 * 32),
        RecurrentLayer("l1", "lstm", 32, 16, 5),
        RecurrentLayer("l1_reverse", "lstm", 32, 16, 5),
    )
    assert network.parameters == sum(
        parameter.numel() for parameter in nn.LSTM(8, 16, 2, bidirectional=True).parameters()
    )


def test_steps_of_a_cell_are_one_layer() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 16)
        for now in x.unbind(1):
            state = self.cell(now, state)
        return state

    (layer,) = of_kind(network_of(Function(forward, cell=nn.GRUCell(8, 16)), torch.zeros(1, 5, 8)), RecurrentLayer)
    assert layer == RecurrentLayer("cell", "gru", 8, 16, 5)


def test_a_value_used_twice_is_a_fork_and_a_split_one_is_not() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = self.first(x)
        a, b = x.chunk(2, 1)
        return cast(Tensor, self.second(a * b)) + x

    network = network_of(Function(forward, first=nn.Linear(8, 8), second=nn.Linear(4, 8)), torch.zeros(1, 8))
    # Both halves and the whole of `first`: two uses.
    assert [replace(layer, name="") for layer in network.layers if isinstance(layer, Pointwise)] == [
        Pointwise("", "fork", 8, 2),
        Pointwise("", "mul", 4, 2),
        Pointwise("", "add", 8, 2),
    ]


def test_a_value_written_in_place_is_another() -> None:
    network = network_of(Residual(nn.Conv2d(4, 4, 1)), torch.zeros(1, 4, 3, 3))
    assert functions(network) == ["add", "relu"]  # the network's input is used twice, but wants no gradient


def test_a_gate_per_channel_is_not_read_at_full_size() -> None:
    network = network_of(Gate(8, 2), torch.zeros(1, 8, 6, 6))
    assert network.layers[-1] == Pointwise("mul", "mul", 288, 1)
    assert network.layers[0] == Pool("pool", "average", 8, (6, 6), (1, 1), (6, 6))


def test_views_are_free_and_copies_are_not() -> None:
    network = network_of(
        Function(lambda _, x: x.transpose(1, 2)[:, 1:].reshape(len(x), -1).view(-1, 12)), torch.zeros(1, 4, 4)
    )
    assert network.layers == (Pointwise("copy", "copy", 12),)


def test_parts_of_images_are_slices_and_say_how_many() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = self.first(x)
        kept, rest = y[:, :6], y[:, 6:]
        z = torch.cat([kept, *self.second(rest).chunk(3, 1), self.third(x)], 1)
        result: Tensor = z[:, :, 1:]  # a part of the image's rows, not of its channels
        return result

    convs = {name: nn.Conv2d(*channels, 1) for name, channels in (("first", (3, 16)), ("second", (10, 12)))}
    network = network_of(Function(forward, **convs, third=nn.Conv2d(3, 8, 1)), torch.zeros(1, 3, 5, 5))
    assert [replace(layer, name="") for layer in network.layers if isinstance(layer, Pointwise)] == [
        Pointwise("", "slice", 16 * 25, 2),
        Pointwise("", "slice", 12 * 25, 3),
        # Parts of 6, 4, 4, 4 and 8 channels have two in common.
        Pointwise("", "copy", 26 * 25, part=2),
    ]


def test_parts_of_tokens_are_views() -> None:
    model = Function(lambda self, x: self.layer(x)[..., :2] + self.layer(x)[..., 2:], layer=nn.Linear(4, 4))
    assert functions(network_of(model, torch.zeros(1, 6, 4))) == ["add"]


def test_parameters_of_no_layer_are_weights() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        result: Tensor = self.scale * (tokens + self.positions)
        return result

    parts = {"token": (1, 1, 6), "positions": (1, 5, 6), "scale": (6,)}
    model = Function(forward, **{name: nn.Parameter(torch.zeros(shape)) for name, shape in parts.items()})
    assert network_of(model, torch.zeros(1, 4, 6)).layers == (
        Weight("token", 6),
        Pointwise("copy", "copy", 30),
        Weight("positions", 30),
        Pointwise("bias", "bias", 30),
        Weight("scale", 6),
        Pointwise("scale#2", "scale", 30),
    )


def test_embeddings_norms_and_frozen_layers() -> None:
    model = nn.Sequential(nn.Embedding(100, 8), nn.LayerNorm(8), nn.Linear(8, 4).requires_grad_(False), nn.GELU())
    assert network_of(model, torch.zeros(1, 7, dtype=torch.long)).layers == (
        Embedding("0", 100, 8, 7),
        Normalization("1", "layernorm", 8, 56),
        Linear("2", 8, 4, 7, trainable=False),
        Pointwise("3", "gelu", 28),
    )


def test_frames_one_by_one_are_a_dimension_of_kernel_1() -> None:
    model = Function(lambda self, x: self.conv(x.flatten(0, 1)), conv=nn.Conv2d(3, 8, 3, padding=1))
    (layer,) = network_of(model, torch.zeros(1, 16, 3, 12, 12)).layers
    assert layer == Conv("conv", 3, 8, (16, 12, 12), (1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1), bias=True)


def test_dropout_is_there_in_evaluation_too() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Dropout(0.0))
    assert network_of(model.eval(), torch.zeros(1, 4)).layers == network_of(model.train(), torch.zeros(1, 4)).layers
    assert functions(network_of(model, torch.zeros(1, 4))) == ["dropout"]


# --- what is not said, and what is refused ---


def test_shared_and_unused_weights_are_told() -> None:
    model = Function(lambda self, x: self.layer(self.layer(x)), layer=nn.Linear(4, 4), spare=nn.Linear(2, 2))
    network = network_of(model, torch.zeros(1, 4))
    assert [layer.name for layer in network.layers] == ["layer", "layer#2"]
    assert "layers hold 40 parameters, the model 20" in network.source
    assert "2 parameters are not used, such as spare.weight" in network.source


def test_work_done_once_for_all_samples_is_told() -> None:
    model = Function(lambda self, x: self.layer(x) * torch.arange(4.0, device=x.device).exp(), layer=nn.Linear(4, 4))
    network = network_of(model, torch.zeros(1, 4))
    assert "done once for all samples and not held: 1 aten::exp" in network.source


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (
            nn.Sequential(Function(lambda _, x: torch.cdist(x, x))),
            (1, 4, 8),
            "operator aten::_cdist_forward has no layer",
        ),
        (Function(lambda _, x: torch.linalg.inv(x)), (1, 4, 4), "operator aten::linalg_inv_ex has no layer"),
        (Function(lambda _, x: x - x.mean(0)), (1, 4), r"aten::mean works across samples .*size change"),
        (Function(lambda _, x: x.T @ x), (1, 4), r"aten::mm works across samples .*\(k change"),
        (
            Function(
                lambda self, x: x @ (self.u @ self.v),
                u=nn.Parameter(torch.zeros(4, 2)),
                v=nn.Parameter(torch.zeros(2, 4)),
            ),
            (1, 4),
            "aten::mm does not grow with the batch",
        ),
        (Function(lambda self, x: x * self.layer(x).sum().item(), layer=nn.Linear(4, 4)), (1, 4), "values=True"),
        (nn.LSTM(4, 8, proj_size=2), (1, 5, 4), "projection"),
        (nn.Linear(4, 4), (), "no samples along axis 0"),
    ],
    ids=[
        "distances",
        "solver",
        "mean of samples",
        "product of samples",
        "low rank",
        "value",
        "lstm",
        "scalar",
    ],
)
def test_what_has_no_size_per_sample_is_refused_by_name(model: nn.Module, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(CaptureError, match=words):
        network_of(model, torch.zeros(shape), batch_axis=1 if isinstance(model, nn.LSTM) else 0)


@pytest.mark.parametrize(
    ("model", "inputs", "axis", "words"),
    [
        (3, torch.zeros(1, 4), 0, "from a torch.nn.Module, not from a int"),
        (nn.Linear(4, 4), 4, 0, "inputs of type int: give a tensor"),
        (nn.Linear(4, 4), "abc", 0, "inputs of type str: give a tensor"),
        (nn.Linear(4, 4), torch.zeros(1, 4), -2, "batch_axis=-2: give the axis of samples, counted from 0"),
        (nn.Linear(4, 4), torch.zeros(1, 4), "0", "batch_axis='0': give the axis"),
        (Function(lambda _, x: torch.from_numpy(x.numpy())), torch.zeros(1, 4), 0, "or values=True"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_in_one_line(model: Any, inputs: Any, axis: Any, words: str) -> None:
    with pytest.raises(CaptureError, match=words) as error:
        network_of(model, inputs, batch_axis=axis)
    assert "\n" not in str(error.value)


def test_a_linear_layer_of_one_weight_vector_has_one_output() -> None:
    model = Function(lambda self, x: functional.linear(x, self.weight), weight=nn.Parameter(torch.zeros(4)))
    assert network_of(model, torch.zeros(2, 3, 4)).macs == 3 * 4


def test_a_forward_pass_that_asks_for_values_runs_on_them() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer(x)) if x[0, 0].item() > 0 else x

    model = Function(forward, layer=nn.Linear(4, 4))
    assert network_of(model, torch.ones(1, 4), values=True).layers == (Linear("layer", 4, 4),)
