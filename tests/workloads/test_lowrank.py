"""Low-rank surgery: factors are the best of their rank, compute what their dense composition computes, and have the
published sizes.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw.errors import WorkloadError
from simhw.roofline.compression.decompose import compression_ranks, decomposable
from simhw.roofline.compression.variants import merged
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Conv
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.lowrank.branching import branch
from simhw_workloads.lowrank.chain import Chain, factored
from simhw_workloads.lowrank.freezing import SequentialFreezing, freeze, part_weights
from simhw_workloads.lowrank.merging import merge
from simhw_workloads.lowrank.noted import full_ranks, note_ranks, noted_ranks
from simhw_workloads.lowrank.progressive import lower_ranks
from simhw_workloads.lowrank.ranks import energy_ranks, optimised_ranks, scaled_ranks, vanilla_ranks
from simhw_workloads.lowrank.surgery import chains, factor, recompose
from simhw_workloads.models.resnet import Bottleneck, resnet50, resnet101, resnet152
from simhw_workloads.techniques.lowrank import BRANCHES, branch_ranks
from simhw_workloads.train import Run
from tests.captured_steps import captured


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def applied(chain: Chain, layer: nn.Module, x: Tensor) -> Tensor:
    """What one dense layer with the chain's composed weights gives."""
    bias = layer.bias
    if isinstance(layer, nn.Linear):
        return functional.linear(x, chain.to_dense(), bias)
    assert isinstance(layer, nn.Conv2d)
    return functional.conv2d(x, chain.to_dense(), bias, layer.stride, layer.padding, layer.dilation)


