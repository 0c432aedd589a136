"""What a step keeps in memory: by hand, and beside what a device was measured to take."""

import pandas as pd
import pytest

from simhw.errors import ShapeError
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Attention, Embedding, Linear, Network, Normalization, Pointwise, Softmax
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.operators import Streaming
from simhw.roofline.step.memory import memory_of
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step
from tests.places import SHARED

STEPS = SHARED / "data" / "h200_steps.csv"


def test_parameters_states_and_inputs_of_products_by_hand() -> None:
    network = Network("net", (Linear("fc", 8, 8),))
    sgd = memory_of(network, Run(5, "training", "fp32"))
    assert sgd.parts == {"weights": 288, "copies": 0, "gradients": 288, "states": 288, "activations": 4 * 5 * 8}
    amp = memory_of(network, Run(5, "training", "amp", optimizer="adam"))
    # The input is cast, and the cast tensor waits for the backward pass.
    assert amp.parts == {"weights": 288, "copies": 144, "gradients": 288, "states": 576, "activations": 2 * 5 * 8}
    assert memory_of(network, Run(5, "inference", "fp16")).total == 2 * (72 + 5 * 16)


def test_tensor_that_two_layers_need_is_kept_once() -> None:
    """A relu needs its output, which is the next layer's input."""
    network = Network("n", (Linear("a", 4, 6), Pointwise("r", "relu", 6), Linear("b", 6, 2)))
    assert memory_of(network, Run(3)).activations == 4 * 3 * (4 + 6)


def test_gelu_and_norm_keep_their_inputs_and_softmax_its_output() -> None:
    layers = (Linear("a", 4, 6), Pointwise("g", "gelu", 6), Normalization("n", "layernorm", 6, 6), Softmax("s", 1, 6))
    assert memory_of(Network("n", layers), Run(3)).activations == 4 * 3 * (4 + 6 + 6 + 6)


@pytest.mark.skipif(not STEPS.is_file(), reason="the measurements are not beside the checkout")
def test_training_takes_the_memory_that_was_measured() -> None:
    """Within a tenth: nothing here was fitted to these rows."""
    rows = pd.read_csv(STEPS).dropna(subset=["peak_mb"])
    rows = rows[rows["variant"].isin(["dense", "128 tokens"]) & (rows["mode"] == "training")]
    assert len(rows) > 15
    for _, row in rows.iterrows():
        optimizer = "adam" if row["optimiser"] == "adamw" else "sgd"
        run = Run(
            int(row["batch"]),
            precision=row["precision"],
            optimizer=optimizer,  # type: ignore[arg-type]  # a literal
            layout=row["layout"],
            attention="fused",
        )
        assert memory_of(load_network(row["model"]), run).total / 1e6 == pytest.approx(row["peak_mb"], rel=0.1)


def test_keys_and_values_are_kept_while_decoding() -> None:
    network = Network("n", (Attention("a", 8, 1, 1000, 64, shared=4, causal=True),))
    memory = memory_of(network, Run(2, "inference", "fp16", attention="fused"))
    assert memory.activations == 2 * (2 * 2 * 2 * 1000 * 64 + 2 * 2 * 8 * 64)
    # As products every head has a copy of its own besides, one tensor at a time.
    products = memory_of(network, Run(2, "inference", "fp16"))
    assert products.activations == 2 * (2 * 2 * 2 * 1000 * 64 + 2 * 2 * 8 * 64000)


# --- passes, blocks, shards ---


def blocks(count: int) -> Network:
    layers = [Embedding("table", 100, 16, 8)]
    for block in range(count):
        layers += [Linear(f"h.{block}.up", 16, 64, 8), Linear(f"h.{block}.down", 64, 16, 8)]  # type: ignore[list-item]
    return Network("n", tuple(layers))


def test_checkpoints_keep_inputs_of_blocks_and_one_block_whole_and_run_forward_again() -> None:
    network = blocks(10)
    whole, kept = (memory_of(network, Run(4, checkpoint=each)).activations for each in (False, True))
    assert whole == 4 * 4 * 8 * (16 + 64) * 10
    assert kept == 4 * 4 * 8 * (16 * 10 + 16 + 64)
    work = step(network, Run(4, checkpoint=True))
    again = [(each.layer, each.operator) for each in work if each.phase == "recompute"]
    forward = [(each.layer, each.operator) for each in work if each.phase == "forward" and each.layer.startswith("h.")]
    assert sorted(map(str, again)) == sorted(map(str, forward))
    # A block runs forward just before the first kernel that goes back through it.
    last = next(i for i, each in enumerate(work) if each.layer == "h.9.down" and each.phase == "input_grad")
    assert [each.layer for each in work[last - 2 : last]] == ["h.9.up", "h.9.down"]


def test_network_without_blocks_cannot_be_checkpointed() -> None:
    with pytest.raises(ShapeError, match="no blocks to checkpoint"):
        step(Network("n", (Linear("fc", 8, 8),)), Run(1, checkpoint=True))


def test_passes_are_added_up_before_one_update() -> None:
    network = blocks(2)
    once, four = (estimate(network, load_device("v100"), Run(4, accumulate=passes)) for passes in (1, 4))
    assert four.run.samples == 16
    updates = [sum(p.seconds for w, p in each.work if w.phase == "update") for each in (once, four)]
    assert updates[0] == updates[1]
    sums = [(w.times, w.operator) for w, _ in four.work if getattr(w.operator, "name", "") == "accumulate"]
    assert [times for times, _ in sums] == [3] * 5  # the table of embeddings, and four layers
    assert all(isinstance(each, Streaming) for _, each in sums)
    added = 3 * sum(p.seconds for w, p in four.work if getattr(w.operator, "name", "") == "accumulate")
    assert four.device_s == pytest.approx(4 * (once.device_s - updates[0]) + updates[0] + added)
    assert four.frame["seconds"].sum() == pytest.approx(four.device_s)
    assert memory_of(network, four.run) == memory_of(network, once.run)


@pytest.mark.parametrize(
    ("stage", "shared"), [(1, {"states"}), (2, {"states", "gradients"}), (3, {"states", "gradients", "weights"})]
)
def test_zero_shares_states_then_gradients_then_weights(stage: int, shared: set[str]) -> None:
    alone = memory_of(blocks(2), Run(4)).parts
    parts = memory_of(blocks(2), Run(4, shards=8, zero=stage)).parts  # type: ignore[arg-type]  # a literal
    assert {name for name, size in parts.items() if size == alone[name] / 8 and size} == shared
    found = estimate(blocks(2), load_device("v100"), Run(4, shards=8))
    assert any("is not counted" in caution for caution in found.cautions)
    update = next(each.operator for each, _ in found.work if each.phase == "update")
    assert isinstance(update, Streaming)
    assert update.columns == -(-blocks(2).parameters // 8)


@pytest.mark.parametrize("name", ["accumulate", "shards"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, 2**40])
def test_counts_are_whole_and_positive(name: str, value: object) -> None:
    with pytest.raises(ShapeError, match=f"{name} is"):
        Run(1, **{name: value})  # type: ignore[arg-type]
