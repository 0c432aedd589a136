"""Layers of language models: tied weights, experts and RMS norms, in a step of inference and of training."""

import pytest

from simhw.roofline.layers.lists import layer_list_text, parse_layer_list
from simhw.roofline.layers.network import Embedding, Experts, Linear, Network, Normalization
from simhw.roofline.operators import Gemm, Streaming
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import Work, step


def operators(work: list[Work], layer: str, kind: type) -> list[tuple[str, object]]:
    return [(each.phase, each.operator) for each in work if each.layer == layer and isinstance(each.operator, kind)]


def test_tied_weights_are_kept_once_and_their_gradient_is_added_to_the_embeddings() -> None:
    table, head = Embedding("table", 100, 16, 8), Linear("head", 16, 100, 8, bias=False, tied=True)
    network = Network("n", (table, head))
    assert network.parameters == 1600
    work = step(network, Run(4))
    assert len(operators(work, "head", Gemm)) == 3
    sums = [each for _, each in operators(work, "head", Streaming) if each.name == "tied_sum"]  # type: ignore[attr-defined]
    assert [each.dram_bytes for each in sums] == [3 * 4 * 1600]  # type: ignore[attr-defined]
    update = [each.operator for each in work if each.phase == "update"]
    assert all(isinstance(each, Streaming) and each.columns == 1600 for each in update)


def test_tied_weights_are_cast_in_mixed_precision_though_another_layer_keeps_them() -> None:
    head = Linear("head", 16, 100, 8, bias=False, tied=True)
    work = step(Network("n", (Embedding("table", 100, 16, 8), head)), Run(4, precision="amp"))
    casts = [each.operator for each in work if each.layer == "head" and getattr(each.operator, "name", "") == "cast"]
    assert 1600 in [each.columns for each in casts if isinstance(each, Streaming)]


def test_experts_are_a_batched_product_of_the_rows_that_each_gets() -> None:
    experts = Experts("up", 8, 32, 64, rows=2 * 10)
    network = Network("n", (Linear("in", 32, 32, 10), experts))
    assert experts.parameters == 8 * 32 * 64
    found = dict(operators(step(network, Run(4)), "up", Gemm))
    assert found == {
        "forward": Gemm(10, 64, 32, 8, transposed=(False, True)),
        "input_grad": Gemm(10, 32, 64, 8, transposed=(False, False)),
        "weight_grad": Gemm(64, 32, 10, 8, transposed=(True, False)),
    }
    assert sum(each.flops for each in found.values()) == 3 * 2 * 4 * experts.macs  # type: ignore[attr-defined]


def test_experts_that_no_row_goes_to_are_not_read() -> None:
    """Decoding one token of a batch of one meets as many experts as it is sent to."""
    network = Network("n", (Experts("up", 8, 32, 64, rows=2),))
    (product,) = (operator for _, operator in operators(step(network, Run(1, "inference")), "up", Gemm))
    assert product == Gemm(1, 64, 32, 2, transposed=(False, True))


def test_rms_norm_has_a_scale_alone_and_fewer_operations_than_a_layer_norm() -> None:
    norms = [Normalization("norm", kind, 64, 640) for kind in ("layernorm", "rmsnorm")]  # type: ignore[arg-type]
    assert [norm.parameters for norm in norms] == [128, 64]
    layer, rms = (next(each.operator for each in step(Network("n", (norm,)), Run(2, "inference"))) for norm in norms)
    assert layer.dram_bytes == rms.dram_bytes
    assert layer.flops == 2 * rms.flops


def test_layer_list_says_experts_ties_and_norms_and_a_size_as_large_as_another() -> None:
    text = """
name: n
sizes: {sequence: 6, context: sequence}
layers:
  - embedding: {name: table, vocabulary: 50, width: 8, rows: context}
  - rmsnorm: {name: norm}
  - experts: {name: up, experts: 4, out: 16, rows: [2, sequence]}
  - linear: {name: head, in: 8, rows: sequence, out: 50, bias: false, tied: true}
"""
    network = parse_layer_list(text, "list.yaml", {"sequence": 3})
    assert network.layers == (
        Embedding("table", 50, 8, 3),
        Normalization("norm", "rmsnorm", 8, 24),
        Experts("up", 4, 8, 16, 6),
        Linear("head", 8, 50, 3, bias=False, tied=True),
    )
    assert parse_layer_list(layer_list_text(network), "again.yaml") == network
    assert parse_layer_list(text, "list.yaml", {"context": 9}).layers[0] == Embedding("table", 50, 8, 9)


@pytest.mark.parametrize("context", ["other", True, 0])
def test_size_that_names_no_other_is_refused(context: object) -> None:
    from simhw.errors import ShapeError

    text = f"name: n\nsizes: {{sequence: 6, context: {context}}}\nlayers: []\n"
    with pytest.raises(ShapeError, match="size context"):
        parse_layer_list(text, "list.yaml")
