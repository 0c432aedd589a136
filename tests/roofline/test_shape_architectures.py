"""Architectures as people build them become networks by shape: their products by hand, and nothing else stands in the
way.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw.errors import CaptureError
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Embedding, Linear, MatMul, NetworkLayer, Normalization, Pointwise, Pool

T, D = 8, 16
X = torch.zeros(1, T, D)


class Function(nn.Module):
    """A function of its modules and inputs."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def linear(**sizes: int) -> nn.Linear:
    return nn.Linear(sizes["i"], sizes["o"])


# Operators that multiply nothing, whatever they are


def scattered(x: Tensor) -> Tensor:
    return torch.zeros_like(x).scatter_(1, x.argmax(1, keepdim=True), 1.0)


def assigned(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] = 0
    y[:, 1:] += x[:, :-1]
    return y


OPERATORS: dict[str, Callable[[Tensor], Any]] = {
    "topk": lambda x: x.topk(3, -1),
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "masked_fill_": lambda x: x.clone().masked_fill_(x > 0, 0.0),
    "argmax": lambda x: x.argmax(-1),
    "sort": lambda x: x.sort(-1),
    "where": lambda x: torch.where(x > 0, x, -x),
    "max": lambda x: x.max(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "std": lambda x: x.std(-1),
    "norm": lambda x: functional.normalize(x, dim=-1),
    "scatter": scattered,
    "assignment": assigned,
    "one hot": lambda x: functional.one_hot(x.argmax(-1), D),
    "random": lambda x: x + torch.rand_like(x) + torch.randn(x.shape) + torch.randperm(D),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "any": lambda x: (x > 0).any(-1),
    "searchsorted": lambda x: torch.searchsorted(torch.linspace(0, 1, 8), x),
    "median": lambda x: x.median(-1)[0],
    "glu": functional.glu,
    "gumbel": functional.gumbel_softmax,
    "grid": lambda x: functional.grid_sample(x[:, None], torch.zeros(len(x), T, D, 2)),
    "fold": lambda x: functional.fold(functional.unfold(x[:, None], 2), (T, D), 2),
    "unpool": lambda x: functional.max_unpool1d(*functional.max_pool1d(x, 2, return_indices=True), 2),
    "polar": lambda x: torch.view_as_real(
        torch.view_as_complex(x.reshape(-1, T, D // 2, 2)) * torch.polar(torch.ones(8), torch.ones(8))
    ),
    "quantile": lambda x: x.quantile(0.5, -1),
    "mode": lambda x: x.mode(-1),
    "floor": lambda x: x // 2,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_without_products_adds_none(name: str) -> None:
    """Beside the one linear layer of 8 x 16 x 4 = 512 multiply-accumulates there is some layer without any."""
    network = network_of(Function(lambda self, x: (OPERATORS[name](x), self.layer(x)), layer=linear(i=D, o=4)), X)
    assert network.macs == T * D * 4
    assert len(network.layers) > 1
    assert all(layer.macs == 0 for layer in network.layers if layer.name != "layer")


def layers(function: Callable[[Tensor], Any]) -> tuple[NetworkLayer, ...]:
    return network_of(Function(lambda _, x: function(x)), X).layers


def test_where_an_axis_is_gone_it_is_a_reduction_and_else_a_pass_over_the_largest_tensor() -> None:
    assert layers(lambda x: x.argmax(-1)) == (Pool("argmax", "max", T, (D,), (1,), (D,)),)
    assert layers(lambda x: x.logsumexp(-1)) == (Pool("logsumexp", "average", T, (D,), (1,), (D,)),)
    assert layers(lambda x: x.topk(3, -1)) == (Pointwise("topk", "topk", T * D),)
    assert layers(lambda x: x.cumsum(1)) == (Pointwise("cumsum", "cumsum", T * D),)


# Products


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8)
        self.deep, self.up = nn.Conv2d(8, 16, 3, padding=1), nn.ConvTranspose2d(16, 8, 2, 2)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = functional.silu(self.norm(self.down(x)))
        up = self.up(functional.relu(self.deep(functional.max_pool2d(skip, 2))))
        result: Tensor = self.out(torch.cat([skip, up], 1))
        return result


class Mixture(nn.Module):
    """Of four experts two to each token, by weights (`dense`) or by picking its tokens."""

    def __init__(self, dense: bool) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(D, 4), nn.ModuleList(nn.Linear(D, D) for _ in range(4))
        self.dense = dense

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.gate(x).softmax(-1).topk(2, -1)
        if self.dense:
            spread = torch.zeros(*x.shape[:-1], 4, device=x.device).scatter_(-1, chosen, weights)
            return torch.stack([spread[..., i : i + 1] * expert(x) for i, expert in enumerate(self.experts)]).sum(0)
        output = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows = (chosen == i).any(-1).nonzero(as_tuple=True)
            output[rows] += expert(x[rows])
        return output


class Rotary(nn.Module):
    """A block of a language model of today: RMS norm, rotary positions, grouped heads, a gated feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.q, self.kv, self.o = nn.RMSNorm(D), nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, D)
        self.gate, self.up, self.down = nn.Linear(D, 32), nn.Linear(D, 32), nn.Linear(32, D)

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.outer(torch.arange(T, device=x.device, dtype=x.dtype), torch.arange(8, device=x.device).exp())

        def turned(heads: Tensor) -> Tensor:
            first, second = heads.chunk(2, -1)
            return heads * positions.cos() + torch.cat([-second, first], -1) * positions.sin()

        h = self.norm(x)
        q = self.q(h).view(-1, T, 2, 8).transpose(1, 2)
        k, v = self.kv(h).view(-1, T, 2, 8).transpose(1, 2).split(1, 1)
        mixed = functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True, enable_gqa=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(-1, T, D))
        result: Tensor = x + self.down(functional.silu(self.gate(x)) * self.up(x))
        return result


class Scan(nn.Module):
    """A state-space block: causal depthwise convolution, and a scan as a cumulative sum."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(D, 2 * D), nn.Linear(D, D)
        self.conv = nn.Conv1d(D, D, 4, groups=D, padding=3)
        self.decay = nn.Parameter(torch.zeros(D))

    def forward(self, x: Tensor) -> Tensor:
        a, z = self.enter(x).chunk(2, -1)
        a = functional.silu(self.conv(a.transpose(1, 2))[..., :T].transpose(1, 2))
        states = (a * (-self.decay.exp())).cumsum(1)
        result: Tensor = self.leave(states * functional.silu(z))
        return result


def detector(self: Any, x: Tensor) -> Any:
    features = functional.relu(self.body(x))
    scores, boxes = (head(features).flatten(2).transpose(1, 2) for head in (self.scores, self.boxes))
    best, labels = scores.sigmoid().max(-1)
    top, index = best.topk(5, 1)
    return boxes.gather(1, index[..., None].expand(-1, -1, 4)).clamp(0, 1), top, labels.gather(1, index)


def generator() -> nn.Module:
    up = nn.ConvTranspose2d
    return nn.Sequential(
        nn.Linear(8, 64),
        nn.Unflatten(1, (16, 2, 2)),
        up(16, 8, 4, 2, 1),
        nn.InstanceNorm2d(8),
        up(8, 3, 4, 2, 1, groups=1),
    )


CAUSAL = torch.ones(T, T).triu(1).bool()
ENCODER = (4 * D * D + 2 * D * 32) * T + 2 * T * T * D
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], int]] = {
    # Projections and feed-forward of each token, and two products of all tokens with all.
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 32, batch_first=True), 2),
        (X,),
        2 * ENCODER,
    ),
    "masked encoder": (
        lambda: Function(
            lambda s, x: s.e(x, CAUSAL.to(x.device)), e=nn.TransformerEncoderLayer(D, 2, 32, batch_first=True)
        ),
        (X,),
        ENCODER,
    ),
    "padded encoder": (
        lambda: Function(
            lambda s, x, m: s.e(x, src_key_padding_mask=m), e=nn.TransformerEncoderLayer(D, 2, 32, batch_first=True)
        ),
        (X, torch.zeros(1, T, dtype=torch.bool)),
        ENCODER,
    ),
    "decoder": (
        lambda: nn.TransformerDecoderLayer(D, 2, 32, batch_first=True),
        (X, X),
        ENCODER + 4 * D * D * T + 2 * T * T * D,
    ),
    "u-net": (
        UNet,
        (torch.zeros(1, 3, 8, 8),),
        64 * 3 * 8 * 9 + 16 * 8 * 16 * 9 + 16 * 16 * 8 * 4 + 64 * 16 * 2,
    ),
    "generator": (generator, (torch.zeros(1, 8),), 8 * 64 + 4 * 16 * 8 * 16 + 16 * 8 * 3 * 16),
    "grouped transposed convolution": (
        lambda: nn.ConvTranspose1d(4, 6, 3, groups=2),
        (torch.zeros(1, 4, 5),),
        5 * 4 * 3 * 3,
    ),
    "dense mixture": (lambda: Mixture(dense=True), (X,), T * (D * 4 + 4 * D * D)),
    "rotary": (Rotary, (X,), T * (3 * D * D + 3 * D * 32) + 2 * 2 * T * T * 8),
    "scan": (Scan, (X,), T * (2 * D * D + D * D) + D * 4 * (T + 3)),
    "detector": (
        lambda: Function(
            detector, body=nn.Conv2d(3, 8, 3, padding=1), scores=nn.Conv2d(8, 6, 1), boxes=nn.Conv2d(8, 4, 1)
        ),
        (torch.zeros(1, 3, 8, 8),),
        64 * (3 * 8 * 9 + 8 * 10),
    ),
    # Per row: x with each of four 16 x 16 matrices, and each result with y.
    "bilinear": (lambda: nn.Bilinear(D, D, 4), (X, X), T * (4 * D * D + 4 * D)),
    "recurrent": (
        lambda: Function(
            lambda s, x: s.head(s.rnn(x)[0][:, -1]), rnn=nn.GRU(D, 8, batch_first=True), head=linear(i=8, o=2)
        ),
        (X,),
        T * 3 * 8 * (D + 8) + 16,
    ),
    "lookup of the best": (
        lambda: Function(lambda s, x: s.e(s.h(x).argmax(-1)), h=linear(i=D, o=20), e=nn.Embedding(20, D)),
        (X,),
        T * D * 20,
    ),
    "quantised codes": (
        lambda: Function(
            lambda s, x: s.e((x.square().sum(-1, True) - 2 * x @ s.e.weight.T).argmin(-1)), e=nn.Embedding(10, D)
        ),
        (X,),
        T * D * 10,
    ),
    "matrix times vector": (lambda: Function(lambda s, x: x @ s.h.weight[0], h=linear(i=D, o=1)), (X,), T * D),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(D, 4)), (X,), T * D * 4),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_s_products_are_those_by_hand(name: str) -> None:
    build, inputs, macs = ARCHITECTURES[name]
    assert network_of(build(), inputs).macs == macs


