"""Layers and networks in factors: ranks, shapes and products, against the published ones and against real factors of
real weights.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simhw.errors import ShapeError
from simhw.roofline.compression.decompose import (
    compression_ranks,
    decomposable,
    decomposed,
    factors,
    full_rank,
    is_shortcut,
    rank_for,
)
from simhw.roofline.compression.variants import frozen, merged, vanilla
from simhw.roofline.layers.network import Conv, Linear, Network
from simhw.roofline.networks.catalogue import load_network


def convolution(inputs, outputs, width=3, size=14, stride=1, **more):
    pad = width // 2
    shape = {
        "size": (size, size),
        "kernel": (width, width),
        "stride": (stride, stride),
        "padding": (pad, pad),
        "dilation": (1, 1),
    }
    return Conv("conv", inputs, outputs, **(shape | more))


def untrained(network):
    return {layer.name for layer in network.layers if not getattr(layer, "trainable", True)}


@pytest.mark.parametrize(
    ("layer", "rank"),
    [
        (convolution(512, 512), 309),  # arXiv 2407.20266, ResNet-152 layer4.2.conv2
        (convolution(64, 64), 38),  # layer1.0.conv2
        (convolution(2048, 512, 1), 204),  # layer4.2.conv1
        (convolution(64, 64, 1), 16),  # layer1.0.conv1
        (convolution(64, 256, 1), 25),  # layer1.0.conv3
        (Linear("fc", 2048, 1000), 335),  # fc
    ],
    ids=lambda value: str(value) if isinstance(value, int) else f"{value.name}",
)
def test_rank_of_a_compression_of_two_is_the_published_one(layer, rank):
    assert rank_for(layer) == rank


@given(
    inputs=st.integers(8, 700),
    outputs=st.integers(8, 700),
    width=st.sampled_from([1, 3, 5]),
    compression=st.floats(1.1, 4),
)
def test_rank_is_the_largest_that_compresses_as_much(inputs, outputs, width, compression):
    # Definition: weights(r) <= weights / compression < weights(r + 1).  A whole number of weights stands on each side,
    # so a relative difference below a thousandth of one weight is rounding.
    layer = convolution(inputs, outputs, width)
    rank = rank_for(layer, compression)
    budget = layer.parameters / compression
    assert sum(each.parameters for each in factors(layer, rank)) <= budget + 1e-3
    if rank < full_rank(layer):
        assert sum(each.parameters for each in factors(layer, rank + 1)) > budget - 1e-3


@pytest.mark.parametrize(("model", "published"), [("resnet50", -42.9), ("resnet101", -46.4), ("resnet152", -47.7)])
def test_products_of_vanilla_decomposition_fall_as_the_issue_says(model, published):
    network = load_network(model)
    assert round(100 * (vanilla(network).macs / network.macs - 1), 1) == published


@pytest.mark.parametrize(("model", "published"), [("resnet50", -55.09), ("resnet101", -58.86), ("resnet152", -60.18)])
def test_products_of_merged_networks_are_within_0_4_points_of_the_paper(model, published):
    # Spec page: ranks of half the channels reproduce Table 2 of arXiv 2407.20266 within 0.35 points.
    network = load_network(model)
    assert 100 * (merged(network).macs / network.macs - 1) == pytest.approx(published, abs=0.36)


def test_shapes_of_a_strided_triple():
    first, core, last = factors(convolution(64, 128, size=56, stride=2, bias=True), 20)
    assert [(each.in_channels, each.out_channels) for each in (first, core, last)] == [(64, 20), (20, 20), (20, 128)]
    assert [each.out_size for each in (first, core, last)] == [(56, 56), (28, 28), (28, 28)]
    assert [each.kernel for each in (first, core, last)] == [(1, 1), (3, 3), (1, 1)]
    assert [each.bias for each in (first, core, last)] == [False, False, True]
    assert [each.name for each in (first, core, last)] == ["conv.first", "conv.core", "conv.last"]


def test_a_strided_pair_drops_positions_before_the_second_product():
    first, last = factors(convolution(256, 512, 1, size=56, stride=2), 85)
    assert first.out_size == last.size == last.out_size == (28, 28)


@pytest.mark.parametrize("stride", [1, 2])
def test_real_factors_of_the_shapes_compute_the_layer_at_full_rank(stride):
    # The shapes are those of a decomposition that exists: SVD factors of seeded 1x1 weights, applied as the two
    # convolutions are (a matrix product per position, positions dropped by the first), give the convolution's output.
    rng = np.random.default_rng(5)
    layer = convolution(6, 9, 1, size=8, stride=stride)
    first, last = factors(layer, full_rank(layer))
    weights, image = rng.standard_normal((9, 6)), rng.standard_normal((6, 8, 8))
    u, s, v = np.linalg.svd(weights, full_matrices=False)
    thin = np.einsum("rc,chw->rhw", np.sqrt(s)[:, None] * v, image[:, :: first.stride[0], :: first.stride[1]])
    assert thin.shape == (first.out_channels, *last.size)
    result = np.einsum("sr,rhw->shw", u * np.sqrt(s), thin)
    np.testing.assert_allclose(result, np.einsum("sc,chw->shw", weights, image[:, ::stride, ::stride]), atol=1e-12)


def test_decomposed_networks_leave_stem_and_shortcuts_whole():
    network = load_network("resnet50")
    whole = {layer.name for layer in network.layers if isinstance(layer, Conv | Linear)} - {
        each.name for each in decomposable(network)
    }
    # 4 shortcuts (one a stage) and the stem of 53 convolutions and 1 linear layer.
    assert whole == {"conv1", *(f"layer{stage}.0.downsample.0" for stage in (1, 2, 3, 4))}
    assert all(is_shortcut(layer) == ("downsample" in layer.name) for layer in network.layers)


def test_only_named_layers_are_replaced_and_their_surroundings_stay():
    network = load_network("resnet18")
    changed = decomposed(network, {"layer3.0.conv1": 40})
    index = [layer.name for layer in network.layers].index("layer3.0.conv1")
    assert changed.layers[:index] == network.layers[:index]
    assert changed.layers[index + 3 :] == network.layers[index + 1 :]


@pytest.mark.parametrize("part", ["outer", "core"])
def test_freezing_takes_one_part_and_the_two_parts_are_everything(part):
    network = vanilla(load_network("resnet50"))
    still = untrained(frozen(network, part))
    triples = 16  # one 3x3 a block
    pairs = 49 - triples
    assert len(still) == {"outer": pairs + 2 * triples, "core": pairs + triples}[part]
    assert all(name.endswith((".first", ".core", ".last")) for name in still)
    other = {
        layer.name
        for layer in frozen(network, "core" if part == "outer" else "outer").layers
        if not getattr(layer, "trainable", True)
    }
    assert not still & other
    assert len(still | other) == 2 * pairs + 3 * triples


def test_merging_keeps_depth_and_narrows_everything_inside_a_bottleneck():
    network = load_network("resnet50")
    thin = {layer.name: layer for layer in merged(network).layers}
    assert len(thin) == len(network.layers)
    assert (thin["layer2.0.conv1"].in_channels, thin["layer2.0.conv1"].out_channels) == (256, 64)
    assert thin["layer2.0.bn1"].elements == thin["layer2.0.relu1"].elements == 64 * 56 * 56  # before the stride
    assert thin["layer2.0.bn2"].elements == thin["layer2.0.relu2"].elements == 64 * 28 * 28
    assert (thin["layer2.0.conv3"].in_channels, thin["layer2.0.conv3"].out_channels) == (64, 512)
    assert thin["layer2.0.bn3"] == next(layer for layer in network.layers if layer.name == "layer2.0.bn3")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: factors(convolution(8, 8, groups=2), 4), "2 groups"),
        (lambda: factors(convolution(8, 16), 9), "give 1 to 8"),
        (lambda: factors(convolution(8, 16), 0), "give 1 to 8"),
        (lambda: rank_for(convolution(8, 8), 0), "more than 0"),
        (lambda: rank_for(convolution(2, 2, 1), 8), "no rank compresses 2 to 2"),
        (lambda: decomposed(load_network("resnet18"), {"conv9": 3}), "no convolution or linear layer 'conv9'"),
        (lambda: frozen(load_network("resnet18")), "no factors"),
        (lambda: merged(load_network("vgg16")), "no 1x1, k x k, 1x1"),
        (lambda: merged(load_network("resnet50"), 0.001), "less than one"),
    ],
)
def test_what_cannot_be_decomposed_is_said(wrong, says):
    with pytest.raises(ShapeError, match=says):
        wrong()


def test_ranks_are_named_after_their_layers():
    network = Network("two", (Linear("a", 8, 8), Linear("b", 64, 64)))
    assert compression_ranks(decomposable(network)) == {"b": 16}  # 64 * 64 / (2 * 128)
