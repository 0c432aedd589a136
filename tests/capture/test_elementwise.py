"""Elementwise products with a sum behind them are products; what only scales a sum, or a sum alone, is none."""

import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import simhw
from tests.captured_steps import ALL, captured, coarse, products, values


class Weighted(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(coarse(*shape))

    def forward(self, x: Tensor) -> Tensor:
        return (x[..., :, None] * self.weight).sum(-2)


@pytest.mark.parametrize("leading", [(6,), (2, 3)])
def test_a_layer_written_elementwise_is_a_linear_one(leading: tuple[int, ...], tmp_path: Path):
    """6 rows of 4 inputs, 5 outputs: 120 multiply-accumulates in each of the three products."""
    model, x = nn.Sequential(Weighted(4, 5)), coarse(*leading, 4).requires_grad_()
    g, seen = coarse(*leading, 5), []

    def step() -> None:
        seen.append(model(x))
        seen[0].backward(g)

    (layer,) = captured(model, step, tmp_path).layers
    assert (layer.name, layer.kind, layer.operations) == ("0", "linear", ALL)
    assert layer.shapes == {"a": (*leading, 4), "w": (5, 4), "g": (*leading, 5)}
    output, input_grad, weight_grad = products(layer)
    assert torch.equal(output, seen[0].detach())
    assert torch.equal(input_grad, x.grad)
    assert torch.equal(weight_grad.T, model[0].weight.grad)
    assert [simhw.simulate_layer(layer, operation, "bf16").macs for operation in ALL] == [120] * 3


# Function of x and y, their shapes, and the shapes of A and W.
CASES: dict[
    str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
] = {
    "rows with rows": (lambda x, y: (x * y).sum(-1), (3, 4), (3, 4), (3, 1, 4), (3, 4, 1)),
    "a batch": (lambda x, y: (x[:, :, :, None] * y[:, None]).sum(2), (2, 3, 4), (2, 4, 5), (2, 3, 4), (2, 4, 5)),
    "turned": (lambda x, y: (x[None] * y[:, :, None]).sum(1), (4, 3), (5, 4), (5, 4), (4, 3)),
    "several axes": (lambda x, y: (x[:, None] * y).sum((2, 3), keepdim=True), (2, 4, 3), (5, 4, 3), (2, 12), (12, 5)),
    "a mean": (lambda x, y: (x * y).mean(0) * 3, (3, 4), (3, 4), (4, 1, 3), (4, 3, 1)),
    "vecdot": (torch.linalg.vecdot, (3, 4), (3, 4), (3, 1, 4), (3, 4, 1)),
    "itself": (lambda x, y: (x * x).sum(1) + 0 * y.sum(), (3, 4), (1,), (3, 1, 4), (3, 4, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_an_elementwise_product_s_tensors_reproduce_its_output_and_gradients(case: str, tmp_path: Path):
    function, x_shape, y_shape, a_shape, w_shape = CASES[case]
    x, y = coarse(*x_shape).requires_grad_(), coarse(*y_shape).requires_grad_()
    seen = []

    def step() -> None:
        seen.append(function(x, y))
        seen[0].backward(coarse(*seen[0].shape))

    (layer,) = captured(nn.Identity(), step, tmp_path).layers
    assert (layer.kind, layer.operations) == ("matmul", ALL)
    if case == "turned":
        a_shape, w_shape = (3, 4), (4, 5)
    assert (layer.shapes["a"], layer.shapes["w"]) == (a_shape, w_shape)
    output, input_grad, weight_grad = products(layer)

    def sorted_values(tensor: Tensor) -> list[float]:
        return sorted(tensor.flatten().tolist())

    assert sorted_values(output) == pytest.approx(sorted_values(seen[0].detach()))
    gradients = [input_grad, weight_grad]
    if case == "itself":
        assert torch.equal(input_grad.reshape(3, 4) + weight_grad.reshape(3, 4), x.grad)
    elif case == "a mean":
        # G is that of the sum: a mean's is divided by the 3 values first, which bfloat16 rounds.
        assert sorted_values(input_grad) == pytest.approx(sorted_values(x.grad), rel=0.01)
    else:
        for gradient, tensor in zip(gradients, (x, y), strict=True):
            assert sorted_values(gradient) == pytest.approx(sorted_values(tensor.grad))


NO_PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a number": lambda x, _y: (x * 3).sum(),
    "a scaled sum": lambda x, y: (x * y[:, :1]).sum(1),
    "no sum": lambda x, y: x * y,
    "a sum of another axis": lambda x, y: (x[:, None, :] * y[:, :1, None]).sum(2),
    "a sum alone": lambda x, y: x.sum() + y.sum(),
}


@pytest.mark.parametrize("case", NO_PRODUCTS)
def test_what_only_scales_or_only_sums_is_no_product(case: str, tmp_path: Path):
    x, y, linear = coarse(3, 4), coarse(3, 4), nn.Linear(4, 2)

    def step() -> None:
        linear(NO_PRODUCTS[case](x, y).sum() * torch.ones(1, 4))

    assert [layer.name for layer in captured(linear, step, tmp_path).layers] == ["linear"]


def test_a_sum_of_everything_and_one_in_another_module_are_counted_by_name(tmp_path: Path):
    """Such as a loss, or the output of a gate."""

    class Gated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.sigmoid()

    model, x = nn.Sequential(nn.Linear(4, 4), Gated()), coarse(3, 4)
    trace = captured(model, lambda: ((model(x) * x).sum() + model(x).sum(1).sum()).backward(), tmp_path)
    assert [layer.name for layer in trace.layers] == ["0", "0#2"]
    assert trace.metadata.extra["not_captured"] == {"aten::mul and aten::sum": 2}


def test_what_was_overwritten_before_the_sum_is_counted_by_name(tmp_path: Path):
    x, y, linear = coarse(3, 4), coarse(3, 4), nn.Linear(4, 2)

    def step() -> None:
        linear(x)
        x.mul_(y).sum(1)
        product = x * y
        y.zero_()
        product.sum(1)

    trace = captured(linear, step, tmp_path)
    assert len(trace.layers) == 1
    assert trace.metadata.extra["not_captured"] == {"aten::mul_ and aten::sum": 1, "aten::mul and aten::sum": 1}


NAMED: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], dict[str, int]]] = {
    "along a view's axis": (lambda x, y: (x * y).view(3, 2, 2).sum(2), {"aten::mul and aten::sum": 1}),
    "turned": (lambda x, y: (x * y).T.sum(0), {"aten::mul and aten::sum": 1}),
    "without NaN": (lambda x, y: (x * y).nansum(1), {"aten::mul and aten::nansum": 1}),
    "running": (lambda x, y: (x * y).cumsum(1), {"aten::mul and aten::cumsum": 1}),
    "into given rows": (
        lambda x, y: torch.zeros(2, 4).index_add_(0, torch.tensor([0, 1, 0]), x * y),
        {"aten::mul and aten::index_add_": 1},
    ),
    "squares": (lambda x, _y: x.square().mean(1), {"aten::pow and aten::mean": 1}),
    # What is between changes the values that are summed: no product.
    "all squares": (lambda x, _y: x.square().mean(), {}),
    "a function between": (lambda x, y: (x * y).relu().sum(1), {}),
    "written in between": (lambda x, y: (x * y).relu_().sum(1), {}),
    "an addend in between": (lambda x, y: (x * y).add_(1).sum(1), {}),
}


