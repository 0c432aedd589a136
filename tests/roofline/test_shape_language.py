"""Language models as their authors write them become networks by shape: what they ask of values, experts, tied weights
and attention.

The forms are those of Hugging Face's transformers from 4.41 to 5.24, written out in plain PyTorch.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw.errors import CaptureError
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import (
    Attention,
    Embedding,
    Experts,
    Linear,
    MatMul,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    Softmax,
    Weight,
)
from simhw.roofline.step.attention import with_attention

T, D, E = 8, 16, 4
X = torch.zeros(1, T, D)
IDS = torch.arange(1, T + 1)[None]


class Function(nn.Module):
    """A function of its modules, parameters and inputs."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def kinds(layers: tuple[NetworkLayer, ...]) -> list[str]:
    return [each.function if isinstance(each, Pointwise) else type(each).__name__ for each in layers]


# --- experts: every token goes to two of four ---


def each_by_its_mask(self: Any, x: Tensor) -> Tensor:
    """Transformers 4.41: over all experts, those tokens whose mask is set."""
    rows = x.reshape(-1, D)
    weights, chosen = torch.topk(functional.softmax(self.gate(rows), 1), 2, -1)
    mask = functional.one_hot(chosen, E).permute(2, 1, 0)
    output = torch.zeros_like(rows)
    for index in range(E):
        which, taken = torch.where(mask[index])
        output.index_add_(0, taken, self.experts[index](rows[None, taken].reshape(-1, D)) * weights[taken, which, None])
    return output.reshape(x.shape)


def each_that_is_hit(self: Any, x: Tensor) -> Tensor:
    """Transformers 5, eager: over the experts that any token goes to."""
    rows = x.reshape(-1, D)
    weights, chosen = torch.topk(functional.softmax(self.gate(rows), 1), 2, -1)
    mask = functional.one_hot(chosen, E).permute(2, 1, 0)
    output = torch.zeros_like(rows)
    for hit in torch.greater(mask.sum((-1, -2)), 0).nonzero():
        index = hit[0]
        if index == E:
            continue
        which, taken = torch.where(mask[index])
        output.index_add_(0, taken, self.experts[index](rows[taken]) * weights[taken, which, None])
    return output.reshape(x.shape)


