"""Language models that come with simhw: arithmetic by formula, prompts and tokens one by one, experts, memory."""

import pytest

from simhw.errors import ShapeError
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Attention, Embedding, Experts, Linear, MatMul, Network, Pointwise
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.operators import Gemm
from simhw.roofline.step.attention import with_attention
from simhw.roofline.step.placed import place
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step

DECODERS = ["gpt2", "gpt2-medium", "opt-1.3b", "llama-7b", "llama-3-8b", "mixtral-8x7b"]


def matrices(network: Network) -> int:
    """Parameters that a token is multiplied by: all, an expert's share of them, and a tied head's again; but for
    tables and vectors.
    """
    return sum(layer.macs for layer in network.layers if not isinstance(layer, Attention | MatMul))


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("sequence", [64, 1024])
def test_a_token_takes_a_multiplication_per_parameter_that_it_meets(name: str, sequence: int) -> None:
    network = load_network(name, sequence=sequence)
    tables = sum(layer.parameters for layer in network.layers if isinstance(layer, Embedding))
    met = network.parameters - tables
    if name in ("gpt2", "gpt2-medium", "opt-1.3b"):  # tied: the table is the head too
        met += next(layer.parameters for layer in network.layers if isinstance(layer, Embedding))
    for layer in network.layers:
        if isinstance(layer, Experts):
            met -= layer.parameters * 6 // 8
    # Biases and norms, which multiply nothing, are under a thousandth.
    assert matrices(network) / sequence == pytest.approx(met, rel=1e-3)
    attention = [layer for layer in network.layers if isinstance(layer, Attention)]
    assert all(layer.causal and layer.queries == layer.keys == sequence for layer in attention)
    assert (
        network.macs == matrices(network) + len(attention) * 2 * sequence**2 * attention[0].heads * attention[0].width
    )


def test_arithmetic_of_t5_by_its_formula() -> None:
    network = load_network("t5-base", sequence=512, sizes={"target": 114})
    h, inner, s, t = 768, 3072, 512, 114
    encoder = s * (4 * h * h + 2 * h * inner) + 2 * s * s * h
    decoder = t * (6 * h * h + 2 * h * inner) + 2 * s * h * h + 2 * t * (t + s) * h
    assert network.macs == 12 * (encoder + decoder) + t * h * 32128


@pytest.mark.parametrize("name", DECODERS)
def test_one_token_multiplies_by_every_weight_once(name: str) -> None:
    network = load_network(name, sequence=1, sizes={"context": 512})
    batch = 8 if name == "mixtral-8x7b" else 1  # tokens enough that every expert gets one
    work = step(network, Run(batch, "inference", "fp16", attention="fused"))
    read = sum(
        each.operator.batch * each.operator.n * each.operator.k for each in work if isinstance(each.operator, Gemm)
    )
    experts = sum(layer.parameters for layer in network.layers if isinstance(layer, Experts))
    linear = sum(layer.in_features * layer.out_features for layer in network.layers if isinstance(layer, Linear))
    assert read == experts + linear
    assert read == pytest.approx(network.parameters, rel=0.1)


@pytest.mark.parametrize("name", ["opt-1.3b", "llama-7b", "llama-3-8b"])
def test_one_token_waits_for_weights_from_memory(name: str) -> None:
    made = estimate(
        load_network(name, sequence=1, sizes={"context": 512}), load_device("v100"), Run(1, "inference", "fp16")
    )
    seconds = made.frame.groupby("limit")["seconds"].sum()
    assert seconds["dram"] / made.device_s > 0.8
    weights = 2 * made.network.parameters
    # No fewer bytes than the weights have, and no more than the library's layout makes it read (fitted: 1.68 times).
    assert 0.95 * weights < made.frame["dram_bytes"].sum() < 1.8 * weights


@pytest.mark.parametrize("name", ["llama-7b", "llama-3-8b"])
def test_a_prompt_is_bound_by_the_matrix_unit(name: str) -> None:
    made = estimate(load_network(name, sequence=1024), load_device("v100"), Run(1, "inference", "fp16"))
    seconds = made.frame.groupby("limit")["seconds"].sum()
    assert seconds.idxmax() == "matrix"
    token = estimate(load_network(name, sequence=1, sizes={"context": 1024}), load_device("v100"), made.run)
    assert made.device_s / 1024 < token.device_s / 20