@pytest.mark.parametrize("case", NAMED)
def test_sums_that_are_no_layer_of_their_own_are_counted_by_name_if_they_are_of_products(case: str, tmp_path: Path):
    function, named = NAMED[case]
    x, y, linear = coarse(3, 4), coarse(3, 4), nn.Linear(4, 2)
    trace = captured(linear, lambda: [linear(x), function(x, y)], tmp_path)
    assert [layer.name for layer in trace.layers] == ["linear"]
    assert trace.metadata.extra.get("not_captured", {}) == named


def test_the_gradient_of_a_scale_is_counted_by_name(tmp_path: Path):
    """A scale's gradient sums the products of G and the input, but its forward pass is no product that it could belong
    to.
    """
    linear, scale = nn.Linear(4, 4), nn.Parameter(coarse(4))
    x = coarse(3, 4)
    trace = captured(linear, lambda: (linear(x) * scale).backward(coarse(3, 4)), tmp_path)
    assert [layer.name for layer in trace.layers] == ["linear"]
    assert trace.metadata.extra["not_captured"] == {"aten::mul and aten::sum in a gradient": 1}


def test_the_values_are_those_of_the_step(tmp_path: Path):
    x, y = coarse(3, 4), coarse(3, 4)
    (layer,) = captured(nn.Identity(), lambda: (x * y).sum(1), tmp_path).layers
    assert torch.equal(values(layer.a)[:, 0], x)
    assert torch.equal(values(layer.w)[:, :, 0], y)