def test_a_transposed_convolution_is_a_product_per_position_and_the_sum_of_what_overlaps() -> None:
    network = network_of(nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2)), torch.zeros(1, 3, 5, 6))
    assert network.layers[:2] == (Linear("0", 3, 36, 30, bias=False), Pointwise("0.col2im", "col2im", 36 * 30))
    assert network.parameters == 3 * 4 * 9 + 4


def test_a_grouped_one_is_a_product_per_group() -> None:
    network = network_of(nn.Sequential(nn.ConvTranspose1d(4, 6, 3, groups=2, bias=False)), torch.zeros(1, 4, 5))
    assert MatMul("0", 2, 5, 9, 2) in network.layers


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)])
def test_norms_of_groups_of_channels_have_a_scale_and_shift_per_channel(norm: nn.Module) -> None:
    assert network_of(nn.Sequential(norm), torch.zeros(1, 4, 6, 6)).layers == (Normalization("0", "layernorm", 4, 144),)


@pytest.mark.parametrize(("mode", "kind"), [("sum", "average"), ("mean", "average"), ("max", "max")])
def test_an_embedding_bag_is_lookups_and_a_pool(mode: str, kind: Any) -> None:
    assert network_of(nn.Sequential(nn.EmbeddingBag(50, 4, mode=mode)), torch.zeros(1, 6, dtype=torch.long)).layers == (
        Embedding("0", 50, 4, 6),
        Pool("0.bag", kind, 4, (6,), (1,), (6,)),
    )