@pytest.mark.parametrize("name", DECODERS)
def test_keys_and_values_of_new_tokens_alone_are_written_to_the_cache(name: str) -> None:
    network = load_network(name, sequence=3, sizes={"context": 100})
    written = [layer for layer in network.layers if isinstance(layer, Pointwise) and layer.function == "cache"]
    attention = [layer for layer in network.layers if isinstance(layer, Attention)]
    assert len(written) == 2 * len(attention)
    heads = attention[0].heads // attention[0].shared
    assert {layer.elements for layer in written} == {3 * heads * attention[0].width}
    assert {(layer.queries, layer.keys) for layer in attention} == {(3, 100)}
    names = {layer.name for layer in written}
    # In training nothing is kept for tokens to come.
    assert not names & {work.layer for work in step(load_network(name, sequence=3), Run(1))}
    kept = {work.layer for work in step(network, Run(1, "inference"))}
    assert names < kept


def test_grouped_queries_share_keys_that_are_copied_out_where_attention_is_products() -> None:
    network = with_attention(load_network("llama-3-8b", sequence=16), "products")
    copies = [
        layer
        for layer in network.layers
        if isinstance(layer, Pointwise)
        and layer.name.startswith("model.layers.0.self_attn.")
        and "_heads" in layer.name
    ]
    assert [layer.elements for layer in copies] == [16 * 4096] * 2


def test_experts_may_have_room_for_more_rows_than_they_get() -> None:
    """A capacity factor of 1.5 is three rows a token where two experts are chosen."""
    exact, padded = (load_network("mixtral-8x7b", sequence=64, sizes=sizes) for sizes in ({}, {"capacity": 3}))
    assert exact.parameters == padded.parameters
    rows = [{layer.rows for layer in each.layers if isinstance(layer, Experts)} for each in (exact, padded)]
    assert rows == [{128}, {192}]


def test_experts_of_one_token_are_those_that_it_chooses() -> None:
    work = step(load_network("mixtral-8x7b", sequence=1, sizes={"context": 10}), Run(1, "inference", "fp16"))
    products = {each.operator for each in work if "experts" in each.layer and isinstance(each.operator, Gemm)}
    assert {each.batch for each in products} == {2}


@pytest.mark.parametrize(
    ("name", "sizes", "told"),
    [
        ("gpt2", {"context": 1025}, "context is 1,025, more than the positions of 1,024"),
        ("opt-1.3b", {"sequence": 2049}, "more than the positions of 2,048"),
        ("llama-7b", {"sequence": 8, "context": 7}, "sequence is 8, more than the context of 7"),
    ],
)
def test_no_more_tokens_than_there_are_positions(name: str, sizes: dict[str, int], told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        load_network(name, sizes=sizes)


def test_residual_stream_of_a_language_model_is_in_fp32_under_autocast_and_the_gate_in_fp16() -> None:
    run = Run(1, "training", "amp")
    placed = {
        each.layer.name.removeprefix("model.layers.1."): each
        for each in place(load_network("llama-7b", sequence=16), 1, True, run.numbers, False, "nchw")
    }
    assert {placed[name].writes for name in ("add1", "add2", "input_layernorm")} == {"fp32"}
    halves = ("self_attn.query_turned", "self_attn.key_turned", "mlp.mul", "self_attn")
    assert {placed[name].writes for name in halves} == {"fp16"}
    # Query, key, value, gate and up each cast what they share; the output and down projections read what is in fp16.
    casts = {name for name, each in placed.items() if each.casts_input and "proj" in name}
    assert {name for name in casts if not name.startswith("model") and name != "lm_head"} == {
        *(f"self_attn.{each}_proj" for each in "qkv"),
        "mlp.gate_proj",
        "mlp.up_proj",
    }


def test_residual_stream_of_vit_is_in_fp32_under_autocast() -> None:
    """A parameter of positions is in fp32, and so is all that it is added to: the additions of ViT-S that were profiled
    on an H200 are of floats.
    """
    run = Run(1, "training", "bf16-amp")
    placed = place(load_network("vit-s"), 1, True, run.numbers, False, "nchw")
    adds = [each for each in placed if isinstance(each.layer, Pointwise) and each.layer.function == "add"]
    assert len(adds) == 24
    assert {(each.reads, each.other, each.writes) for each in adds} == {("bf16", "fp32", "fp32")}
