"""Capture of modules that multiply integers and say what these are times."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw.errors import CaptureError
from tests.captured_steps import captured, coarse


class Integers(nn.Module):
    """A layer of integers whose sums are scaled; `form` is what runs it."""

    def __init__(self, form: str, scales: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(coarse(4, 6, 1, 1) if form == "convolution" else coarse(4, 6))
        self.form, self.operand_scales = form, scales

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * 8
        if self.form == "convolution":
            return functional.conv2d(x[:, :, None, None], weight)[:, :, 0, 0]
        if self.form == "linear":
            return functional.linear(x, weight)
        # The parameter is the first operand: the layer's W.
        return (self.weight @ x.mT).mT


def step(model: nn.Module) -> None:
    model(coarse(3, 6).mul(8).requires_grad_()).sum().backward()


@pytest.mark.parametrize("form", ["convolution", "linear"])
def test_a_layer_keeps_the_scales_of_the_module_that_runs_it(form: str, tmp_path: Path) -> None:
    # A tensor is as good as a number: a module need not wait for its value.
    model = nn.Sequential(Integers(form, {"a": torch.tensor(0.5), "w": 0.125, "g": 16}), nn.Linear(4, 2))
    trace = captured(model, lambda: step(model), tmp_path)
    assert [layer.scales for layer in trace.layers] == [{"a": 0.5, "w": 0.125, "g": 16.0}, {}]
    assert all(len(layer.operations) == 3 for layer in trace.layers)


def test_scales_follow_their_operands_where_the_product_is_captured_transposed(tmp_path: Path) -> None:
    model = Integers("swapped", {"a": 0.125, "w": 0.5})
    (layer,) = captured(model, lambda: step(model), tmp_path).layers
    assert layer.shapes["w"] == (4, 6)
    assert layer.scales == {"w": 0.125, "a": 0.5}


@pytest.mark.parametrize(
    "scales", [{"a": 0}, {"a": float("nan")}, {"b": 1.0}, {"w": "much"}, 3.0, {"a": torch.ones(2)}]
)
def test_scales_that_are_no_positive_numbers_are_refused(scales: object, tmp_path: Path) -> None:
    model = nn.Sequential(Integers("linear", scales))
    with pytest.raises(CaptureError, match=r"module '0': its operand_scales are .*; give a mapping of a, w, g"):
        captured(model, lambda: step(model), tmp_path)
    assert not list(tmp_path.iterdir())