# Weighted embedding bags


@pytest.mark.parametrize("sparse", [False, True])
def test_a_weighted_embedding_bag_is_a_product_of_weights_and_rows(sparse: bool, tmp_path: Path):
    """2 bags of 5 rows and 8 features: 80 multiply-accumulates forward, in the weights' gradient and in the table's."""
    model = nn.ModuleDict({"bag": nn.EmbeddingBag(7, 8, mode="sum", sparse=sparse)})
    with torch.no_grad():
        model["bag"].weight.copy_(coarse(7, 8))
    rows, weights, g = torch.randint(0, 7, (2, 5)), coarse(2, 5).requires_grad_(), coarse(2, 8)
    seen = []

    def step() -> None:
        seen.append(model["bag"](rows, per_sample_weights=weights))
        seen[0].backward(g)

    (layer,) = captured(model, step, tmp_path).layers
    assert (layer.name, layer.kind, layer.operations) == ("bag", "matmul", ALL)
    output, input_grad, weight_grad = products(layer)
    assert torch.equal(output[:, 0], seen[0].detach())
    assert torch.equal(input_grad[:, 0], weights.grad)
    table = torch.zeros(7, 8).index_add_(0, rows.flatten(), weight_grad.flatten(0, 1))
    assert torch.equal(table, model["bag"].weight.grad.to_dense())
    assert [simhw.simulate_layer(layer, operation, "bf16").macs for operation in ALL] == [80] * 3


def test_bags_of_unequal_lengths_are_a_layer_for_each_length(tmp_path: Path):
    """Bags of 1, 3, 0 and 3 rows, one of which is padding: 1 x 1 + 1 x 2 + 1 x 3 rows times 4 features."""
    model = nn.EmbeddingBag(9, 4, mode="sum", padding_idx=8)
    with torch.no_grad():
        model.weight.copy_(coarse(9, 4))
    rows, ends, weights = torch.tensor([0, 1, 8, 2, 3, 4, 5]), torch.tensor([0, 1, 4, 4]), coarse(7)
    seen = []

    def step() -> None:
        seen.append(model(rows, ends, per_sample_weights=weights))
        seen[0].sum().backward()

    layers = captured(model, step, tmp_path).layers
    assert [layer.shapes["a"] for layer in layers] == [(1, 1, 1), (1, 1, 2), (1, 1, 3)]
    assert [layer.operations for layer in layers] == [("forward", "weight_grad")] * 3
    outputs = [values(layer.a) @ values(layer.w) for layer in layers]
    assert torch.equal(torch.cat(outputs)[:, 0], seen[0].detach()[[0, 1, 3]])


def test_an_embedding_bag_without_weights_multiplies_nothing(tmp_path: Path):
    bag, linear = nn.EmbeddingBag(7, 4, mode="mean"), nn.Linear(4, 2)
    trace = captured(linear, lambda: linear(bag(torch.tensor([[1, 2], [3, 4]]))).sum().backward(), tmp_path)
    assert [layer.name for layer in trace.layers] == ["linear"]


@pytest.mark.parametrize("kept", [0, 64])
def test_operands_of_results_that_are_gone_are_let_go(kept: int, tmp_path: Path):
    """At most an eighth as many as there are results that may still be summed."""
    model, x = nn.Linear(4, 3), coarse(2, 4)
    seen: list[weakref.ref[Tensor]] = []

    def step() -> None:
        held = [x * x for _ in range(kept)]
        for _ in range(200):
            operand = x.clone()
            seen.append(weakref.ref(operand))
            operand = operand * x
        assert sum(each() is not None for each in seen) <= 1 + len(held) // 8 + 1
        model(x).sum().backward()

    captured(model, step, tmp_path)
