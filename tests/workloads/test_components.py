"""Ranks that training finds: pairs as sums of components, what makes some of them vanish, and that taking those out
costs nothing.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.roofline.from_model import network_of
from simhw_workloads.lowrank.chain import factored, paired
from simhw_workloads.lowrank.components import Funnel, above, cut, magnitudes, pair_ranks, pair_up
from simhw_workloads.lowrank.noted import full_ranks
from simhw_workloads.lowrank.ordered import OrderedChain, OrderedDropout, order, tails
from simhw_workloads.lowrank.surgery import chains, recompose
from simhw_workloads.models.resnet import resnet18
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task, accuracy, cross_entropy
from simhw_workloads.techniques.maestro import PHASES, in_pairs
from simhw_workloads.train import Run
from tests.workloads import by_shape
from tests.workloads.smoke_runs import smoke_run

LAYERS = {
    "linear": (lambda: nn.Linear(12, 9), (5, 12)),
    "1x1": (lambda: nn.Conv2d(8, 12, 1, stride=2), (2, 8, 5, 5)),
    "3x3": (lambda: nn.Conv2d(6, 10, 3, padding=1, bias=False), (2, 6, 7, 7)),
    "3x3 of stride 2": (lambda: nn.Conv2d(3, 20, 3, stride=2, padding=2, dilation=2), (2, 3, 9, 9)),
}


def full_pairs(model: nn.Sequential) -> nn.Module:
    """Its first layer as a pair of full rank."""
    return pair_up(model, full_ranks(model, ["0"], pairs=True))


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("case", LAYERS)
def test_a_pair_of_full_rank_computes_what_the_layer_did(case: str):
    make, shape = LAYERS[case]
    layer, x = make(), torch.randn(shape)
    model = full_pairs(nn.Sequential(layer))
    torch.testing.assert_close(model(x), layer(x), rtol=1e-4, atol=1e-5)
    whole = recompose(model)[0]
    assert type(whole) is type(layer)
    torch.testing.assert_close(whole.weight, layer.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", LAYERS)
def test_magnitudes_are_the_singular_values_of_a_fresh_pair(case: str):
    layer = LAYERS[case][0]()
    values = torch.linalg.svdvals(layer.weight.detach().flatten(1))
    torch.testing.assert_close(magnitudes(paired(layer, len(values))), values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("ordered", [False, True])
def test_a_cut_pair_computes_the_sum_of_what_stays(case: str, ordered: bool):
    make, shape = LAYERS[case]
    model, x = full_pairs(nn.Sequential(make())), torch.randn(shape)
    if ordered:
        order(model)
    gone = torch.zeros(model[0].ranks[0], dtype=torch.bool)
    gone[[1, 4]] = True
    with torch.no_grad():
        model[0].last.weight[:, gone] = 0
    before, kind = model(x), type(model[0])
    cut(model, above(model, lambda _: 1e-6))
    assert type(model[0]) is kind
    assert model[0].ranks[0] == len(gone) - 2
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


def test_the_largest_component_always_stays():
    model = full_pairs(nn.Sequential(nn.Linear(4, 4)))
    cut(model, above(model, lambda _: math.inf))
    assert pair_ranks(model) == {"0": 1}


def test_a_triple_has_no_components():
    with pytest.raises(WorkloadError, match="only pairs have"):
        magnitudes(factored(nn.Conv2d(4, 4, 3), 2))


@pytest.mark.parametrize("case", LAYERS)
def test_an_ordered_pair_runs_with_its_first_components_alone(case: str):
    make, shape = LAYERS[case]
    model, x = order(full_pairs(nn.Sequential(make()))), torch.randn(shape)
    for width in (1, 3):
        model[0].width = width
        narrow = model(x)
        model[0].width = None
        kept = torch.arange(model[0].ranks[0]) < width
        cut_model = cut(order(full_pairs(nn.Sequential(make()))), {"0": kept})
        cut_model[0].load_state_dict(
            {
                name: value[:width] if name == "first.weight" else value[:, :width] if name == "last.weight" else value
                for name, value in model[0].state_dict().items()
            }
        )
        torch.testing.assert_close(narrow, cut_model(x), rtol=1e-4, atol=1e-5)


def test_the_hierarchical_lasso_sums_the_norms_of_all_tails():
    chain = full_pairs(nn.Sequential(nn.Linear(3, 2)))[0]
    with torch.no_grad():
        chain.first.weight.copy_(torch.tensor([[3.0, 0, 0], [0, 4.0, 0]]))
        chain.last.weight.copy_(torch.tensor([[0.0, 0], [5.0, 12.0]]))
    # First factor: |(3, 4)| + |4|; last: |(5, 12)| + |12|.
    assert float(tails(chain).detach()) == pytest.approx(5 + 4 + 13 + 12)


def test_a_funnel_is_steep_at_nothing_and_flat_far_out():
    model = full_pairs(nn.Sequential(nn.Linear(2, 2, bias=False)))
    hook = Funnel(1.0, (0.5, 0.05), 10)

    def slope(size: float) -> float:
        with torch.no_grad():
            model[0].first.weight.copy_(torch.diag(torch.tensor([size, 1.0])))
            model[0].last.weight.copy_(torch.eye(2))
        model.zero_grad()
        hook.loss(model, torch.empty(0), None).backward()  # type: ignore[arg-type]  # it looks at neither
        return float(model[0].first.weight.grad[0, 0])

    # The derivative of s / (s + gamma) is gamma / (s + gamma)^2.
    assert slope(0.1) == pytest.approx(0.5 / 0.6**2, rel=1e-4)
    assert slope(5.0) == pytest.approx(0.5 / 5.5**2, rel=1e-4)
    hook.stepped(model, 10)
    assert hook.gamma == pytest.approx(0.05)


def planted(rank: int) -> Task:
    """Points whose classes depend on so many directions of 12."""
    random = torch.Generator().manual_seed(0)
    points = torch.randn(512, 12, generator=random)
    classes = (points[:, :rank] > 0).long() @ (2 ** torch.arange(rank))
    return Task(
        "points", (points, classes), (points, classes), lambda rows: (rows[0], rows[1]), cross_entropy, accuracy
    )


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rank", [1, 2])
def test_ordered_dropout_finds_the_rank_that_the_task_has(rank: int, seed: int):
    """Classes by the signs of one or two of 12 coordinates: the first layer needs as many components and no more."""
    torch.manual_seed(seed)
    model = order(full_pairs(nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 2**rank))))
    hook = OrderedDropout(3e-2, seed)
    run = Run(seed=seed)
    run.fit("ordered", model, planted(rank), Schedule(600, 0.05), batch=64, hooks=[hook], gradient=hook.gradient)
    cut(model, above(model, lambda sizes: 0.05 * float(sizes.max())))
    assert pair_ranks(model) == {"0": rank}
    assert run.score("cut", model, planted(rank)) > 0.9
    # What stays is what comes first: that is the order.
    assert magnitudes(model[0]).detach().tolist() == sorted(magnitudes(model[0]).detach().tolist(), reverse=True)


def inner_extents(name: str) -> dict[str, int]:
    """Of each pair, the channels between its factors, as the trace has them."""
    shapes = {layer.name: layer.shapes["w"] for layer in smoke_run(name).trace.layers if "#" not in layer.name}
    found = {path: shapes[f"{path}.first"][0] for path in chains(smoke_run(name).model)}
    assert found == {path: shapes[f"{path}.last"][1] for path in found}
    return found


def test_ranks_of_maestro_fall_and_the_trace_has_the_last_ones():
    smoke = smoke_run("maestro")
    ranks = [smoke.record.count("rank_before")]
    ranks += [smoke.record.count(f"rank_after_{number}") for number in range(1, PHASES)]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[-1] < 0.9 * ranks[0]
    found = inner_extents("maestro")
    assert found == pair_ranks(smoke.model)
    assert sum(found.values()) == ranks[-1]
    assert len(set(found.values())) > 1


def test_a_step_of_maestro_takes_a_second_pass_at_one_lower_rank():
    layers = smoke_run("maestro").trace.layers
    firsts = [layer for layer in layers if ".first" in layer.name or layer.name == "fc.first"]
    by_path: dict[str, list[int]] = {}
    for layer in firsts:
        by_path.setdefault(layer.name.split("#")[0], []).append(layer.shapes["w"][0])
    assert all(len(extents) == 2 for extents in by_path.values())
    assert sum(first != second for first, second in by_path.values()) <= 1
    assert all(isinstance(chain, OrderedChain) for chain in chains(smoke_run("maestro").model).values())


@pytest.mark.parametrize("name", ["maestro", "funnel"])
def test_the_full_size_network_has_the_shares_of_rank_that_training_left(name: str):
    narrow = in_pairs(resnet18(10, 0.0625, 1, small_input=True), smoke_run(name).record)
    assert by_shape.products(network_of(narrow, torch.zeros(1, 1, 8, 8))) == by_shape.captured_products(name)
    assert by_shape.share_left(name) == pytest.approx(by_shape.captured_share_left(name), rel=0.03)
    assert by_shape.step_of(name).metadata.extra["full_size"]["layer3.1.conv2.last"] == "layer3.1.conv2.last"


def losses(name: str) -> dict[str, float]:
    return {score.phase: score.loss for score in smoke_run(name).record.scores}


def test_cutting_what_a_funnel_left_small_costs_nothing():
    record = smoke_run("funnel").record
    assert record.count("rank_after") < 0.6 * record.count("rank_before")
    found = losses("funnel")
    assert found["cut"] == pytest.approx(found["funnel"], abs=0.02)
    assert sum(inner_extents("funnel").values()) == record.count("rank_after")


def test_without_a_funnel_the_same_cut_takes_nothing_out():
    """It is the penalty that makes components small: those of a trained network are not."""
    model = smoke_run("resnet18-dense").model
    pairs = nn.Sequential(paired(model.layer4[1].conv2, 32))
    kept: Tensor = above(pairs, lambda sizes: 0.02 * float(sizes.max()))["0"]
    assert bool(kept.all())
