"""Groups, channels and attacks, and what makes the workloads that prune their techniques."""

from functools import cache

import pytest
import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.adversarial import Adversarial, Attack, attacked
from simhw_workloads.constraints.channels import keep_outputs
from simhw_workloads.constraints.reweighted import (
    BLOCK,
    COLUMN,
    FILTER,
    IRREGULAR,
    Reweighted,
    channel,
    density,
    group_sizes,
    spread,
    threshold_masks,
)
from simhw_workloads.data import load
from simhw_workloads.lowrank.rest import FactorsAndRest
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.task import Batch, Task, cross_entropy
from simhw_workloads.techniques.atmc import BUDGET, RANKS, atmc
from simhw_workloads.train import Run
from tests.workloads import by_shape
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_a_group_s_size_is_its_root_mean_square():
    weight = torch.tensor([[3.0, 4, 0, 0, 1], [3, 4, 0, 0, 1], [0, 0, 2, 2, 1], [0, 0, 2, 2, 1], [5, 5, 0, 0, 1]])
    assert torch.allclose(group_sizes(weight, IRREGULAR), weight, atol=1e-9)
    torch.testing.assert_close(group_sizes(weight, FILTER)[:3, 0] ** 2, torch.tensor([26 / 5, 26 / 5, 9 / 5]))
    torch.testing.assert_close(group_sizes(weight, COLUMN)[0] ** 2, torch.tensor([43 / 5, 57 / 5, 8 / 5, 8 / 5, 1]))
    # Of 25 weights, the block of four rows and columns has 16; those at the edges have 4 and 1.
    torch.testing.assert_close(group_sizes(weight, BLOCK) ** 2, torch.tensor([[66 / 16, 1], [50 / 4, 1]]))
    assert torch.equal(spread(torch.tensor([[1, 2], [3, 4]]), weight, BLOCK)[3:, 3:], torch.tensor([[1, 2], [3, 4]]))


def test_a_kernel_s_column_is_one_place_of_one_input_and_its_channel_all_places():
    weight = torch.zeros(4, 3, 2, 2)
    weight[:, 1, 0, 1] = 2.0
    assert group_sizes(weight, COLUMN)[0].nonzero()[:, 0].numel() == 12
    assert (group_sizes(weight, COLUMN)[0] > 1).nonzero()[:, 0].tolist() == [5]
    # One of four places is 2: the root of a mean of 1.
    torch.testing.assert_close(group_sizes(weight, channel(4))[0], torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


def test_the_penalty_lets_go_of_large_groups_and_is_worked_out_at_milestones():
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[2.0, 0.02]])
    hook = Reweighted({"0": IRREGULAR}, strength=0.5, every=3, eps=0.0)
    hook.start(model, None)  # type: ignore[arg-type]  # it asks nothing of the task
    nothing = torch.zeros(1)

    def gradient() -> list[float]:
        model.zero_grad()
        hook.loss(model, nothing, Batch(nothing, nothing, nothing)).backward()
        return [round(float(each), 3) for each in model[0].weight.grad[0]]

    # Half of 1 / |w|.
    assert gradient() == [0.25, 25.0]
    model[0].weight.data[0, 0] = 1.0
    hook.stepped(model, 2)
    assert gradient() == [0.25, 25.0]
    hook.stepped(model, 3)
    assert gradient() == [0.5, 25.0]


def test_groups_under_the_threshold_go_and_a_layer_keeps_its_largest():
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    model[0].weight.data = torch.tensor([[2.0, 0.05, 0, 0]])
    # The root mean square is 1.
    assert threshold_masks(model, {"0": IRREGULAR}, 0.1)["0"].tolist() == [[True, False, False, False]]
    assert threshold_masks(model, {"0": IRREGULAR}, 9.0)["0"].tolist() == [[True, False, False, False]]
    assert density(threshold_masks(model, {"0": IRREGULAR}, 0.01)) == 0.5


