"""Functions that hide their products run as the products that they are made of, with the same results and gradients."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import simhw
from simhw.capture.rewrites import pseudoinverse
from simhw.errors import CaptureError
from simhw.trace.trace import Trace
from tests.captured_steps import ALL, captured, coarse, coarsened, products


def same_with_and_without(model: nn.Module, run: Callable[[], Tensor], inputs: list[Tensor], folder: Path) -> Trace:
    """The trace of a step whose output and gradients equal those of the step that nobody captures."""
    wanted = [*model.parameters(), *(x for x in inputs if x.requires_grad)]
    g = coarse(*run().shape)
    expected = run()
    gradients = torch.autograd.grad(expected, wanted, g.to(expected.dtype))
    seen = []

    def step() -> None:
        seen.append(run())
        seen[0].backward(g.to(expected.dtype))

    trace = captured(model, step, folder)
    torch.testing.assert_close(seen[0], expected)
    for tensor, gradient in zip(wanted, gradients, strict=True):
        torch.testing.assert_close(tensor.grad, gradient)
    return trace


def macs(layer: simhw.Layer) -> dict[str, int]:
    return {operation: simhw.simulate_layer(layer, operation, "bf16").macs for operation in layer.operations}


@pytest.mark.parametrize("bias", [True, False])
def test_a_bilinear_layer_is_a_linear_one_of_the_outer_product(bias: bool, tmp_path: Path):
    """12 rows of 3 and 4 inputs, 5 outputs: 12 x 3 x 4 products make the outer product, 12 x 12 x 5 the layer."""
    model = coarsened(nn.ModuleDict({"mix": nn.Bilinear(3, 4, 5, bias=bias)}))
    x, y = coarse(2, 6, 3).requires_grad_(), coarse(2, 6, 4).requires_grad_()
    trace = same_with_and_without(model, lambda: model["mix"](x, y), [x, y], tmp_path)
    outer, linear = trace.layers
    assert [(layer.name, layer.kind, layer.operations) for layer in trace.layers] == [
        ("mix.matmul", "matmul", ALL),
        ("mix", "linear", ALL),
    ]
    assert linear.shapes == {"a": (2, 6, 12), "w": (5, 12), "g": (2, 6, 5)}
    assert macs(outer) == dict.fromkeys(ALL, 12 * 3 * 4)
    assert macs(linear) == dict.fromkeys(ALL, 12 * 12 * 5)
    torch.testing.assert_close(products(linear)[2].reshape(5, 3, 4), model["mix"].weight.grad)
    torch.testing.assert_close(products(outer)[1].reshape(2, 6, 3), x.grad)


class Experts(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.up = nn.Parameter(coarse(*shape).bfloat16())


def test_the_experts_of_a_grouped_product_are_linear_layers_over_their_own_tokens(tmp_path: Path):
    """Of 8 tokens the first expert has 2, the second none and the third 5; the last token goes nowhere."""
    model, x = Experts(3, 16, 8), coarse(8, 16).bfloat16().requires_grad_()
    ends = torch.tensor([2, 2, 7], dtype=torch.int32)
    seen = []

    def step() -> None:
        seen.append(functional.grouped_mm(x, model.up, offs=ends))
        seen[0][:7].backward(torch.ones(7, 8).bfloat16())

    layers = captured(model, step, tmp_path).layers
    assert [(layer.name, layer.kind, layer.operations) for layer in layers] == [
        ("up", "linear", ALL),
        ("up#2", "linear", ALL),
    ]
    assert [layer.shapes["a"] for layer in layers] == [(2, 16), (5, 16)]
    assert [macs(layer) for layer in layers] == [dict.fromkeys(ALL, n * 16 * 8) for n in (2, 5)]
    torch.testing.assert_close(seen[0][:7], torch._grouped_mm(x, model.up, offs=ends)[:7])
    for layer, expert in zip(layers, (0, 2), strict=True):
        torch.testing.assert_close(products(layer)[2].T, model.up.grad[expert].float())
    assert not model.up.grad[1].any()


GROUPED = {
    "groups in both": ((3, 4, 16), (3, 16, 8), None, [(3, 4, 16)]),
    "groups of columns": ((2, 8, 16), (16, 16), (6, 16), [(8, 16), (8, 16)]),
    "groups of what is summed over": ((8, 16), (16, 8), (6, 16), [(8, 6), (8, 10)]),
}


@pytest.mark.parametrize("case", GROUPED)
def test_grouped_products_of_any_operands_are_captured(case: str, tmp_path: Path):
    a_shape, b_shape, ends, rows = GROUPED[case]
    a, b = coarse(*a_shape).bfloat16().requires_grad_(), coarse(*b_shape).bfloat16().requires_grad_()
    offs = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    expected = torch._grouped_mm(a, b, offs=offs)
    seen = []

    def step() -> None:
        seen.append(functional.grouped_mm(a, b, offs=offs))
        seen[0].backward(torch.ones_like(seen[0]))

    layers = captured(nn.Identity(), step, tmp_path).layers
    torch.testing.assert_close(seen[0], expected)
    assert [(layer.shapes["a"], layer.operations) for layer in layers] == [(shape, ALL) for shape in rows]


def test_group_ends_that_do_not_rise_are_refused(tmp_path: Path):
    a, b = coarse(8, 16).bfloat16(), coarse(2, 16, 8).bfloat16()
    with pytest.raises(CaptureError, match=r"_grouped_mm: group ends \[6, 2\] do not rise"):
        captured(
            nn.Identity(), lambda: functional.grouped_mm(a, b, offs=torch.tensor([6, 2], dtype=torch.int32)), tmp_path
        )


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("spatial", [(3, 4), (2, 3, 1)])
@pytest.mark.filterwarnings("ignore:Since version 1.3.0")
def test_an_affine_grid_is_a_product_with_its_gradient(align: bool, spatial: tuple[int, ...], tmp_path: Path):
    """Each of 2 samples takes every place of the grid (and a 1) to as many coordinates."""
    dims = len(spatial)
    theta = coarse(2, dims, dims + 1).requires_grad_()
    trace = same_with_and_without(
        nn.Identity(), lambda: functional.affine_grid(theta, [2, 1, *spatial], align), [theta], tmp_path
    )
    (layer,) = trace.layers
    assert layer.operations == ("forward", "input_grad")
    assert macs(layer)["forward"] == 2 * torch.Size(spatial).numel() * dims * (dims + 1)


def test_a_pseudoinverse_s_product_is_captured_and_its_gradient_s_are_no_forward_work(tmp_path: Path):
    x = coarse(5, 3).requires_grad_()
    trace = same_with_and_without(nn.Identity(), lambda: torch.linalg.pinv(x), [x], tmp_path)
    assert [layer.name for layer in trace.layers if "forward" in layer.operations] == ["matmul"]
    assert trace.layers[0].shapes == {"a": (3, 3), "w": (3, 5)}
    assert {layer.operations for layer in trace.layers[1:]} == {("input_grad",)}
    assert all(layer.name.startswith("LinalgPinvBackward") for layer in trace.layers[1:])


@pytest.mark.parametrize(
    "options", [{}, {"rtol": torch.tensor(0.3)}, {"atol": torch.tensor(0.8)}, {"atol": torch.tensor(0.0)}]
)
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 5, 5)])
def test_the_pseudoinverse_taken_apart_is_pytorch_s(options: dict[str, Tensor], shape: tuple[int, ...]):
    x = torch.randn(shape)
    assert torch.equal(pseudoinverse(x, **options), torch.linalg.pinv(x, **options))
    symmetric = x.mT @ x
    assert torch.equal(
        pseudoinverse(symmetric, **options, hermitian=True), torch.linalg.pinv(symmetric, **options, hermitian=True)
    )
