"""PACT: integers of 4 bits in the products, their scales beside them, gradients as its paper says."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from simhw.bfloat16 import term_counts
from simhw_workloads.models.pact import BITS, ClippedActivation, QuantisedConv2d, resnet18_pact, rounded
from tests.captured_steps import values
from tests.workloads.smoke_runs import smoke_run

STEPS, MOST = 2**BITS - 1, 2 ** (BITS - 1) - 1


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_an_activation_is_the_nearest_of_sixteen_levels_up_to_its_bound() -> None:
    activation, x = ClippedActivation(), torch.randn(1000) * 6
    bound = activation.bound.item()
    integers, scale = (each.detach() for each in activation(x))
    assert set(integers.tolist()) == set(range(STEPS + 1))
    assert scale.item() == pytest.approx(bound / STEPS)
    levels = torch.arange(STEPS + 1) * bound / STEPS
    nearest = (x[:, None] - levels).abs().argmin(1)
    # A value halfway between two levels may go either way; of a thousand random ones none is.
    assert torch.equal(integers, nearest.float())


def test_the_bound_learns_from_what_it_clips_alone_and_nothing_else_gets_its_gradient() -> None:
    activation, x = ClippedActivation(), (torch.randn(1000) * 6).requires_grad_()
    upstream = torch.randn(1000)
    (activation(x).values * upstream).sum().backward()
    bound = activation.bound.detach()
    clipped, passed = x.detach() >= bound, (x.detach() > 0) & (x.detach() < bound)
    assert 50 < clipped.sum() < 300
    assert activation.bound.grad.item() == pytest.approx(upstream[clipped].sum().item(), rel=1e-4)
    torch.testing.assert_close(x.grad, torch.where(passed, upstream, 0.0))


def test_rounding_passes_gradients_unchanged_and_ties_go_to_the_even_integer() -> None:
    x = torch.tensor([0.5, 1.5, -0.5, 2.4, -2.6], requires_grad=True)
    y = rounded(x)
    assert y.tolist() == [0, 2, 0, 2, -3]
    y.backward(torch.arange(5.0))
    assert x.grad.tolist() == [0, 1, 2, 3, 4]


def test_a_convolution_of_integers_is_that_of_the_quantised_numbers() -> None:
    layer, activation = QuantisedConv2d(6, 8, 3, 2, 1), ClippedActivation()
    quantised = activation(torch.randn(4, 6, 9, 9) * 3)
    output = layer(quantised)
    weights = layer.integers()
    assert weights.integers.abs().max() == MOST
    assert torch.equal(weights.integers, weights.integers.round())
    # Each weight lies within half a step.
    assert (weights.values - layer.weight).abs().max() <= weights.scale * 0.5001
    torch.testing.assert_close(output, functional.conv2d(quantised.values, weights.values, None, 2, 1))
    upstream = torch.randn_like(output)
    output.backward(upstream)
    plain = layer.weight.detach().clone().requires_grad_()
    straight = plain + (weights.values - plain).detach()
    functional.conv2d(quantised.values.detach(), straight, None, 2, 1).backward(upstream)
    torch.testing.assert_close(layer.weight.grad, plain.grad, atol=1e-4, rtol=1e-4)


def test_blocks_multiply_integers_and_the_stem_and_the_classifier_do_not() -> None:
    layers = smoke_run("resnet18-pact").trace.layers
    quantised = [layer for layer in layers if layer.scales]
    assert [layer.name for layer in layers if not layer.scales] == ["conv1", "fc"]
    # Two convolutions in each of eight blocks, and three shortcuts.
    assert len(quantised) == 19
    for layer in quantised:
        a, w = values(layer.a), values(layer.w)
        assert torch.equal(a, a.round())
        assert torch.equal(w, w.round())
        assert a.min() >= 0
        assert a.max() <= STEPS
        assert w.abs().max() == MOST
        # 11 and 13 have three signed digits, and no integer up to 15 has more.
        assert term_counts("naf")[layer.a[layer.a > 0] & 0x7F].max() <= 3


def test_the_scales_of_a_trace_make_the_networks_numbers_of_its_integers() -> None:
    smoke = smoke_run("resnet18-pact")
    model, layers = smoke.model, {layer.name: layer for layer in smoke.trace.layers}
    for name, module in model.named_modules():
        if isinstance(module, QuantisedConv2d):
            scales = layers[f"{name}.conv2d"].scales
            assert scales["g"] == pytest.approx(1 / (scales["a"] * scales["w"]), rel=1e-6)
            # The weights have moved by one step since the forward pass.
            now = module.weight.detach().abs().max().item() / MOST
            assert scales["w"] == pytest.approx(now, rel=0.2)


def test_g_times_its_scale_is_the_gradient_of_the_convolutions_output() -> None:
    layer, seen = QuantisedConv2d(4, 4, 1), []
    quantised = ClippedActivation()(torch.randn(2, 4, 3, 3))
    conv2d = functional.conv2d
    with pytest.MonkeyPatch.context() as patch:

        def watched(*arguments: object) -> torch.Tensor:
            sums = conv2d(*arguments)  # type: ignore[arg-type]
            sums.register_hook(seen.append)
            return sums

        patch.setattr(functional, "conv2d", watched)
        output = layer(quantised)
    upstream = torch.randn_like(output)
    output.backward(upstream)
    torch.testing.assert_close(seen[0] * layer.operand_scales["g"], upstream)


def test_it_is_resnet18_with_two_bounds_in_each_block() -> None:
    with torch.device("meta"):
        model = resnet18_pact()
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512 + 2 * 8
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 20


def test_a_small_one_learns() -> None:
    record = smoke_run("resnet18-pact").record
    assert np.isfinite(record.phase("train").losses).all()
    model = resnet18_pact(2, 0.125, 1, small_input=True)
    images = torch.randn(16, 1, 28, 28)
    labels = (torch.arange(16) % 2).long()
    images[labels == 1] += 1
    optimizer, losses = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9), []
    for _ in range(12):
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 < losses[0]
