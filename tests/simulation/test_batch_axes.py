"""Which axis of a layer carries the batch: a step captured on some images and grown is the step captured on those
images twice.

Every model is captured on a batch and on the same images twice over; the second capture's own operations are what the
first one's, grown, must come to.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from simhw import Layer, Trace, simulate
from simhw.errors import SimhwError, TraceError
from simhw.simulation.growth import grow_layer, growth
from simhw.trace.batch import BatchAxes, batch_axes, captured_batch
from simhw.trace.metadata import Metadata
from tests.captured_steps import captured

Step = tuple[nn.Module, Callable[[], object]]


def twice(images: Tensor, times: int, axis: int = 0) -> Tensor:
    return torch.cat([images] * times, axis)


def sequence_first(times: int) -> Step:
    model = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0)
    x = twice(torch.randn(10, 4, 32), times, axis=1)
    return model, lambda: model(x).sum().backward()


class Experts(nn.Module):
    """Every token goes to one of three experts, so that their numbers of tokens are what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.out = nn.Linear(16, 3), nn.Linear(16, 5)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, 16)
        chosen = self.gate(tokens).argmax(-1)
        result = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            own = (chosen == number).nonzero().squeeze(-1)
            result = result.index_add(0, own, expert(tokens[own]))
        return self.out(result.reshape(x.shape).mean(1))


def experts(times: int) -> Step:
    model, x = Experts(), twice(torch.randn(4, 7, 16), times)
    return model, lambda: model(x).sum().backward()


def muon(times: int) -> Step:
    model = nn.Sequential(nn.Linear(16, 24, bias=False), nn.ReLU(), nn.Linear(24, 8, bias=False))
    optimizer, x = torch.optim.Muon(model.parameters(), lr=0.01), twice(torch.randn(4, 16), times)

    def step() -> None:
        model(x).sum().backward()
        optimizer.step()

    return model, step


def stacked_optimizer(times: int) -> Step:
    """Four weights of one shape, orthogonalised together."""
    model = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(4)))
    x = twice(torch.randn(4, 16), times)

    def step() -> None:
        model(x).sum().backward()
        with torch.no_grad():
            gradients = torch.stack([layer.weight.grad for layer in model])
            gradients @ gradients.mT

    return model, step


def second_moments(times: int) -> Step:
    """A factor of K-FAC, A^T A: its reduction runs over the samples."""
    model, x = nn.Linear(16, 8), twice(torch.randn(4, 16), times)

    def step() -> None:
        model(x).sum().backward()
        with torch.no_grad():
            x.T @ x

    return model, step


def contrast(times: int) -> Step:
    """Every sample against every other, as CLIP does."""
    model, x = nn.Linear(16, 12), twice(torch.randn(4, 16), times)

    def step() -> None:
        code = model(x)
        (code @ code.T).softmax(-1).diagonal().sum().backward()

    return model, step