# What asks for values


@pytest.mark.parametrize("operator", ["nonzero", "masked_select", "unique", "item"])
def test_an_operator_whose_result_depends_on_values_is_refused_by_name(operator: str) -> None:
    def forward(self: Any, x: Tensor) -> Any:
        x = self.layer(x)
        return {
            "nonzero": x.nonzero,
            "masked_select": lambda: x.masked_select(x > 0),
            "unique": x.unique,
            "item": x.sum().item,
        }[operator]()

    named = {"unique": "_unique2", "item": "_local_scalar_dense"}.get(operator, operator)
    with pytest.raises(CaptureError, match=f"operator aten::{named} .*values=True"):
        network_of(Function(forward, layer=linear(i=D, o=D)), X)


@pytest.mark.parametrize("values", [False, True])
def test_experts_that_pick_their_tokens_multiply_those_alone(values: bool) -> None:
    torch.manual_seed(0)
    # Every token goes to two experts.
    assert network_of(Mixture(dense=False), torch.randn(1, T, D), values=values).macs == T * (D * 4 + 2 * D * D)


def test_a_lazy_module_is_refused_until_it_has_run() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(CaptureError, match=r"parameter 0\.weight has no shape yet: run the model once"):
        network_of(model, X)
    model(X)
    assert network_of(model, X).macs == T * D * 4
