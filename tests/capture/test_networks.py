"""Whole networks with the kinds of products that lie outside plain convolutions and linear layers, captured and run on
machines.
"""

from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import simhw
from simhw.trace.layer import OPERANDS
from simhw.trace.trace import Trace
from tests.captured_steps import ALL, captured


class UNet(nn.Module):
    """One step down and up again, by a transposed convolution, with a connection across."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.bottom = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.up, self.head = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        across = functional.relu(self.down(x))
        return self.head(torch.cat([across, functional.relu(self.up(functional.relu(self.bottom(across))))], 1))


class Experts(nn.Module):
    """A router, and for each token the expert that it likes best: two grouped products with a ReLU between."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(8, 3)
        self.up, self.down = nn.Parameter(torch.randn(3, 8, 16) / 3), nn.Parameter(torch.randn(3, 16, 8) / 4)

    def forward(self, tokens: Tensor) -> Tensor:
        share, expert = self.router(tokens).softmax(-1).max(-1)
        order = expert.argsort()
        ends = torch.bincount(expert, minlength=3).cumsum(0).to(torch.int32)
        hidden = functional.relu(functional.grouped_mm(tokens[order], self.up, offs=ends))
        return functional.grouped_mm(hidden, self.down, offs=ends)[order.argsort()] * share[:, None]


def macs_by_operation(trace: Trace, machine: str) -> dict[str, int]:
    results = simhw.simulate(trace, machine, progress=False)
    assert all(operation.cost.cycles.value > 0 for operation in results.operations)
    return {name: summary.macs for name, summary in results.by_operation().items()}


@pytest.mark.parametrize("machine", ["bf16", "fpraker", "tensordash"])
def test_a_u_net_is_captured_and_runs(machine: str, tmp_path: Path):
    """Of 2 images of 8 x 8: each layer's output positions x outputs x inputs x kernel, less what would multiply
    padding.
    """
    model, x = UNet(), torch.randn(2, 1, 8, 8)
    trace = captured(model, lambda: model(x).square().mean().backward(), tmp_path, batch=2)
    assert [(layer.name, layer.kind, layer.operations) for layer in trace.layers] == [
        ("down", "conv2d", (ALL[0], ALL[2])),
        ("bottom", "conv2d", ALL),
        ("up", "conv_transpose2d", ALL),
        ("head", "conv2d", ALL),
    ]
    up = trace.layers[2]
    assert up.shapes == {"a": (2, 8, 4, 4), "w": (8, 4, 2, 2), "g": (2, 4, 8, 8)}
    for operation in ALL:
        # Each of 16 places of 8 channels goes to 2 x 2 places of 4 channels, and no two overlap.
        assert simhw.simulate_layer(up, operation, machine).macs == 2 * 16 * 8 * 4 * 4
        # All fits the buffers: each tensor crosses the pins once, two bytes a value.
        memory = simhw.simulate_layer(up, operation, "bf16").cost.memory
        (output,) = set("awg") - set(OPERANDS[operation])
        ways = {f"{tensor}_in": 2 * prod(up.shapes[tensor]) for tensor in OPERANDS[operation]} | {
            f"{output}_out": 2 * prod(up.shapes[output])
        }
        assert {way: size for way, size in memory.raw_bytes.items() if size} == ways
    assert set(macs_by_operation(trace, machine)) == set(ALL)


@pytest.mark.parametrize("machine", ["bf16", "fpraker", "tensordash"])
def test_a_mixture_of_experts_is_captured_and_runs(machine: str, tmp_path: Path):
    """12 tokens go through a router of 8 x 3 and an expert of 8 x 16 and 16 x 8 each, whichever."""
    model, tokens = Experts(), torch.randn(12, 8).requires_grad_()
    expected = model(tokens)
    seen = []

    def step() -> None:
        seen.append(model(tokens))
        seen[0].square().mean().backward()

    trace = captured(model, step, tmp_path, batch=12)
    torch.testing.assert_close(seen[0], expected)
    assert {layer.name.partition("#")[0] for layer in trace.layers} == {"router", "up", "down"}
    assert sum(layer.shapes["a"][0] for layer in trace.layers if layer.name.startswith("up")) == 12
    assert all((layer.kind, layer.operations) == ("linear", ALL) for layer in trace.layers)
    assert macs_by_operation(trace, machine) == dict.fromkeys(ALL, 12 * (8 * 3 + 8 * 16 + 16 * 8))


def test_a_sample_of_a_transposed_convolution_runs_too(tmp_path: Path):
    """Its multiply-accumulates are those of the whole layer: 64 places x 64 channels x 64 x 2 x 2."""
    model, x = nn.ConvTranspose2d(64, 64, 2, stride=2), torch.randn(1, 64, 8, 8).requires_grad_()
    trace = captured(model, lambda: model(x).square().mean().backward(), tmp_path, batch=1, max_bytes=60_000)
    assert trace.sampled
    assert macs_by_operation(trace, "tensordash") == dict.fromkeys(ALL, 64 * 64 * 64 * 4)
