"""Sets of weights, the ADMM driver, masks and budgets: worked out by hand on a few weights."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.constraints.admm import ADMM, Projected, Projection, project, residual
from simhw_workloads.constraints.budget import Budget, largest_of_all
from simhw_workloads.constraints.masks import Held, clear, nonzero_masks
from simhw_workloads.constraints.projections import (
    LevelKind,
    clustered,
    largest,
    levels,
    low_rank,
    pruned,
    quantised,
    train_ranks,
)
from simhw_workloads.lowrank.tensor_train import TrainShape
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Batch, Task, accuracy, cross_entropy
from simhw_workloads.train import Hook, Run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def one_layer(*weights: float) -> nn.Sequential:
    """A model of one linear layer with those weights, at path ``0``."""
    model = nn.Sequential(nn.Linear(len(weights), 1, bias=False))
    model[0].weight.data = torch.tensor([weights])
    return model


def trained(hooks: list[Hook], steps: int = 10) -> nn.Sequential:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(32, 8, generator=random), torch.randint(4, (32,), generator=random)
    task = Task("points", rows, rows, lambda columns: (columns[0], columns[1]), cross_entropy, accuracy)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    Run().fit("held", model, task, Schedule(steps, 0.1), batch=8, hooks=hooks)
    return model


SETS: dict[str, Projection] = {
    "few": partial(largest, count=17),
    "multiples": partial(quantised, bits=3, kind="multiples"),
    "binary multiples": partial(quantised, bits=3, kind="binary multiples"),
    "powers": partial(quantised, bits=3, kind="powers"),
    "few values": partial(clustered, bits=2),
    "singular values": low_rank({"": 3})[""],
    "tensor train": train_ranks({"": TrainShape((2, 4), (2, 3), (2, 4, 2))})[""],
}


@pytest.mark.parametrize("name", SETS)
def test_a_projection_leaves_the_points_of_its_set_where_they_are(name: str):
    weight = torch.randn(8, 6)
    once = SETS[name](weight)
    assert once.shape == weight.shape
    assert float((once - weight).abs().max()) > 0.01
    torch.testing.assert_close(SETS[name](once), once, rtol=1e-4, atol=1e-5)


def test_the_largest_weights_stay_by_magnitude():
    assert largest(torch.tensor([[1.0, -3, 0.5], [2, 0, -0.1]]), 3).tolist() == [[1, -3, 0], [2, 0, 0]]


def test_levels_are_multiples_or_powers_and_zero_is_none():
    assert levels(3, "multiples").tolist() == [1, 2, 3, 4]
    assert levels(3, "powers").tolist() == [1, 2, 4, 8]
    with pytest.raises(WorkloadError, match="levels of 0 bits"):
        levels(0, "powers")


@pytest.mark.parametrize("kind", ["multiples", "binary multiples", "powers"])
def test_quantised_weights_are_levels_of_one_step_and_zeros_stay(kind: LevelKind):
    weight = torch.randn(40, 30) * (torch.rand(40, 30) < 0.3)
    made = quantised(weight, 3, kind)
    assert torch.equal(made == 0, weight == 0)
    found = made[made != 0].abs().unique()
    over = found / found[0] if kind != "multiples" else found / (found[1] - found[0])
    grid = levels(3, kind).float()
    # The smallest found may be a higher level than the first: 2, 4, 6 of multiples are 1, 2, 3 of twice the step.
    assert len(found) <= len(grid)
    torch.testing.assert_close(over, over.round(), rtol=1e-4, atol=1e-4)
    if kind == "powers":
        assert torch.equal(found.log2(), found.log2().round())
    if kind == "binary multiples":
        assert float((found[-1] / found[0]).log2()) == float((found[-1] / found[0]).log2().round())


def test_weights_that_are_levels_already_find_their_step():
    weight = 0.3 * torch.tensor([[1.0, -2, 4, 0, 3, -1, -4]])
    torch.testing.assert_close(quantised(weight, 3, "multiples"), weight)
    # 0.25 is the power of two nearest to 0.3; its fourth multiple is 1.
    assert quantised(weight, 3, "binary multiples").tolist() == [[0.25, -0.5, 1, 0, 1, -0.25, -1]]


def test_clusters_are_means_of_the_weights_nearest_to_them():
    made = clustered(torch.tensor([[1.0, 1.2, 0, 5, 5.4, -2, -2.2, 9, 9.2]]), 2)
    torch.testing.assert_close(made, torch.tensor([[1.1, 1.1, 0, 5.2, 5.2, -2.1, -2.1, 9.1, 9.1]]))


def test_the_penalty_is_the_distance_to_the_set_and_the_dual_adds_up_what_is_left():
    model = one_layer(3.0, 1.0)
    driver = ADMM({"0": partial(largest, count=1)}, rho=2.0, every=1, tighten=(2, 4.0))
    output, batch = torch.zeros(1), Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1))
    driver.start(model, None)  # type: ignore[arg-type]  # it asks nothing of the task
    # Z = (3, 0): half of 2 times 1 squared.
    assert driver.loss(model, output, batch).item() == 1.0
    driver.stepped(model, 1)
    # Z stays, U = (0, 1): half of 2 times (1 + 1) squared.
    assert driver.loss(model, output, batch).item() == 4.0
    driver.stepped(model, 2)
    # Z + U = (3, 2), of which 3 stays: U = (0, 2).  Then rho is 8 and U = (0, 0.5): half of 8 times 1.5 squared.
    assert driver.loss(model, output, batch).item() == 9.0


def test_a_dual_that_outgrows_another_weight_moves_the_set_s_point():
    model = one_layer(3.0, 2.0)
    driver = ADMM({"0": partial(largest, count=1)}, rho=1.0, every=1)
    driver.start(model, None)  # type: ignore[arg-type]
    driver.stepped(model, 1)
    driver.stepped(model, 2)
    # W + U = (3, 4): the second is the larger one now, and Z = (0, 4) pulls it up: U = (3, 0).
    driver.loss(model, torch.zeros(1), Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1))).backward()
    assert model[0].weight.grad.tolist() == [[6.0, -2.0]]


def test_the_residual_is_the_distance_over_the_norm():
    model, few = one_layer(4.0, 3.0), {"0": partial(largest, count=1)}
    assert residual(model, few) == pytest.approx(3 / 5)
    project(model, few)
    assert residual(model, few) == 0


def test_admm_brings_weights_nearer_to_a_set_than_training_alone():
    few = {"0": partial(largest, count=20), "2": partial(largest, count=10)}
    pulled = residual(trained([ADMM(few, 1.0, 5)], 60), few)
    assert pulled < 0.5 * residual(trained([], 60), few)


def test_masked_weights_stay_zero_while_others_move():
    model = trained([], 1)
    project(model, few := pruned({"0": 0.25, "2": 0.5}, model))
    masks = nonzero_masks(model, list(few))
    assert [int(mask.sum()) for mask in masks.values()] == [32, 32]
    held = trained([Held(masks)])
    for path, mask in masks.items():
        assert torch.equal(held.get_submodule(path).weight != 0, mask)


def test_projected_training_ends_on_the_set():
    fine = {"0": partial(clustered, bits=2)}
    assert residual(trained([Projected(fine)]), fine) < 1e-6
    assert len(trained([Projected(fine)])[0].weight.unique()) <= 4


def test_a_budget_holds_for_all_layers_together():
    model = trained([Budget(["0", "2"], 50)])
    left = {path: int(model.get_submodule(path).weight.count_nonzero()) for path in ("0", "2")}
    assert sum(left.values()) == 50
    # No layer has the share of its size: the masks ask for magnitude alone.
    masks = largest_of_all(model, ["0", "2"], 10)
    kept = torch.cat([model.get_submodule(path).weight.detach()[masks[path]].abs() for path in ("0", "2")])
    gone = torch.cat([model.get_submodule(path).weight.detach()[~masks[path]].abs() for path in ("0", "2")])
    assert float(kept.min()) >= float(gone.max())
    clear(model, masks)
    assert sum(int(model.get_submodule(path).weight.count_nonzero()) for path in ("0", "2")) == 10
    with pytest.raises(WorkloadError, match="0 of 192 weights are to stay"):
        largest_of_all(model, ["0", "2"], 0)


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm())


def test_no_step_of_a_finer_search_is_nearer():
    weight = torch.randn(20, 20)
    made = quantised(weight, 3, "multiples")
    for step in torch.linspace(0.02, 1.2, 400):
        other = (weight / step).abs().round().clamp(1, 4) * step * weight.sign()
        assert distance(made, weight) <= distance(other, weight) * 1.01