class Factors(nn.Module):
    """A weight made of two in every step, of a rank that happens to be the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.u, self.v = nn.Parameter(torch.randn(24, 4)), nn.Parameter(torch.randn(4, 16))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.u @ self.v).T


def factors(times: int) -> Step:
    model, x = Factors(), twice(torch.randn(4, 5, 16), times)
    return model, lambda: model(x).sum().backward()


def recurrent(times: int) -> Step:
    model, x = nn.LSTM(5, 6, bidirectional=True), twice(torch.randn(7, 4, 5), times, axis=1)
    return model, lambda: model(x)[0].sum().backward()


def frames(times: int) -> Step:
    """Three frames of a sample are images of a convolution."""
    model, x = nn.Conv2d(2, 4, 3), twice(torch.randn(4 * 3, 2, 6, 6), times)
    return model, lambda: model(x).sum().backward()


def position_table(times: int) -> Step:
    """Positions go through a layer of their own, once whatever the batch (Swin's relative position bias)."""
    model, x = nn.ModuleDict({"table": nn.Linear(3, 8), "tokens": nn.Linear(8, 8)}), twice(torch.randn(4, 6, 8), times)
    places = torch.randn(1, 6, 3)
    return model, lambda: (model["tokens"](x) + model["table"](places)).sum().backward()


class Routed(nn.Module):
    """A layer runs twice: one image of four at its own size, the others at half of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.head = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        large = torch.arange(len(x)) % 4 == 1
        images = self.first(x)
        halves = [images[large], images[~large, :, ::2, ::2]]
        return torch.cat([self.head(self.shared(each).mean((2, 3))) for each in halves])


def routed(times: int) -> Step:
    model, x = Routed(), twice(torch.randn(4, 1, 8, 8), times)
    return model, lambda: model(x).sum().backward()


STEPS = {
    make.__name__: make
    for make in (
        sequence_first,
        experts,
        muon,
        stacked_optimizer,
        second_moments,
        contrast,
        factors,
        recurrent,
        frames,
        position_table,
        routed,
    )
}


def step_of(name: str, times: int, folder: Path) -> Trace:
    torch.manual_seed(3)
    folder.mkdir()
    return captured(*STEPS[name](times), folder, batch=4 * times)


@pytest.mark.parametrize("name", STEPS)
def test_grown_step_has_the_work_of_the_step_that_is_captured_on_the_images_twice(name: str, tmp_path: Path) -> None:
    small, large = step_of(name, 1, tmp_path / "one"), step_of(name, 2, tmp_path / "two")
    grown, real = simulate(small, "fpraker", progress=False, batch=8), simulate(large, "fpraker", progress=False)
    assert [(mine.layer, mine.operation, mine.macs) for mine in grown.operations] == [
        (true.layer, true.operation, true.macs) for true in real.operations
    ]
    # Products alone tell the axes but for their order: the grown layers have the shapes of the layers that ran.
    doubled = [grow_layer(layer, axes, 2).shapes for layer, axes in zip(small.layers, batch_axes(small), strict=True)]
    assert doubled == [layer.shapes for layer in large.layers]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sequence_first", "'linear1', 'linear2': its axis 1, not the leading one, is taken for the batch of 4"),
        ("muon", "'matmul', 'matmul#2', 'matmul#3', 'matmul#4', 'matmul#5' and 25 more: has no batch axis"),
        ("stacked_optimizer", "'matmul': has no batch axis"),
        ("second_moments", "'matmul': K = 4 taken for rows of the images"),
        ("contrast", "'matmul': M = 4 and N = 4 taken for rows of the images"),
        ("factors", "'matmul': has no batch axis"),
        ("position_table", "'table': its leading axis is 1 and not the batch of 4"),
    ],
)
def test_layers_unlike_the_others_are_named(name: str, words: str, tmp_path: Path) -> None:
    results = simulate(step_of(name, 1, tmp_path / "one"), "fpraker", progress=False, batch=8)
    assert any(words in doubt for doubt in results.doubts)
    assert any(words in line for line in results.compute_cautions)


@pytest.mark.parametrize("name", ["recurrent", "frames", "routed"])
def test_layers_that_tell_their_batch_are_in_no_doubt(name: str, tmp_path: Path) -> None:
    assert growth(step_of(name, 1, tmp_path / "one"), 8).doubts == ()


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint16)


def linear(name: str, *lead: int) -> Layer:
    return Layer(name, "linear", a=zeros(*lead, 8), w=zeros(8, 8), g=zeros(*lead, 8))


def test_record_decides_where_leading_axes_have_a_larger_divisor() -> None:
    trace = Trace([linear("fc", 8), linear("tokens", 16, 6)], Metadata(batch=4))
    assert captured_batch(trace) == 4
    assert [
        grow_layer(layer, axes, 3).shapes["a"] for layer, axes in zip(trace.layers, batch_axes(trace), strict=True)
    ] == [
        (24, 8),
        (48, 6, 8),
    ]


def test_rows_that_are_no_multiple_grow_with_the_images_and_are_named() -> None:
    trace = Trace([linear("fc", 4), linear("expert", 13)], Metadata(batch=4))
    assert grow_layer(trace.layers[1], batch_axes(trace)[1], 2).shapes["a"] == (26, 8)
    (doubt,) = growth(trace, 8).doubts
    assert doubt.startswith("'expert': no multiple of the batch of 4 (13)")


def test_rows_of_stacked_experts_grow_and_not_their_number() -> None:
    stack = Layer("experts", "matmul", a=zeros(3, 8, 5), w=zeros(3, 5, 6), g=zeros(3, 8, 6))
    trace = Trace([linear("fc", 4), stack], Metadata(batch=4))
    assert batch_axes(trace)[1].axes == (("a", 1), ("g", 1))
    assert grow_layer(stack, batch_axes(trace)[1], 2).shapes == {"a": (3, 16, 5), "w": (3, 5, 6), "g": (3, 16, 6)}


def test_batch_that_is_not_recorded_is_the_least_axis_that_divides_the_others_and_said() -> None:
    trace = Trace([linear("fc", 4), linear("frames", 8)])
    assert captured_batch(trace) == 4
    assert growth(trace, 8).doubts[0].startswith("the trace does not record its batch: 4,")
    assert batch_axes(trace)[1] == BatchAxes((("a", 0), ("g", 0)))


@pytest.mark.parametrize(
    ("layers", "batch", "words"),
    [
        (
            [linear("fc", 4), linear("expert", 13)],
            None,
            "does not record its batch, and its layers' batch axes differ ('fc' 4 and 'expert' 13)",
        ),
        ([linear("fc", 4)], 32, "it records a batch of 32, but no layer has such an axis"),
        ([Layer("p", "matmul", a=zeros(2, 3), w=zeros(3, 4))], None, "no layer has an axis that tells"),
    ],
)
def test_trace_that_does_not_tell_its_batch_is_refused(layers: list[Layer], batch: int | None, words: str) -> None:
    with pytest.raises(TraceError) as refused:
        captured_batch(Trace(layers, replace(Metadata(), batch=batch)))
    assert words in str(refused.value)


@pytest.mark.parametrize("batch", [-4, 0, 2, 6])
def test_batch_that_is_no_multiple_is_refused(batch: int) -> None:
    with pytest.raises(SimhwError, match=f"batch {batch}: give a multiple of the 4 images that the trace holds"):
        growth(Trace([linear("fc", 4)]), batch)


def test_a_step_without_gradients_makes_no_weights():
    """Features (4, 32) of four samples and their inner products, whose second operand has a weight's shape."""
    random = np.random.default_rng(0)
    values = {shape: random.normal(size=shape).astype(np.float32) for shape in ((4, 8), (8, 32), (32, 4), (4, 32))}
    layers = [
        Layer("features", "matmul", a=values[4, 8], w=values[8, 32]),
        Layer("inner", "matmul", a=values[32, 4], w=values[4, 32]),
    ]
    features, inner = batch_axes(Trace(layers, Metadata(batch=4)))
    assert features.axes == (("a", 0), ("g", 0))
    assert inner.axes == (("a", 1), ("w", 0))