LAYERS = {
    "linear": (lambda: nn.Linear(12, 9), (5, 12), 4),
    "linear without bias": (lambda: nn.Linear(7, 11, bias=False), (5, 3, 7), 6),
    "1x1": (lambda: nn.Conv2d(8, 12, 1), (2, 8, 5, 5), 3),
    "1x1 of stride 2": (lambda: nn.Conv2d(8, 12, 1, stride=2, bias=False), (2, 8, 5, 5), 3),
    "3x3": (lambda: nn.Conv2d(6, 10, 3, padding=1), (2, 6, 7, 7), 4),
    "3x3 of stride 2 and dilation 2": (lambda: nn.Conv2d(6, 10, 3, stride=2, padding=2, dilation=2), (2, 6, 9, 9), 5),
    "3x5 with two ranks": (lambda: nn.Conv2d(6, 10, (3, 5), padding=(1, 2)), (2, 6, 7, 7), (3, 7)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_chain_computes_what_its_dense_composition_computes(case: str):
    make, shape, rank = LAYERS[case]
    layer = make()
    chain, x = factored(layer, rank), torch.randn(shape)
    torch.testing.assert_close(chain(x), applied(chain, layer, x), rtol=1e-4, atol=1e-5)
    assert chain.ranks == (rank if isinstance(rank, tuple) else (rank, rank))
    recomposed = recompose(nn.Sequential(chain))[0]
    assert type(recomposed) is type(layer)
    torch.testing.assert_close(recomposed(x), chain(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", LAYERS)
def test_at_full_rank_a_chain_computes_what_the_layer_did(case: str):
    make, shape, _ = LAYERS[case]
    layer = make()
    wide = math.prod(layer.weight.shape[2:]) > 1
    chain = factored(layer, (layer.weight.shape[1], layer.weight.shape[0]) if wide else min(layer.weight.shape[:2]))
    x = torch.randn(shape)
    torch.testing.assert_close(chain(x), layer(x), rtol=1e-4, atol=1e-5)


def test_a_pair_is_the_best_of_its_rank():
    """Eckart and Young: the error is what the dropped singular values hold, and both factors carry the roots."""
    layer = nn.Linear(20, 15)
    matrix = layer.weight.detach().double().numpy()
    values = np.linalg.svd(matrix, compute_uv=False)
    for rank in (1, 7, 14):
        chain = factored(layer, rank)
        error = np.linalg.norm(chain.to_dense().double().numpy() - matrix)
        assert error == pytest.approx(np.linalg.norm(values[rank:]), rel=1e-5)
        for weight in (chain.first.weight, chain.last.weight.T):
            assert torch.linalg.norm(weight.detach(), dim=1).square().numpy() == pytest.approx(values[:rank], rel=1e-5)


def test_a_triple_is_no_worse_than_truncated_higher_order_singular_values():
    layer = nn.Conv2d(10, 12, 3)
    weight = layer.weight.detach().double().numpy()
    inner, outer = 5, 6
    last = np.linalg.svd(weight.reshape(12, -1))[0][:, :outer]
    first = np.linalg.svd(weight.transpose(1, 0, 2, 3).reshape(10, -1))[0][:, :inner]
    projected = np.einsum("oikl,or,is,pr,qs->pqkl", weight, last, first, last, first)
    error = np.linalg.norm(factored(layer, (inner, outer)).to_dense().double().numpy() - weight)
    assert 0 < error <= np.linalg.norm(projected - weight) * (1 + 1e-6)


GOLDEN = {
    # arXiv 2407.20266 and 2309.12412 by way of spec page techniques.md, 5.1: ranks at twice fewer weights.
    "512x512x3x3": (lambda: nn.Conv2d(512, 512, 3, padding=1, bias=False), (512, 7, 7), 309),
    "64x64x3x3": (lambda: nn.Conv2d(64, 64, 3, padding=1, bias=False), (64, 7, 7), 38),
    "2048x512": (lambda: nn.Conv2d(2048, 512, 1, bias=False), (2048, 7, 7), 204),
    "64x64": (lambda: nn.Conv2d(64, 64, 1, bias=False), (64, 7, 7), 16),
    "64x256": (lambda: nn.Conv2d(64, 256, 1, bias=False), (64, 7, 7), 25),
    "2048x1000": (lambda: nn.Linear(2048, 1000), (2048,), 335),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_the_surgery_takes_the_published_ranks(case: str):
    make, shape, rank = GOLDEN[case]
    with torch.device("meta"):
        # Behind a first layer, which is never decomposed.
        channels = shape[0]
        model = nn.Sequential(
            nn.Conv2d(channels, channels, 1) if len(shape) == 3 else nn.Linear(channels, channels), make()
        )
        x = torch.zeros(1, *shape)
    ranks = vanilla_ranks(model, x)
    assert ranks == {"1": rank}
    assert chains(factor(model, ranks))["1"].ranks == (rank, rank)


@pytest.mark.parametrize(("make", "percent"), [(resnet50, -42.9), (resnet101, -46.4), (resnet152, -47.7)])
def test_decomposed_residual_networks_have_the_published_arithmetic(make: object, percent: float):
    images = torch.zeros(1, 3, 224, 224)
    with torch.device("meta"):
        model = make()  # type: ignore[operator]  # a maker of models
    before = network_of(model, images)
    factor(model, vanilla_ranks(model, images))
    assert 100 * (network_of(model, images).macs / before.macs - 1) == pytest.approx(percent, abs=0.05)


def test_merged_and_branched_networks_have_the_arithmetic_of_their_layer_lists():
    images = torch.zeros(1, 3, 224, 224)
    with torch.device("meta"):
        model, branched = resnet50(), resnet50()
    layers = load_network("resnet50")
    assert network_of(merge(model), images).macs == merged(layers).macs
    # -55.09% is published.
    assert 100 * (merged(layers).macs / layers.macs - 1) == pytest.approx(-55.09, abs=0.4)
    before = network_of(branched, images)
    branch(factor(branched, branch_ranks(branched, 224)), BRANCHES)
    after = network_of(branched, images)
    cores = [layer for layer in after.layers if isinstance(layer, Conv) and layer.name.endswith(".core")]
    assert len(cores) == 16
    assert {layer.groups for layer in cores} == {2}
    # As many weights as plain decomposition takes, within the rounding of ranks.
    wide = {
        layer.name: layer.parameters for layer in before.layers if isinstance(layer, Conv) and layer.kernel == (3, 3)
    }
    for core in cores:
        name = core.name.removesuffix(".core")
        parts = sum(layer.parameters for layer in after.layers if getattr(layer, "name", "").startswith(name + "."))
        assert 0.46 < parts / wide[name] <= 0.5


def test_a_merged_block_without_relus_is_the_block_with_its_3x3_in_factors():
    block = Bottleneck(16, 8, 2)
    for norm in (block.bn1, block.bn2, block.bn3):
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(tensor)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    block.relu, x = nn.Identity(), torch.randn(3, 16, 6, 6)
    block.eval()
    in_factors, narrow = Bottleneck(16, 8, 2).eval(), Bottleneck(16, 8, 2).eval()
    for copy in (in_factors, narrow):
        copy.relu = nn.Identity()
        copy.load_state_dict(block.state_dict())
    in_factors.conv2 = factored(block.conv2, 4)
    merge(nn.Sequential(narrow), 0.5)
    assert (narrow.conv1.out_channels, narrow.conv2.in_channels, narrow.conv3.in_channels) == (4, 4, 4)
    torch.testing.assert_close(narrow(x), in_factors(x), rtol=1e-3, atol=1e-4)
    # With all channels kept nothing is lost.
    whole = Bottleneck(16, 8, 2).eval()
    whole.load_state_dict(block.state_dict())
    whole.relu = nn.Identity()
    merge(nn.Sequential(whole), 1.0)
    torch.testing.assert_close(whole(x), block(x), rtol=1e-3, atol=1e-4)


def test_a_branched_chain_is_the_chain_whose_core_has_zeros_off_its_diagonal_blocks():
    layer = nn.Conv2d(12, 16, 3, stride=2, padding=1)
    chain, x = factored(layer, (6, 8)), torch.randn(2, 12, 7, 7)
    dense = factored(layer, (6, 8))
    with torch.no_grad():
        dense.core.weight[:4, 3:] = 0
        dense.core.weight[4:, :3] = 0
    branch(nn.Sequential(chain), 2)
    assert chain.core.groups == 2
    assert chain.core.weight.numel() == 6 * 8 * 9 // 2
    torch.testing.assert_close(chain(x), dense(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(chain(x), applied(chain, layer, x), rtol=1e-4, atol=1e-5)


def test_from_the_second_round_on_only_the_second_factor_is_decomposed():
    layer = nn.Linear(20, 16)
    model = nn.Sequential(layer)
    lower_ranks(model, {"0": 10})
    chain = chains(model)["0"]
    first, last, bias = chain.first.weight.detach().clone(), chain.last.weight.detach().clone(), layer.bias
    lower_ranks(model, {"0": 6})
    assert chain.ranks == (6, 6)
    left, values, right = np.linalg.svd(last.double().numpy(), full_matrices=False)
    best = (left[:, :6] * values[:6]) @ right[:6]
    assert chain.to_dense().double().numpy() == pytest.approx(best @ first.double().numpy(), abs=1e-5)
    assert torch.equal(chain.last.bias, bias)
    with pytest.raises(WorkloadError, match="rank 6 is not below the pair's 6"):
        lower_ranks(model, {"0": 6})


def test_frozen_factors_lose_their_weight_gradient_and_pass_the_input_gradient_on(tmp_path: Path):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        factored(nn.Conv2d(8, 8, 3, padding=1), 4),
        nn.Flatten(),
        factored(nn.Linear(128, 10), 5),
    )
    every = ("forward", "input_grad", "weight_grad")
    passing = ("forward", "input_grad")
    expected = {
        "outer": {"1.first": passing, "1.core": every, "1.last": passing, "3.first": passing, "3.last": every},
        "core": {"1.first": every, "1.core": passing, "1.last": every, "3.first": every, "3.last": passing},
        None: dict.fromkeys(("1.first", "1.core", "1.last", "3.first", "3.last"), every),
    }
    for part, operations in expected.items():
        freeze(model, part)  # type: ignore[arg-type]  # literals
        trace = captured(model, lambda: model(torch.randn(2, 3, 4, 4)).sum().backward(), tmp_path)
        assert {layer.name: layer.operations for layer in trace.layers} == {
            "0": ("forward", "weight_grad")
        } | operations


def test_sequential_freezing_takes_turns_and_ends_with_all_learning():
    model = nn.Sequential(factored(nn.Conv2d(8, 8, 3), 4))
    hook, chain, seen = SequentialFreezing(2), model[0], []
    hook.start(model, None)  # type: ignore[arg-type]  # needs no task
    for step in range(1, 7):
        seen.append("".join(part for part in ("outer", "core") if not part_weights(chain, part)[0].requires_grad))  # type: ignore[arg-type]
        hook.stepped(model, step)
    hook.finish(model)
    assert seen == ["outer", "outer", "core", "core", "outer", "outer"]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_energy_ranks_hold_their_share_and_leave_layers_that_would_grow():
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 30), nn.Conv2d(8, 8, 3))
    with torch.no_grad():
        # Singular values 1, 1/2, 1/4 ...: squares 1, 1/4, 1/16, of which two hold 15/16 of 4/3.
        left, right = (torch.linalg.qr(torch.randn(n, n))[0] for n in (30, 40))
        model[0].weight.copy_(left @ torch.diag(0.5 ** torch.arange(30.0)) @ right[:30])
        nn.init.orthogonal_(model[1].weight)
    assert energy_ranks(model, ["0", "1"], 0.93) == {"0": 2}
    assert energy_ranks(model, ["0"], 0.94) == {"0": 3}


def test_a_device_s_choice_for_the_full_size_network_is_scaled_to_a_narrow_one():
    full = load_network("resnet50")
    vanilla = compression_ranks(decomposable(full))
    chosen = optimised_ranks(full, "ascend910")
    assert 0 < len(chosen) < len(vanilla)
    narrow = vanilla_ranks(resnet50(10, 0.25, 1, small_input=True), torch.zeros(1, 1, 16, 16))
    scaled = scaled_ranks(chosen, vanilla, narrow)
    assert scaled.keys() == chosen.keys()
    for name, rank in scaled.items():
        assert rank / narrow[name] == pytest.approx(chosen[name] / vanilla[name], abs=0.5 / narrow[name] + 1e-9)


def test_noted_ranks_are_taken_as_shares_and_whole_layers_are_left_out():
    run = Run()
    note_ranks(run, {"a": 3, "b": 1}, {"a": 8, "b": 8, "c": 4})
    assert run.record.notes == {"rank.a": "3 of 8", "rank.b": "1 of 8", "rank.c": "whole"}
    # At ratio 1 as noted; 3 of 8 are 24 of 64, and 1 of 8 at least 1 of 2.
    assert noted_ranks(run.record, {"a": 8, "b": 8, "c": 4}) == {"a": 3, "b": 1}
    assert noted_ranks(run.record, {"a": 64, "b": 2, "c": 32}) == {"a": 24, "b": 1}
    assert noted_ranks(run.record, {"deep": 16, "deeper": 4}, {"deep": "a", "deeper": "c"}) == {"deep": 6}


def test_full_ranks_are_of_channels_or_of_the_kernel_s_pair():
    model = nn.Sequential(nn.Conv2d(2, 12, 3), nn.Linear(5, 7))
    assert full_ranks(model, ["0", "1"]) == {"0": 2, "1": 5}
    assert full_ranks(model, ["0", "1"], pairs=True) == {"0": 12, "1": 5}


@pytest.mark.parametrize(
    "note", ["whole", "3 of 2", "0 of 4", "3 of 4 of 5", "3", "3.5 of 4", 7, 0.5, "9" * 10 + " of 4"]
)
def test_a_note_that_is_no_share_is_refused(note: object):
    run = Run()
    run.note(**{"rank.a": note})  # type: ignore[arg-type]  # some are none
    with pytest.raises(WorkloadError, match=r"'rank\.a' is .*, not a share such as '3 of 8'"):
        run.record.share("rank.a")
    with pytest.raises(WorkloadError, match=r"no note 'rank\.b'.*train the workload anew"):
        run.record.share("rank.b")


def test_what_cannot_be_taken_apart_is_refused():
    with pytest.raises(WorkloadError, match="groups"):
        factored(nn.Conv2d(4, 4, 3, groups=2), 1)
    with pytest.raises(WorkloadError, match="no factors of rank 5"):
        factored(nn.Linear(4, 8), 5)
    with pytest.raises(WorkloadError, match="no linear layer or convolution '1'"):
        factor(nn.Sequential(nn.Linear(4, 4)), {"1": 2})
    for operation in (freeze, merge, lambda model: branch(model, 2)):
        with pytest.raises(WorkloadError, match="has no"):
            operation(nn.Sequential(nn.Linear(4, 4)))
    with pytest.raises(WorkloadError, match="no 4 equal branches"):
        branch(nn.Sequential(factored(nn.Conv2d(8, 8, 3), 6)), 4)
