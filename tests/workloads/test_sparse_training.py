"""Sparse training: the number of weights never changes; what goes and what grows is worked out by hand."""

import pytest
import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.schedule import Schedule
from simhw_workloads.sparse_training import (
    DynamicReparameterisation,
    Rule,
    SparseMomentum,
    SparseWeights,
    shared_out,
)
from simhw_workloads.task import Task, accuracy, cross_entropy
from simhw_workloads.train import Run

SIZES = {"1": 12 * 16, "3": 4 * 12}
"""Weights of the layers that are sparse in `trained`'s model: all but the first."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def trained(hook: SparseWeights, steps: int = 12) -> nn.Module:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(32, 8, generator=random), torch.randint(4, (32,), generator=random)
    task = Task("points", rows, rows, lambda columns: (columns[0], columns[1]), cross_entropy, accuracy)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))
    Run().fit("sparse", model, task, Schedule(steps, 0.1), batch=8, hooks=[hook])
    return model


@pytest.mark.parametrize(
    "rule", [DynamicReparameterisation(0.05, 0.2), SparseMomentum(0.3)], ids=["reparameterisation", "momentum"]
)
def test_as_many_weights_are_left_after_every_move_and_they_stand_elsewhere(rule: Rule):
    hook = SparseWeights(0.25, 3, rule, seed=0)
    still = SparseWeights(0.25, 1000, SparseMomentum(), seed=0)
    trained(still, steps=1)
    model = trained(hook)
    assert hook.moves == 4
    assert sum(int(mask.sum()) for mask in hook.masks.values()) == sum(size // 4 for size in SIZES.values())
    for name, mask in hook.masks.items():
        weight = model.get_submodule(name).weight
        assert not weight[~mask].any()
        assert bool((mask != still.masks[name]).any())
    # The first layer and the biases are dense.
    assert (model[0].weight != 0).float().mean() == 1
    assert set(hook.masks) == set(SIZES)


def test_a_density_of_one_is_plain_training():
    hook = SparseWeights(1.0, 1000, SparseMomentum(), seed=0)
    plain = SparseWeights(1.0, 5, DynamicReparameterisation(0.0), seed=0)
    for one, other in zip(trained(hook).parameters(), trained(plain).parameters(), strict=True):
        assert torch.equal(one, other)


def test_reparameterisation_grows_where_layers_have_more_left_and_adapts_its_threshold():
    # a: 8 of 16 held, of which 2 are under 0.5; b: 4 of 16 held, of which 2 are.  6 and 2 stay, so that the four grow
    # 3 to 1.
    weights, masks = {"a": torch.zeros(16), "b": torch.zeros(16)}, {}
    weights["a"][:8] = torch.tensor([1, -1, 0.4, 1, -0.4, 1, 1, 1])
    weights["b"][:4] = torch.tensor([1, 0.1, 0.1, -1])
    for name, held in (("a", 8), ("b", 4)):
        masks[name] = torch.arange(16) < held
    rule = DynamicReparameterisation(threshold=0.5, share=4 / 12)
    moved = rule.moved(weights, masks, torch.Generator().manual_seed(0))
    assert {name: int(mask.sum()) for name, mask in moved.items()} == {"a": 9, "b": 3}
    for name, stay in (("a", [0, 1, 3, 5, 6, 7]), ("b", [0, 3])):
        assert bool(moved[name][stay].all())
    # As many went as wanted: the threshold stays.  Where four are too few it doubles, where too many it halves.
    assert rule.threshold == 0.5
    for share, threshold in ((0.5, 1.0), (0.1, 0.25)):
        other = DynamicReparameterisation(threshold=0.5, share=share)
        other.moved(weights, masks, torch.Generator())
        assert other.threshold == threshold


def test_momentum_takes_the_smallest_of_each_layer_and_grows_the_largest_gradients():
    weights = {"a": torch.tensor([4.0, -3.0, 0.2, 0.1, 0, 0, 0, 0]), "b": torch.tensor([0.1, 2.0, -5.0, 1.0, 0, 0])}
    masks = {"a": torch.arange(8) < 4, "b": torch.arange(6) < 4}
    rule = SparseMomentum(share=0.5, decay=0.0)
    # Mean gradients of the weights held: 3 in a, 1 in b.  Each loses two; the four grow 3 to 1.
    rule.see(
        {
            "a": torch.tensor([3.0, 3, -3, 3, 0.5, -0.9, 0.1, 0.2]),
            "b": torch.tensor([1.0, 1, 1, 1, 0.1, -0.2]),
        }
    )
    moved = rule.moved(weights, masks, torch.Generator())
    # Of a, 2 and 3 go, and come back with the largest gradients, as 5 does; of b, 0 and 3 go, and 0 comes back.
    assert moved["a"].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 5]
    assert moved["b"].nonzero()[:, 0].tolist() == [0, 1, 2]


def test_momentum_smooths_gradients_over_steps():
    weights, masks = {"a": torch.tensor([1.0, 2, 0, 0])}, {"a": torch.arange(4) < 2}
    rule = SparseMomentum(share=0.5, decay=0.9)
    # Smoothed, of 2: 0.9 x 0.1 x 10 = 0.9; of 3: 0.1 x 5 = 0.5.  The last gradients alone would choose 3.
    rule.see({"a": torch.tensor([0.0, 0, 10, 0])})
    rule.see({"a": torch.tensor([0.0, 0, 0, 5])})
    assert rule.moved(weights, masks, torch.Generator())["a"].tolist() == [False, True, True, False]


def test_shares_are_whole_keep_to_the_room_and_add_up():
    # Exact: 5, 3, 2.
    assert shared_out(10, {"a": 5, "b": 3, "c": 2}, {"a": 9, "b": 9, "c": 9}) == {"a": 5, "b": 3, "c": 2}
    # 3.33 each: the one that is left goes to the first by name.
    assert shared_out(10, {"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 9, "c": 9}) == {"a": 4, "b": 3, "c": 3}
    # a is full at 2; the other 3 of its 5 go 3 to 2.
    assert shared_out(10, {"a": 5, "b": 3, "c": 2}, {"a": 2, "b": 9, "c": 9}) == {"a": 2, "b": 5, "c": 3}
    # Only where none with a portion has room does another layer grow.
    assert shared_out(3, {"a": 1, "b": 0}, {"a": 1, "b": 5}) == {"a": 1, "b": 2}
    with pytest.raises(WorkloadError, match="10 weights are to grow, and only 6 are zero"):
        shared_out(10, {"a": 1}, {"a": 6})


@pytest.mark.parametrize(("density", "every"), [(0.0, 1), (1.1, 1), (0.5, 0)])
def test_a_density_outside_0_to_1_and_no_steps_between_moves_are_refused(density: float, every: int):
    with pytest.raises(WorkloadError, match=f"a density of {density} moved every {every} steps"):
        SparseWeights(density, every, SparseMomentum(), 0)
