"""Rank optimisation: the rule on staircases made by hand, and on the staircase of a device."""

from dataclasses import replace

import pytest

from simhw.errors import ShapeError
from simhw.roofline.compression.decompose import decomposable, factors, rank_for
from simhw.roofline.compression.ranks import (
    LayerTimer,
    optimised,
    optimised_rank,
    optimised_ranks,
    rank_choices,
    rank_latency,
)
from simhw.roofline.device import load_device
from simhw.roofline.layers.network import Conv, Linear, Network
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.predict import predict
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step

LAYER = Linear("fc", 64, 64)  # ranks 16 (2 times) down to 10 (3 times: 4096 / 384 = 10.7)
WIDE = Conv("conv", 512, 512, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1))


class Staircase:
    """A timer whose seconds are a function of the rank; `whole` of a layer that is not in factors."""

    def __init__(self, seconds, whole):
        self.of_rank, self.whole = seconds, whole

    def seconds(self, layers):
        return self.whole if len(layers) == 1 else self.of_rank(layers[0].out_features)


def test_cut_is_on_the_cheap_side_of_the_largest_step():
    # Steps of 1 at every rank, and of 5 between 12 and 13: rank 12.
    found = optimised_rank(LAYER, Staircase(lambda rank: rank + 4 * (rank > 12), whole=100))
    assert (found.vanilla_rank, found.rank, found.seconds, found.vanilla_seconds) == (16, 12, 12, 20)


def test_of_equal_steps_the_highest_keeps_the_most():
    assert (
        optimised_rank(LAYER, Staircase(lambda rank: 4 * -(-rank // 3), whole=100)).rank == 15
    )  # steps at 12 | 13 and 15 | 16


def test_without_a_step_the_vanilla_rank_stands():
    assert optimised_rank(LAYER, Staircase(lambda _: 7, whole=100)).rank == 16
    assert optimised_rank(LAYER, Staircase(lambda rank: -rank, whole=100)).rank == 16


@pytest.mark.parametrize(("whole", "rank"), [(12, None), (12.5, 12)])
def test_a_layer_stays_whole_where_its_factors_are_no_faster(whole, rank):
    found = optimised_rank(LAYER, Staircase(lambda rank: rank + 4 * (rank > 12), whole))
    assert found.rank == rank
    assert found.seconds == 12


def test_lowest_rank_is_the_deepest_compressions():
    # One more compression lets a step at 8 | 9 be seen: 64 * 64 / (4 * 128) = 8.
    timer = Staircase(lambda rank: 10 * (rank > 8), whole=100)
    assert optimised_rank(LAYER, timer).rank == 16
    assert optimised_rank(LAYER, timer, deepest=4).rank == 8
    with pytest.raises(ShapeError, match="deepest compression 1"):
        optimised_rank(LAYER, timer, deepest=1)


@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("device", ["v100", "ascend910"])
def test_a_layers_time_is_its_share_of_a_networks_step(device, mode):
    # The sum over a chain's layers equals the step's without loss and update, whose layers these are not.
    device, run = load_device(device), Run(8, mode)
    first, last = factors(WIDE, 64)[:1], factors(WIDE, 64)[1:]
    before = Conv("before", 512, 512, (7, 7), (1, 1), (1, 1), (0, 0), (1, 1))
    work = step(Network("chain", (before, *first, *last)), run)
    names = {layer.name for layer in (*first, *last)}
    expected = sum(predict(each.operator, device).seconds for each in work if each.layer in names)
    timer = LayerTimer(device, run)
    assert timer.seconds([*first, *last]) == pytest.approx(expected, rel=1e-12)
    assert timer.seconds(first) + timer.seconds(last) == pytest.approx(expected, rel=1e-12)


def test_a_frozen_factor_costs_less_and_names_cost_nothing():
    timer = LayerTimer(load_device("v100"), Run(32))
    parts = factors(WIDE, 256)
    still = [replace(part, trainable=False) if index != 1 else part for index, part in enumerate(parts)]
    assert timer.seconds(still) < timer.seconds(parts)
    assert timer.seconds([replace(WIDE, name="other")]) == timer.seconds([WIDE])


@pytest.mark.parametrize("device", ["v100", "ascend910", "ascend310"])
def test_rank_257_costs_more_than_256_and_hardly_compresses_less(device):
    # Published: 15% more time; weights 0.66% more (857,609 / 851,968).
    frame = rank_latency(WIDE, [256, 257], load_device(device), Run(128, "inference", "fp16")).set_index("rank")
    assert frame.parameters[257] / frame.parameters[256] == pytest.approx(857_609 / 851_968)
    assert frame.seconds[257] / frame.seconds[256] > 1.04


def test_optimised_network_is_faster_than_vanilla_layer_by_layer():
    network, device, run = load_network("resnet50"), load_device("ascend910"), Run(128, "inference", "fp16", "fused")
    found = rank_choices(network, LayerTimer(device, run))
    assert [each.layer for each in found] == list(decomposable(network))
    for each in found:
        assert each.vanilla_rank == rank_for(each.layer)
        if each.rank is not None:
            assert rank_for(each.layer, 3) <= each.rank <= each.vanilla_rank
            assert each.seconds <= each.vanilla_seconds
            assert each.seconds < each.original_seconds
        else:
            assert each.seconds >= each.original_seconds
    frame = optimised_ranks(network, device, run)
    assert frame["rank"].isna().tolist() == frame["kept_whole"].tolist() == [each.rank is None for each in found]
    whole = {each.layer.name for each in found if each.rank is None}
    assert whole <= {layer.name for layer in optimised(network, device, run).layers}