@pytest.mark.parametrize("path", ["conv1", "conv2", "conv3", "fc1"])
def test_a_narrower_network_computes_what_one_with_zeros_does(path: str):
    model, x = DigitCNN(16).eval(), torch.randn(4, 1, 16, 16)
    for norm in (model.bn1, model.bn2, model.bn3):
        norm.running_mean.normal_()
        norm.weight.data.uniform_(0.5, 2)
    reader = model.get_submodule(DigitCNN.ORDER[DigitCNN.ORDER.index(path) + 1])
    kept = torch.arange(len(model.get_submodule(path).weight)) % 3 != 0
    reader.weight.data[:, ~kept.repeat_interleave(reader.weight.shape[1] // len(kept))] = 0
    before = model(x)
    keep_outputs(model, path, kept)
    assert len(model.get_submodule(path).weight) == int(kept.sum())
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


def test_channels_that_nobody_reads_and_none_at_all_are_refused():
    with pytest.raises(WorkloadError, match="no layer reads the outputs of 'fc2'"):
        keep_outputs(DigitCNN(8), "fc2", torch.ones(10, dtype=torch.bool))
    with pytest.raises(WorkloadError, match="none of its 16 outputs is kept"):
        keep_outputs(DigitCNN(8), "conv1", torch.zeros(16, dtype=torch.bool))


@pytest.mark.parametrize("name", ["irregular", "filter", "column", "block"])
def test_the_penalty_makes_pruning_all_but_free(name: str):
    scores = {score.phase: score.value for score in smoke_run(f"reweighted-{name}").record.scores}
    assert scores["pruned"] >= scores["regularised"] - 0.02
    assert smoke_run(f"reweighted-{name}").record.notes["density"] < 0.8
    steps = {each: sum(p.steps for p in smoke_run(each).record.phases) for each in (f"reweighted-{name}", "digit-cnn")}
    assert steps[f"reweighted-{name}"] == steps["digit-cnn"]


def test_weights_are_zero_in_their_structure():
    columns = smoke_run("reweighted-column").model.get_submodule("conv3").weight.detach().flatten(1)
    empty = ~columns.any(0)
    assert 0.3 < float(empty.float().mean()) < 1
    assert bool((columns[:, ~empty] != 0).float().mean() > 0.99)
    blocks = group_sizes(smoke_run("reweighted-block").model.get_submodule("conv3").weight.detach(), BLOCK)
    assert float((blocks < 1e-6).float().mean()) > 0.3
    narrow = smoke_run("reweighted-filter").model
    assert narrow.get_submodule("conv2").weight.shape[0] == narrow.get_submodule("conv3").weight.shape[1] < 32


def test_filters_that_went_are_gone_at_full_size_and_zeros_in_place_leave_all_shapes():
    model, network = smoke_run("reweighted-filter").model, by_shape.full_network("reweighted-filter")
    narrow = {name: tuple(each.weight.shape) for name, each in model.named_modules() if name in DigitCNN.ORDER}
    products = by_shape.products(network)
    # At 28 pixels fc1 reads 9 places of each channel, at 8 pixels one.
    assert products == narrow | {"fc1": (narrow["fc1"][0], 9 * narrow["fc1"][1])}
    by_shape.step_of("reweighted-filter")
    for name in ("irregular", "column", "block"):
        assert by_shape.full_network(f"reweighted-{name}") == by_shape.full_network("digit-cnn")


def digits() -> Task:
    return load("digits").task()


def test_an_attack_stays_in_its_box_and_raises_the_loss_without_touching_the_model():
    task, model = digits(), smoke_run("digit-cnn").model
    batch = task.rows(torch.arange(32), train=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moved = Attack(0.1, 3).moved(model, batch.inputs, batch.targets, task.loss, torch.Generator().manual_seed(0))
    edge = 0.1 * float(batch.inputs.max() - batch.inputs.min())
    assert float((moved - batch.inputs).abs().max()) <= edge + 1e-5
    assert float(moved.min()) >= float(batch.inputs.min())
    model.eval()
    assert cross_entropy(model(moved), batch.targets) > 2 * cross_entropy(model(batch.inputs), batch.targets)
    model.train()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_adversarial_batches_hold_both_halves():
    task, model = digits(), smoke_run("digit-cnn").model
    batch = task.rows(torch.arange(8))
    made = Adversarial(Attack(0.1, 1), task.loss, 0).batch(model, batch)
    assert torch.equal(made.inputs[:8], batch.inputs)
    assert not torch.equal(made.inputs[8:], batch.inputs)
    assert torch.equal(made.targets, torch.cat([batch.targets, batch.targets]))
    assert attacked(model, task, Attack(0.1, 1), 50, 0).tests == 50


@pytest.mark.parametrize("make", [lambda: nn.Linear(12, 8), lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1)])
def test_factors_and_rest_compute_what_the_layer_did(make):
    layer = make()
    x = torch.randn(3, 12) if isinstance(layer, nn.Linear) else torch.randn(3, 6, 7, 7)
    before = layer(x)
    parted = FactorsAndRest(layer, 3)
    torch.testing.assert_close(parted(x), before, rtol=1e-4, atol=1e-5)
    assert all(bool(parameter.any()) for parameter in parted.parameters())


def robustness(run: Run) -> float:
    return next(score.value for score in reversed(run.record.scores) if score.phase == "few values, attacked")


@cache
def standard() -> float:
    run = Run(scale="smoke")
    atmc(run, None)
    return robustness(run)


def test_it_is_more_robust_than_training_without_attacks_at_equal_size():
    """The gate: 15 points, at a tenth of the weights and as few values."""
    assert float(smoke_run("atmc").record.notes["accuracy_attacked"]) >= standard() + 0.15


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_at_full_scale_as_well(seed: int):
    trained_so, plain = Run(seed=seed), Run(seed=seed)
    atmc(trained_so)
    atmc(plain, None)
    assert robustness(trained_so) >= robustness(plain) + 0.15


def test_factors_and_rests_share_one_budget_and_have_few_values_each():
    model, notes = smoke_run("atmc").model, smoke_run("atmc").record.notes
    dense = sum(layer.weight.numel() for layer in DigitCNN(8).modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    assert notes["weights_left"] <= round(BUDGET * dense)
    parts = {
        name: module.weight.detach()
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    assert sum(int(weight.count_nonzero()) for weight in parts.values()) == notes["weights_left"]
    for path, weight in parts.items():
        assert len(weight[weight != 0].unique()) <= 16, path
    # All three parts of every layer live.
    for path in RANKS:
        for part in ("factors.first", "factors.last", "rest"):
            assert parts[f"{path}.{part}"].any()
