"""Attention as one kernel or as products: either form of a network is made of the other, and both do the same work."""

from dataclasses import replace

import pytest

from simhw.errors import MachineError
from simhw.roofline import operators
from simhw.roofline.device import load_device
from simhw.roofline.layers.lists import layer_list_text, parse_layer_list
from simhw.roofline.layers.network import Attention, Linear, MatMul, Network, Pointwise, Softmax
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.predict import predict
from simhw.roofline.step.attention import with_attention
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step


@pytest.mark.parametrize("name", ["bert-base", "vit-s"])
def test_fused_attention_replaces_products_softmax_and_the_copies_around(name: str) -> None:
    network = load_network(name)
    fused = with_attention(network, "fused")
    kernels = [layer for layer in fused.layers if isinstance(layer, Attention)]
    assert len(kernels) == 12
    assert not any(isinstance(layer, MatMul | Softmax) for layer in fused.layers)
    assert (fused.macs, fused.parameters) == (network.macs, network.parameters)
    left = [layer.name for layer in fused.layers if isinstance(layer, Pointwise) and layer.function == "copy"]
    assert not any("heads" in each or "merge" in each for each in left)


def test_products_of_attention_are_those_of_a_list_that_names_them() -> None:
    attention = Attention("a", 12, 128, 128, 64)
    network = Network("n", (Linear("q", 768, 768, 128), attention))
    kinds = [type(layer).__name__ for layer in with_attention(network, "products").layers]
    assert kinds == ["Linear", "MatMul", "Pointwise", "Softmax", "MatMul"]
    assert with_attention(with_attention(network, "products"), "fused") == network
    assert with_attention(network, "fused") is network
    assert with_attention(load_network("bert-base"), "products") is load_network("bert-base")


def test_shared_keys_are_copied_for_each_head_where_attention_is_products() -> None:
    grouped = Network("n", (Attention("a", 8, 16, 32, 4, shared=4, causal=True),))
    copies = [each for each in with_attention(grouped, "products").layers if isinstance(each, Pointwise)]
    assert [(each.function, each.elements) for each in copies] == [
        ("copy", 8 * 32 * 4),
        ("copy", 8 * 32 * 4),
        ("scale", 8 * 16 * 32),
        ("mask", 8 * 16 * 32),
    ]


def test_products_that_are_no_attention_stay() -> None:
    layers = (MatMul("a", 2, 8, 8, 4), Softmax("s", 16, 8), MatMul("b", 2, 8, 5, 8))
    network = Network("n", layers)
    assert with_attention(network, "fused").layers == layers


def test_training_step_has_one_kernel_forward_and_one_backward() -> None:
    network = Network("n", (Linear("q", 32, 32, 16), Attention("a", 4, 16, 16, 8), Linear("o", 32, 32, 16)))
    found = [
        (work.phase, work.operator.operation)
        for work in step(network, Run(2, attention="fused"))
        if isinstance(work.operator, operators.Attention)
    ]
    assert found == [("forward", "forward"), ("input_grad", "input_grad")]


def test_causal_attention_leaves_out_pairs_that_no_query_sees() -> None:
    whole = operators.Attention("forward", 1, 1, 6, 6, 8)
    causal = replace(whole, causal=True)
    seen = sum(key <= query for query in range(6) for key in range(6))
    assert (whole.scores, causal.scores) == (36, seen)
    # One query after 5 kept positions sees all 6.
    assert replace(causal, queries=1).scores == 6
    assert replace(causal, queries=2).scores == 11


def test_layer_list_says_attention() -> None:
    text = "name: n\nlayers:\n  - attention: {name: a, heads: 8, queries: 16, width: 4, shared: 2, causal: true}\n"
    network = parse_layer_list(text, "list.yaml")
    assert network.layers == (Attention("a", 8, 16, 16, 4, 2, True),)
    assert parse_layer_list(layer_list_text(network), "again.yaml") == network


def test_device_without_the_kernel_says_so() -> None:
    attention = operators.Attention("forward", 1, 1, 6, 6, 8, number="fp16")
    with pytest.raises(MachineError, match=r"ascend910 has no kernel for fused attention"):
        predict(attention, load_device("ascend910"))
