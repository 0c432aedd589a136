"""Collaborative compression: what units cost, the shares of layers, and the networks that come of it."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw.roofline.from_model import network_of
from simhw_workloads.lowrank.chain import paired
from simhw_workloads.lowrank.collaborative import LayerState, cheapest, compressed, fitted, global_shares, state_of
from simhw_workloads.lowrank.surgery import chains
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.task import Task
from simhw_workloads.techniques.collaborative import apply, as_noted, macs_of, whole_states
from simhw_workloads.techniques.digits import trained
from simhw_workloads.train import Run
from tests.workloads import by_shape
from tests.workloads.smoke_runs import smoke_run

NAMES = ("collaborative", "collaborative-channels", "collaborative-ranks")


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def layer(outputs: int = 6, inputs: int = 5, places: int = 4, rows: int = 3) -> LayerState:
    random = np.random.default_rng(0)
    weight, gradient = random.normal(size=(2, outputs, inputs, places))
    return LayerState(weight, gradient, rows, np.ones(inputs, bool))


def test_a_state_counts_the_arithmetic_of_what_is_left():
    whole = layer()
    assert (whole.units, whole.macs, whole.share, whole.cost) == (11, 3 * 6 * 20, 0, 0)
    fewer = whole.without_channels(2)
    assert fewer is not None
    assert fewer.macs == 3 * 6 * 12
    assert fewer.share == pytest.approx(0.4)
    # Three channels of four places and six outputs at rank 2.
    assert LayerState(whole.weight, whole.gradient, 3, fewer.kept, rank=2).macs == 3 * 2 * (12 + 6)


def test_the_channel_that_costs_least_goes_first():
    whole = layer()
    whole.gradient[:, 3] *= 0.01
    step = whole.without_channels(1)
    assert step is not None
    assert step.kept.tolist() == [True, True, True, False, True]
    assert step.cost == pytest.approx(float(np.square(whole.gradient[:, 3] * whole.weight[:, 3]).sum()))


def test_the_last_channel_and_the_last_singular_value_stay():
    one = LayerState(np.ones((2, 1, 1)), np.ones((2, 1, 1)), 1, np.ones(1, bool))
    assert one.without_channels(1) is None
    assert (
        LayerState(np.ones((4, 4, 1)), np.ones((4, 4, 1)), 1, np.ones(4, bool), rank=1).without_values(1, 0.9) is None
    )


def test_a_pair_is_first_made_where_it_pays():
    whole = layer(8, 8, 1)
    step = whole.without_values(1, 0.9)
    assert step is not None
    # Rank 4 of 8 x 8 takes as much as the whole; below it a pair pays.
    assert step.rank is not None
    assert step.rank < 4
    assert step.macs < whole.macs


def test_a_layer_of_low_rank_loses_values_and_one_with_idle_inputs_channels():
    random = np.random.default_rng(1)
    thin = random.normal(size=(12, 2)) @ random.normal(size=(2, 12))
    gradient = random.normal(size=(12, 12, 1))
    low = LayerState(thin[:, :, None], gradient, 1, np.ones(12, bool))
    step = cheapest(low, 0.6, ahead=True)
    assert step is not None
    assert step.rank is not None
    # All but two singular values go, and cost nothing.
    assert compressed(low, 0.6).cost < 1e-20
    idle = random.normal(size=(12, 12, 1))
    idle[:, 4:] *= 1e-6
    step = cheapest(LayerState(idle, gradient, 1, np.ones(12, bool)), 0.6, ahead=True)
    assert step is not None
    assert step.rank is None
    assert not step.kept[4:].all()


def test_compression_reaches_its_share_with_the_units_that_may_go():
    for channels, values in ((True, False), (False, True), (True, True)):
        state = compressed(layer(12, 10, 9), 0.5, channels, values)
        assert 0.5 <= state.share < 0.7
        if not channels:
            assert state.kept.all()
        if not values:
            assert state.rank is None


def test_shares_follow_from_equal_slopes():
    # Slopes p1 p2 exp(p2 share) over macs are equal where shares are ln(number macs / (p1 p2)) / p2.
    costs, macs = {"a": (1.0, 4.0), "b": (2.0, 4.0), "c": (1.0, 4.0)}, {"a": 100, "b": 100, "c": 200}
    shares = global_shares(costs, macs, 0.5)
    assert sum(macs[path] * share for path, share in shares.items()) == pytest.approx(200, rel=1e-6)
    assert shares["a"] - shares["b"] == pytest.approx(math.log(2) / 4)
    assert shares["c"] - shares["a"] == pytest.approx(math.log(2) / 4)
    with pytest.raises(WorkloadError, match=r"a reduction by 0\.99"):
        global_shares(costs, macs, 0.99)


def test_a_fit_is_that_of_a_cost_that_rises_with_the_share():
    first, slope = fitted(layer(12, 10, 9), values=False)
    assert first > 0
    assert slope > 0
    with pytest.raises(WorkloadError, match="too few channels"):
        fitted(layer(2, 1, 1))


def test_a_paired_layer_of_full_rank_computes_what_it_did():
    made = nn.Conv2d(6, 8, 3, stride=2, padding=1)
    x = torch.randn(2, 6, 7, 7)
    torch.testing.assert_close(paired(made, 8)(x), made(x), rtol=1e-4, atol=1e-5)
    near = paired(made, 3)
    left, values, right = torch.linalg.svd(made.weight.detach().flatten(1), full_matrices=False)
    torch.testing.assert_close(near.to_dense().flatten(1), left[:, :3] * values[:3] @ right[:3], rtol=1e-4, atol=1e-5)
    with pytest.raises(WorkloadError, match="no factors of rank 9"):
        paired(made, 9)


def small() -> tuple[DigitCNN, Task]:
    return trained(Run(scale="smoke", max_steps=5))


def test_the_network_computes_what_the_states_say():
    model, task = small()
    states = whole_states(model, task, 8)
    assert states["conv3"].weight.shape == (64, 32, 9)
    # By shape: conv2 works on 4 x 4 places, conv3 on 2 x 2; conv1 and fc2 are the rest.
    example = task.rows(torch.arange(1)).inputs
    assert macs_of(model, example) == sum(state.macs for state in states.values()) + 64 * 16 * 9 + 64 * 10
    inputs = task.rows(torch.arange(16)).inputs
    state = compressed(states["conv3"], 0.4)
    weight = torch.from_numpy(state.approximation).float().reshape(model.conv3.weight.shape)
    masked, _ = small()
    masked.conv3.weight.data.copy_(weight)
    apply(model, {"conv3": state})
    torch.testing.assert_close(model.eval()(inputs), masked.eval()(inputs), rtol=1e-3, atol=1e-4)


def test_a_gradient_of_the_states_is_the_loss_s():
    model, task = small()
    states = whole_states(model, task, 8)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert state_of(model.fc1.weight, model.fc1.weight, 64, 1).weight.shape == (64, 64, 1)
    assert all(np.abs(state.gradient).max() > 0 for state in states.values())


@pytest.mark.parametrize("name", NAMES)
def test_half_of_the_arithmetic_is_left_whatever_goes(name: str):
    dense, tuned = smoke_run(name).record.phases
    # At most half of the forward pass; the first layer, which has no input gradient, shifts the step a little.
    assert 0.35 < tuned.step_macs / dense.step_macs < 0.53
    found = chains(smoke_run(name).model)
    widths = {
        path: len(smoke_run("digit-cnn").model.get_submodule(path).weight) for path in ("conv1", "conv2", "conv3")
    }
    narrower = smoke_run(name).record.notes["channels_conv3"] != f"{widths['conv2']} of {widths['conv2']}"
    assert bool(found) == (name != "collaborative-channels")
    assert narrower == (name != "collaborative-ranks")


@pytest.mark.parametrize("name", NAMES)
def test_fine_tuning_mends_what_compression_cost(name: str):
    scores = {score.phase: score.value for score in smoke_run(name).record.scores}
    assert scores["finetune"] >= scores["dense"] - 0.03
    assert scores["finetune"] >= scores["compressed"]


@pytest.mark.parametrize("name", NAMES)
def test_the_full_size_network_has_the_shares_of_channels_and_ranks_that_were_left(name: str):
    record = smoke_run(name).record
    narrow = as_noted(DigitCNN(8), record)
    assert by_shape.products(network_of(narrow, torch.zeros(1, 1, 8, 8))) == by_shape.captured_products(name)
    # At 28 pixels it is the same network but for the flattening, so that about as much is left.
    assert by_shape.share_left(name) == pytest.approx(by_shape.captured_share_left(name), abs=0.05)
    by_shape.step_of(name)
