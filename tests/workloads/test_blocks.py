"""Products of block-diagonal factors: they are Monarch matrices, and the projection on them is the closest one."""

import pytest
import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.blocks import BlockProduct, block_products, drawn, expand, projected
from simhw_workloads.table import workload
from simhw_workloads.techniques.monarch import BLOCKS
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run

SIZES = {"square": (16, 16, 4, 1), "wide": (12, 20, 2, 3), "tall": (24, 8, 4, 2), "one block": (6, 9, 1, 2)}
"""Inputs, outputs, blocks and rank."""


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("case", SIZES)
def test_a_block_product_computes_what_its_dense_weights_compute(case: str):
    product = BlockProduct(*SIZES[case])
    for shape in ((5, SIZES[case][0]), (5, 3, SIZES[case][0])):
        x = torch.randn(shape)
        torch.testing.assert_close(product(x), product.to_linear()(x), rtol=1e-4, atol=1e-5)


def test_it_is_the_published_product_of_permutations_and_blocks():
    """M = P L P^T R at rank 1: R's blocks on neighbours, P swaps block and place (arXiv 2204.00595)."""
    n, blocks = 16, 4
    product = BlockProduct(n, n, blocks, 1, bias=False)
    inner, outer = (
        torch.block_diag(*factor.weight.detach()[:, :, 0].reshape(blocks, blocks, blocks))
        for factor in (product.first, product.last)
    )
    swap = torch.eye(n)[torch.arange(n).reshape(blocks, blocks).T.flatten()]
    torch.testing.assert_close(product.to_dense(), swap @ outer @ swap.T @ inner)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", SIZES)
def test_the_projection_of_a_monarch_matrix_is_that_matrix(case: str, seed: int):
    torch.manual_seed(seed)
    layer = BlockProduct(*SIZES[case]).to_linear()
    again = projected(layer, *SIZES[case][2:]).to_linear()
    torch.testing.assert_close(again.weight, layer.weight, rtol=1e-5, atol=1e-6)
    assert torch.equal(again.bias, layer.bias)


@pytest.mark.parametrize("case", SIZES)
def test_the_projection_is_the_closest(case: str):
    """Eckart and Young block by block: the error is what the dropped singular values of all blocks hold."""
    inputs, outputs, blocks, rank = SIZES[case]
    layer = nn.Linear(inputs, outputs)
    weight = layer.weight.detach()
    # Outputs l, l + blocks, l + 2 blocks, ... are block l; neighbouring inputs are a block.
    parts = [
        weight[target::blocks, source * inputs // blocks : (source + 1) * inputs // blocks]
        for target in range(blocks)
        for source in range(blocks)
    ]
    dropped = sum(float(torch.linalg.svdvals(part.double())[rank:].square().sum()) for part in parts)
    error = (projected(layer, blocks, rank).to_dense() - weight).double().square().sum()
    assert float(error) == pytest.approx(dropped, rel=1e-4)
    # And no gradient step from there makes it smaller.
    product = projected(layer, blocks, rank)
    for factor in (product.first, product.last):
        factor.weight.data += 1e-3 * torch.randn_like(factor.weight)
    assert float((product.to_dense() - weight).double().square().sum()) > float(error)


def test_a_drawn_product_is_as_large_as_the_layer():
    layer = nn.Linear(256, 256)
    dense = drawn(layer, 4, 16).to_dense()
    assert float(dense.std() / layer.weight.detach().std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("inputs", "outputs", "blocks", "rank"), [(10, 8, 4, 1), (8, 10, 4, 1), (8, 8, 4, 3), (8, 8, 0, 1)]
)
def test_sizes_that_do_not_fit_are_told(inputs: int, outputs: int, blocks: int, rank: int):
    with pytest.raises(WorkloadError, match=f"no {blocks} blocks with ranks of {rank}"):
        BlockProduct(inputs, outputs, blocks, rank)


def test_expanding_a_model_changes_no_output():
    model = smoke_run("monarch").model.eval()
    images = torch.randn(4, 1, 16, 16)
    before = model(images)
    products = block_products(model)
    assert len(products) == 4 * 6  # qkv, proj, fc1, fc2 of six blocks
    copy = workload("monarch").train(Run(scale="smoke")).eval()
    expand(copy)
    assert not block_products(copy)
    torch.testing.assert_close(copy(images), before, rtol=1e-4, atol=1e-5)


def test_reverse_sparsification_scores_the_same_before_and_after_it_expands():
    record = smoke_run("monarch-reverse").record
    blocks, expanded, _ = (score.loss for score in record.scores)
    assert expanded == pytest.approx(blocks, rel=1e-5)
    assert not block_products(smoke_run("monarch-reverse").model)
    small, dense = (record.phase(name).parameters for name in ("blocks", "dense"))
    assert small < 0.5 * dense


def test_the_trace_has_the_blocks_and_every_linear_layer_of_the_blocks_is_gone():
    trace = smoke_run("monarch").trace
    grouped = [layer for layer in trace.layers if layer.kind == "conv1d"]
    assert len(grouped) == 2 * 4 * 6
    assert all(layer.geometry.groups == BLOCKS for layer in grouped)
    assert [layer.name for layer in trace.layers if layer.kind == "linear"] == ["head"]
