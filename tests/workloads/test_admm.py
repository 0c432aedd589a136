"""What makes the ADMM workloads their techniques: projecting costs little behind ADMM and much without it; which layers
are pruned is a machine's word; weights end on levels, and networks in factors.
"""

from functools import cache

import numpy as np
import pytest
import torch

from simhw.errors import WorkloadError
from simhw.report.trace_tables import trace_statistics
from simhw.roofline.layers.network import Linear
from simhw.trace.layer import Layer
from simhw_workloads.constraints.admm import project
from simhw_workloads.constraints.break_even import DENSITIES, captured_layers, paying, pruned_cost, thinned
from simhw_workloads.constraints.projections import train_ranks
from simhw_workloads.lowrank.surgery import chains
from simhw_workloads.lowrank.tensor_train import TensorTrain, to_tensor_train
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.table import workload
from simhw_workloads.techniques.admm import BITS, SMOKE_DENSITIES, SMOKE_SHAPES
from simhw_workloads.techniques.digits import trained
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run

PRUNED = ["conv2", "conv3", "fc1", "fc2"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def values(run: Run) -> dict[str, float]:
    return {score.phase: score.value for score in run.record.scores}


@pytest.mark.parametrize("name", ["admm-tt", "admm-tucker", "admm-nn"])
def test_a_network_pulled_towards_a_set_is_projected_at_little_loss(name: str):
    """The gate: 10 points better than without ADMM, and the residual below three tenths."""
    record = smoke_run(name).record
    scores = {score.phase: score.value for score in record.scores}
    assert scores["projected"] >= scores["projected without ADMM"] + 0.1
    assert record.notes["residual_after_admm"] < 0.3 < record.notes["residual_before_admm"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
# Tucker-2 without ADMM scores 0.72 with one seed and 0.88 with the other, where there are no 10 points to gain.
@pytest.mark.parametrize(("name", "points"), [("admm-tt", 0.1), ("admm-tucker", 0.05), ("admm-nn", 0.1)])
def test_at_full_scale_as_well(name: str, points: float, seed: int):
    run = Run(seed=seed)
    workload(name).train(run)
    scores = values(run)
    assert scores["projected"] >= scores["projected without ADMM"] + points
    assert run.record.notes["residual_after_admm"] < 0.3
    # What is left of it computes as well as the dense network, within two points.
    assert run.record.result.value >= scores["dense"] - 0.02


@pytest.mark.parametrize("name", ["admm-nn", "admm-nn-levels", "admm-nn-powers", "admm-tt", "admm-tucker"])
def test_a_technique_trains_for_as_many_steps_as_its_baseline(name: str):
    steps = {each: sum(phase.steps for phase in smoke_run(each).record.phases) for each in (name, "digit-cnn")}
    assert steps[name] == steps["digit-cnn"]


def test_the_network_ends_in_the_cores_of_tensor_trains_and_in_the_dense_one_s_place():
    model = smoke_run("admm-tt").model
    trains = {path: module for path, module in model.named_modules() if isinstance(module, TensorTrain)}
    assert {path: train.shape for path, train in trains.items()} == SMOKE_SHAPES
    # Four cores of fc1, three of each convolution; the first phase is dense.
    names = [layer.name for layer in smoke_run("admm-tt").trace.layers]
    assert sum(name.startswith("fc1.") for name in names) == 4
    assert [name for name in names if name.startswith("conv2.")] == [
        "conv2.inward.0",
        "conv2.kernel",
        "conv2.outward.0",
    ]
    dense, pulled, factors = smoke_run("admm-tt").record.phases
    assert dense.step_macs == pulled.step_macs > 3 * factors.step_macs


def test_a_projected_network_is_taken_apart_without_a_change():
    model, task = trained(Run(scale="smoke", max_steps=5))
    project(model, train_ranks(SMOKE_SHAPES))
    inputs = task.rows(torch.arange(8)).inputs
    model.eval()
    before = model(inputs)
    torch.testing.assert_close(to_tensor_train(model, SMOKE_SHAPES)(inputs), before, rtol=1e-3, atol=1e-4)


def test_tucker_and_singular_values_drop_into_the_same_driver():
    found = chains(smoke_run("admm-tucker").model)
    assert {path: chain.ranks for path, chain in found.items()} == {"conv2": (12, 8), "conv3": (16, 12), "fc1": (8, 8)}


def weights(name: str) -> dict[str, torch.Tensor]:
    model = smoke_run(name).model
    return {path: model.get_submodule(path).weight.detach() for path in DigitCNN.ORDER}


@pytest.mark.parametrize("name", ["admm-nn", "admm-nn-levels", "admm-nn-powers"])
def test_as_many_weights_are_left_as_were_asked_for_and_the_layer_that_gains_nothing_is_dense(name: str):
    left = {path: int(weight.count_nonzero()) for path, weight in weights(name).items()}
    for path in PRUNED:
        assert left[path] == round(SMOKE_DENSITIES[path] * weights(name)[path].numel())
    # Nine inputs of one channel: TensorDash gains nothing there, whatever is zero.
    assert smoke_run(name).record.notes["gain_conv1"] < 1.05
    assert left["conv1"] == weights(name)["conv1"].numel()


def test_quantised_weights_are_a_few_multiples_or_single_terms():
    for path in PRUNED:
        found = weights("admm-nn-levels")[path]
        assert len(found[found != 0].abs().unique()) <= 2 ** (BITS - 1)
        powers = weights("admm-nn-powers")[path]
        exponents = powers[powers != 0].abs().log2()
        assert torch.equal(exponents, exponents.round())
        assert len(exponents.unique()) <= 2 ** (BITS - 1)
    # A tenth of the weights is left in each; only powers of two have few terms.
    multiples, powers_of_two = (terms_per_left_weight(name) for name in ("admm-nn-levels", "admm-nn-powers"))
    assert multiples > 2
    assert powers_of_two == 1


def terms_per_left_weight(name: str) -> float:
    terms = left = 0.0
    for layer, tensor, statistics in trace_statistics(smoke_run(name).trace):
        if tensor == "w" and layer.name in PRUNED:
            terms += statistics.terms_per_value() * statistics.size
            left += statistics.size - statistics.zeros
    return terms / left


@cache
def dense_layers() -> dict[str, Layer]:
    model, task = trained(Run(scale="smoke", max_steps=20))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = captured_layers(model, task, 8)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    return layers


def test_a_thinned_layer_keeps_its_largest_weights_and_loses_its_weight_gradient():
    layer = dense_layers()["conv2"]
    thin = thinned(layer, 0.25)
    assert np.count_nonzero(thin.w) == layer.w.size // 4
    kept = thin.w != 0
    assert np.array_equal(thin.w[kept], layer.w[kept])
    assert (layer.w[kept] & 0x7FFF).min() >= (layer.w[~kept] & 0x7FFF).max()
    assert thin.operations == ("forward", "input_grad")
    assert np.array_equal(thin.a, layer.a)


def test_each_machine_has_its_own_break_even():
    asked = (1.0, 0.5, 0.1)
    conv2 = {name: pruned_cost(dense_layers()["conv2"], name, asked) for name in ("tensordash", "fpraker")}
    # With fewer weights nothing takes longer, but for what the scheduler's order costs.
    for cost in conv2.values():
        assert cost.pruned[0.1] < cost.pruned[1.0]
        assert cost.gain(1.0) <= 1
    assert conv2["tensordash"].break_even() == 0.5
    # FPRaker, slower than its baseline on so small a layer, needs more zeros to catch up.
    assert (conv2["fpraker"].break_even() or 0) < 0.5
    # conv1 gains nothing on TensorDash.
    assert pruned_cost(dense_layers()["conv1"], "tensordash", asked).break_even() is None


def test_break_even_asks_for_energy_too_and_for_a_machine_with_a_baseline():
    layer = dense_layers()["fc2"]
    time, energy = (pruned_cost(layer, "tensordash", (0.5,), of).gain(0.5) for of in ("time", "energy"))
    assert energy <= time
    with pytest.raises(WorkloadError, match="machine bf16 has no baseline"):
        pruned_cost(layer, "bf16", (0.5,))
    assert max(DENSITIES) == 1.0


def test_only_layers_that_gain_are_pruned():
    layers = {path: dense_layers()[path] for path in ("conv1", "conv2")}
    chosen, gains = paying(layers, {"conv1": 0.1, "conv2": 0.1}, "tensordash")
    assert chosen == {"conv2": 0.1}
    assert gains["conv1"] < 1.05 <= gains["conv2"]


def test_the_rooflines_are_given_the_cores_of_the_whole_network():
    shapes, dense = workload("admm-tt").shapes, workload("digit-cnn").shapes
    assert shapes is not None
    assert dense is not None
    # Of fc1: its inputs' cores 24 -> 12 and 12 x 24 -> 16, its outputs' 16 -> 8 x 4 and 4 -> 8.
    cores = [layer for layer in shapes(Run()).layers if isinstance(layer, Linear) and layer.name.startswith("fc1.")]
    assert [(each.in_features, each.out_features) for each in cores] == [(24, 12), (288, 16), (16, 32), (4, 8)]
    assert sum(parameter.numel() for parameter in DigitCNN().parameters()) == 61_098
    assert dense(Run()).parameters > 4 * shapes(Run()).parameters