def those_with_room(self: Any, x: Tensor) -> Tensor:
    """Switch transformers: one expert each, no more than there is room for, by masks of booleans."""
    mask = functional.one_hot(torch.argmax(self.gate(x), -1), E)
    mask = mask * (torch.cumsum(mask, -2) <= T // E)
    output = torch.zeros_like(x)
    for index in torch.nonzero(mask.reshape(-1, E).sum(0), as_tuple=True)[0].tolist():
        own = mask[..., index].bool()
        output[own] = self.experts[index](x[own])
    return output


@pytest.mark.parametrize(
    ("forward", "each"),
    [(each_by_its_mask, 2), (each_that_is_hit, 2), (those_with_room, 1)],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_experts_that_pick_their_tokens_get_as_many_each(forward: Callable[..., Any], each: int, device: str) -> None:
    experts = nn.ModuleList(nn.Linear(D, D) for _ in range(E))
    network = network_of(Function(forward, gate=nn.Linear(D, E), experts=experts), X.to(device))
    rows = [layer.rows for layer in network.layers if isinstance(layer, Linear) and layer.name.startswith("experts")]
    assert rows == [each * T // E] * E
    assert network.macs == T * D * (E + each * D)
    assert network.parameters == (E + E * D) * (D + 1)


def test_with_values_experts_get_the_tokens_that_choose_them() -> None:
    model = Function(each_by_its_mask, gate=nn.Linear(D, E), experts=nn.ModuleList(nn.Linear(D, D) for _ in range(E)))
    network = network_of(model, X, values=True)  # of zeros all choose the same two
    rows = [layer.rows for layer in network.layers if isinstance(layer, Linear) and layer.name.startswith("experts")]
    assert rows == [T, T]


@pytest.mark.parametrize("values", [False, True])
def test_grouped_products_are_experts(values: bool) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        rows = x.reshape(-1, D)
        _, chosen = self.gate(rows).topk(2, -1)
        sorted_experts, order = torch.sort(chosen.reshape(-1))
        ends = torch.cumsum(torch.histc(sorted_experts.float(), E, 0, E - 1), 0, dtype=torch.int32)
        products: Tensor = torch._grouped_mm(rows[order // 2], self.up.transpose(-2, -1), offs=ends)
        return products

    model = Function(forward, gate=nn.Linear(D, E), up=nn.Parameter(torch.zeros(E, 32, D)))
    model.to(torch.bfloat16) if values else None  # on a processor the product runs in this number
    network = network_of(model, X.to(torch.bfloat16) if values else X, values=values)
    assert Experts("up", E, D, 32, 2 * T) in network.layers


def test_grouped_products_of_anything_else_are_refused() -> None:
    model = Function(lambda _, x: torch._grouped_mm(x, x.mT), layer=nn.Linear(D, D))
    with pytest.raises(
        CaptureError, match=r"aten::_grouped_mm multiplies other tensors than rows with experts' weights"
    ):
        network_of(model, X)


# --- what is asked of values ---


def test_mask_that_leaves_nothing_out_is_seen() -> None:
    def forward(self: Any, x: Tensor, mask: Tensor) -> Tensor:
        x = self.layer(x)
        return x if torch.all(mask == 1) else x.masked_fill(mask[..., None] == 0, 0.0)

    model, mask = Function(forward, layer=nn.Linear(D, D)), torch.ones(1, T)
    assert "mask" not in kinds(network_of(model, [X, mask]).layers)
    mask[0, -1] = 0
    assert "mask" in kinds(network_of(model, [X, mask]).layers)
    with pytest.raises(CaptureError, match=r"_local_scalar_dense .*give inputs that have some, or values=True"):
        network_of(model, [X, mask.to("meta")])


def test_mask_that_the_model_makes_is_known() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[:2], device=x.device)
        mask[:, 0] = 1
        x = self.layer(x)
        return x if bool(mask.all()) else x * 0

    assert "scale" not in kinds(network_of(Function(forward, layer=nn.Linear(D, D)), X.to("meta")).layers)


def test_value_that_was_overwritten_by_an_unknown_one_is_not_known() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        seen = torch.zeros(T, device=x.device)
        view = seen[:2]
        view.copy_(self.layer(x)[0, 0, :2])
        return x if bool(seen.any()) else x.relu()

    with pytest.raises(CaptureError, match="_local_scalar_dense"):
        network_of(Function(forward, layer=nn.Linear(D, D)), X)


def test_inputs_without_values_have_no_padding() -> None:
    def forward(self: Any, ids: Tensor) -> Tensor:
        x: Tensor = self.table(ids)
        return x.relu() if 0 in ids[:, :2] else x

    model = Function(forward, table=nn.Embedding(10, D, padding_idx=0))
    for ids in (IDS, IDS.to("meta")):
        assert "relu" not in kinds(network_of(model, ids).layers)
    assert "relu" in kinds(network_of(model, IDS - 1).layers)


def test_positions_that_count_what_is_no_padding() -> None:
    """As RoBERTa and OPT have them, and the token that ends a text, as CLIP takes it."""

    def forward(self: Any, ids: Tensor) -> Tensor:
        mask = ids.ne(1).int()
        positions = (torch.cumsum(mask, 1).type_as(mask) * mask).long() + 1
        x = self.table(ids) + self.positions(positions)
        shifted = x.new_zeros(x.shape)
        shifted[:, 1:] = x[:, :-1].clone()
        shifted.masked_fill_(shifted == -100, 1.0)
        return shifted[torch.arange(x.shape[0], device=x.device), ids.argmax(-1)]

    network = network_of(Function(forward, table=nn.Embedding(10, D), positions=nn.Embedding(20, D)), IDS.to("meta"))
    assert network.parameters == 30 * D
    assert {"cumsum", "mask"} <= set(kinds(network.layers))
    assert any(isinstance(layer, Pool) and layer.name == "argmax" for layer in network.layers)


def test_rotary_angles_are_made_once_and_autocast_is_told_of_no_device() -> None:
    """Products of constants are no layers; autocast knows no device `meta`."""

    def forward(self: Any, x: Tensor) -> Tensor:
        positions = torch.arange(T, device=x.device)[None, None].float()
        with torch.autocast(device_type=x.device.type, enabled=False):
            angles = (self.frequencies[None, :, None] @ positions).mT
        return self.layer(x) * torch.cat((angles, angles), -1).cos()

    model = Function(forward, layer=nn.Linear(D, D))
    model.register_buffer("frequencies", torch.ones(D // 2))
    network = network_of(model, X)
    assert kinds(network.layers) == ["Linear", "mul"]
    assert "1 aten::bmm" in network.source
    assert torch.autocast.__module__ == "torch.amp.autocast_mode"


# --- parameters ---


def test_tied_weights_count_once() -> None:
    def forward(self: Any, ids: Tensor) -> Any:
        return self.head(self.table(ids) + self.again(ids))

    table = nn.Embedding(50, D)
    again, head = nn.Embedding(50, D), nn.Linear(D, 50, bias=False)
    again.weight = head.weight = table.weight
    network = network_of(Function(forward, table=table, again=again, head=head), IDS)
    assert network.parameters == 50 * D
    assert network.layers[0] == Embedding("table", 50, D, T)
    assert network.layers[-1] == Linear("head", D, 50, T, bias=False, tied=True)
    assert [layer.tied for layer in network.layers if isinstance(layer, Embedding)] == [False, True]
    assert "parameters, the model" not in network.source


def test_table_of_positions_that_is_looked_up_once_for_all_samples_is_updated() -> None:
    def forward(self: Any, ids: Tensor) -> Any:
        return self.table(ids) + self.positions(torch.arange(T, device=ids.device)[None])

    network = network_of(Function(forward, table=nn.Embedding(50, D), positions=nn.Embedding(20, D)), IDS)
    assert Weight("positions", 20 * D) in network.layers
    assert network.parameters == 70 * D


def test_rms_norm_is_one_layer() -> None:
    (norm,) = network_of(nn.Sequential(nn.RMSNorm(D)), X).layers
    assert norm == Normalization("0", "rmsnorm", D, T * D)


# --- attention as one kernel ---


class Block(nn.Module):
    """Self-attention as it is written out, with what `change` does to its scores."""

    def __init__(self, change: Callable[[Tensor, Any], Tensor], returns: bool = False) -> None:
        super().__init__()
        self.qkv, self.out, self.bias = nn.Linear(D, 3 * D), nn.Linear(D, D), nn.Parameter(torch.zeros(2, T, T))
        self.change, self.returns = change, returns

    def forward(self, x: Tensor) -> Any:
        q, k, v = (each.unflatten(-1, (2, -1)).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        scores = self.change(q @ k.mT / torch.full([], 8**0.5, device=x.device), self)
        weights = functional.dropout(scores.softmax(-1), 0.1)
        y = self.out((weights @ v).transpose(1, 2).reshape(x.shape))
        return (y, weights.mean(1)) if self.returns else y


def causal(scores: Tensor, _: Any) -> Tensor:
    seen = torch.ones(T, T, dtype=torch.bool, device=scores.device).tril()
    return torch.where(seen, scores, torch.full([], -1e9, device=scores.device))


def padded(scores: Tensor, _: Any) -> Tensor:
    mask = (scores[:, 0, 0].detach() > 0).logical_not()[:, None, None]
    return scores + mask.to(scores.dtype) * -1e9


@pytest.mark.parametrize(
    "change", [lambda scores, _: scores, causal, padded, lambda scores, self: scores + self.bias], ids=range(4)
)
@pytest.mark.parametrize("returns", [False, True])
def test_attention_of_a_captured_model_is_found_whatever_masks_it(change: Any, returns: bool) -> None:
    network = network_of(Block(change, returns), X)
    fused = with_attention(network, "fused")
    assert [layer for layer in fused.layers if isinstance(layer, Attention)] == [
        Attention("attention", 2, T, T, D // 2)
    ]
    assert not any(isinstance(layer, MatMul | Softmax) for layer in fused.layers)
    assert (fused.macs, fused.parameters) == (network.macs, network.parameters)
    # What reads the scores besides stays.
    assert any(isinstance(layer, Pool) and layer.name == "mean" for layer in fused.layers) == returns


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_multihead_attention_is_found(weights: bool, same: bool) -> None:
    def forward(self: Any, x: Tensor, y: Tensor) -> Any:
        return self.attention(x, x if same else y, x if same else y, need_weights=weights)[0]

    model = Function(forward, attention=nn.MultiheadAttention(D, 2, batch_first=True))
    fused = with_attention(network_of(model, [X, torch.zeros(1, 6, D)]), "fused")
    (found,) = (layer for layer in fused.layers if isinstance(layer, Attention))
    assert (found.heads, found.queries, found.keys, found.width) == (2, T, T if same else 6, D // 2)
    assert not any(layer in ("copy", "scale", "MatMul", "Softmax") for layer in kinds(fused.layers))


def test_transformer_decoder_has_attention_of_itself_and_of_the_encoder() -> None:
    model = nn.TransformerDecoderLayer(D, 2, 32, batch_first=True)
    fused = with_attention(network_of(model, [X, torch.zeros(1, 6, D)]), "fused")
    assert [layer.keys for layer in fused.layers if isinstance(layer, Attention)] == [T, 6]


def test_softmax_of_a_router_is_no_attention() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return (x @ x.mT) @ self.gate(x).softmax(-1)

    network = network_of(Function(forward, gate=nn.Linear(D, D)), X)
    assert with_attention(network, "fused").layers == network.layers
