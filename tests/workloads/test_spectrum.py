"""WeLore: one threshold for all layers, ranks that differ by layer, and layers that do not bear it frozen."""

import numpy as np
import pytest
import torch
from torch import nn

from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.lowrank.spectrum import LOW_RANK, ranks_below, scaled_values, split_model, threshold
from simhw_workloads.lowrank.surgery import chains
from simhw_workloads.models.pretrained import PACKAGE, minilm
from simhw_workloads.techniques.welore import REMOVED, by_depth, encoder_layers
from tests.workloads import by_shape
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def with_values(values: list[float]) -> nn.Linear:
    """A square layer with those singular values."""
    size = len(values)
    left, right = (torch.linalg.qr(torch.randn(size, size).double())[0] for _ in range(2))
    layer = nn.Linear(size, size)
    with torch.no_grad():
        layer.weight.copy_(left @ torch.diag(torch.tensor(values).double()) @ right)
    return layer


def test_singular_values_are_scaled_to_their_own_range():
    assert scaled_values(with_values([9.0, 5.0, 3.0, 1.0])) == pytest.approx([1, 0.5, 0.25, 0], abs=1e-6)


def test_the_threshold_removes_its_share_of_all_ranks_together():
    random = np.random.default_rng(0)
    values = {str(number): np.sort(random.random(500) ** (number + 1))[::-1] for number in range(4)}
    for removed in (0.2, 0.5, 0.7):
        ranks = ranks_below(values, threshold(values, removed))
        assert sum(ranks.values()) == pytest.approx((1 - removed) * 2000, abs=1)
        # The steeper the values fall, the fewer stay; a uniform share would be the same everywhere.
        assert list(ranks.values()) == sorted(ranks.values(), reverse=True)
        assert len(set(ranks.values())) == 4


def test_steep_layers_become_factors_that_learn_and_flat_ones_are_frozen_whole():
    steep = [2.0**-index for index in range(16)]
    flat = [2.0 - index / 100 for index in range(15)] + [1.0]
    model = nn.Sequential(with_values(steep), nn.ReLU(), with_values(flat), nn.LayerNorm(16))
    low, whole = split_model(model, ["0", "2"], 0.4)
    assert whole == ["2"]
    assert list(low) == list(chains(model)) == ["0"]
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {"0.first.weight", "0.last.weight"}


def test_a_frozen_layer_has_no_weight_gradient_in_the_trace():
    smoke = smoke_run("welore")
    low = set(chains(smoke.model))
    every = set(encoder_layers(smoke.model)) - {f"{path}.{part}" for path in low for part in ("first", "last")}
    assert low
    assert every
    operations = {layer.name: set(layer.operations) for layer in smoke.trace.layers}
    assert all("weight_grad" not in operations[path] for path in every)
    # Gradients pass through frozen layers to those that learn before them.
    assert any("input_grad" in operations[path] for path in every)
    for path in low:
        assert "weight_grad" in operations[f"{path}.first"] & operations[f"{path}.last"]
        assert path not in operations


def test_the_full_size_network_has_the_shares_of_rank_at_the_same_depth_and_freezes_the_rest():
    smoke = smoke_run("welore")
    network = by_shape.full_network("welore")
    roles = by_depth(load_network("bert-base", sequence=128), smoke.record)
    # Twelve layers for two: the first six have the ranks of the first.
    assert roles["encoder.layer.5.attention.self.key"] == "layers.0.attention.key"
    assert roles["encoder.layer.6.output.dense"] == "layers.1.output"
    assert len(roles) == 12 * 6
    products = by_shape.products(network)
    low = chains(smoke.model)
    pairs = {name for name, path in roles.items() if path in low}
    for name, path in roles.items():
        if name in pairs:
            assert products[f"{name}.first"][0] == round(768 * low[path].ranks[0] / 64)
        else:
            assert name in products
    learning = {layer.name for layer in network.layers if getattr(layer, "trainable", False)}
    assert learning == {f"{name}.{part}" for name in pairs for part in ("first", "last")}
    # The products that run are those: a layer has the weight gradient of the narrow one that is most alike.
    step = by_shape.step_of("welore")
    assert {
        layer.name for layer in step.layers if "weight_grad" in layer.operations and layer.kind == "linear"
    } == learning


def test_ranks_of_the_pretrained_model_differ_by_layer():
    pytest.importorskip(PACKAGE)
    model, _ = minilm(2)
    values = {path: scaled_values(model.get_submodule(path)) for path in encoder_layers(model)}
    ranks = ranks_below(values, threshold(values, REMOVED))
    assert sum(ranks.values()) == pytest.approx(sum(map(len, values.values())) * (1 - REMOVED), rel=0.01)
    same_shape = [rank for path, rank in ranks.items() if "attention" in path]
    assert max(same_shape) > 1.3 * min(same_shape)
    low = [path for path, rank in ranks.items() if rank <= (1 - LOW_RANK) * len(values[path])]
    assert 0 < len(low) < len(ranks)
