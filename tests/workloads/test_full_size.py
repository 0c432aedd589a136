"""Full-size steps: the full network's products, with the narrow one's values in blocks that keep their pattern."""

import numpy as np
import pytest
import torch

import simhw
from simhw.capture.steps import LATE, StepCapture, Wanted
from simhw.errors import WorkloadError
from simhw.lowering import multiply_accumulates
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.from_trace import network_from_trace
from simhw.roofline.layers.network import Conv, Linear, MatMul, Network, RecurrentLayer
from simhw.trace.layer import Layer
from simhw.trace.metadata import Metadata
from simhw.trace.trace import Trace
from simhw_workloads.data import load
from simhw_workloads.full_size import full_size_step
from simhw_workloads.models.resnet import resnet50
from simhw_workloads.schedule import Schedule
from simhw_workloads.table import workload
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run

OUTER = {"stride": 1, "padding": 1}


def numbered(*shape: int, start: int = 1) -> np.ndarray:
    """Values that tell where they were; positive, none of them zero."""
    return (start + np.arange(np.prod(shape))).reshape(shape).astype(np.uint16)


def narrow_step() -> Trace:
    """Two samples of every kind of layer."""
    return Trace(
        [
            Layer("c", "conv2d", OUTER, numbered(2, 3, 4, 4), numbered(5, 3, 3, 3), numbered(2, 5, 4, 4)),
            Layer("f", "linear", None, numbered(2, 7), numbered(3, 7), numbered(2, 3)),
            Layer("m", "matmul", None, numbered(4, 3, 5), numbered(4, 5, 2), numbered(4, 3, 2)),
            Layer("r.weight_ih", "lstm", None, numbered(3, 2, 4), numbered(8, 4), numbered(3, 2, 8)),
            Layer("r.weight_hh", "lstm", None, numbered(3, 2, 2), numbered(8, 2), numbered(3, 2, 8)),
        ],
        Metadata(batch=2),
    )


WIDE = Network(
    "wide",
    (
        Conv("c", 8, 10, (9, 9), (3, 3), (1, 1), (1, 1), (1, 1)),
        Linear("f", 16, 9),
        MatMul("m", 3, 6, 4, 7),
        RecurrentLayer("r", "lstm", 9, 6, 5),
    ),
    "a test",
)


def test_a_network_of_the_same_size_gets_the_same_tensors():
    narrow = narrow_step()
    network = Network("same", (network_from_trace(narrow).layers[:2]), "a test")
    made = full_size_step(narrow, network, 2, 0)
    for ours, theirs in zip(made.layers, narrow.layers, strict=False):
        for tensor in ("a", "w", "g"):
            assert np.array_equal(ours.source(tensor).read(), theirs.source(tensor).read())


def test_every_value_keeps_its_neighbours_within_a_block_of_channels_and_of_positions():
    narrow, made = narrow_step().layers[0], full_size_step(narrow_step(), WIDE, 3, 1).layers[0]
    samples = {}
    for tensor, channels in (("a", 3), ("g", 5)):
        values, own = made.source(tensor).read(), narrow.source(tensor).read()
        for sample in range(3):
            for row in range(0, 9, 4):
                for column in range(0, 9, 4):
                    block = values[sample, :channels, row : row + 4, column : column + 4]
                    height, width = block.shape[1:]
                    found = [n for n in range(2) if np.array_equal(block, own[n, :, :height, :width])]
                    assert len(found) == 1
                    # A and G of a block are of one sample: where a gradient stands, its input does.
                    assert samples.setdefault((sample, row, column), found[0]) == found[0]
        assert np.array_equal(values[:, channels : 2 * channels], values[:, :channels][:, : values.shape[1] - channels])
    assert set(samples.values()) == {0, 1}


def test_blocks_of_weights_keep_their_values_and_get_a_sign_each():
    narrow, made = narrow_step().layers[0].w, full_size_step(narrow_step(), WIDE, 3, 1).layers[0].w
    assert made.shape == (10, 8, 3, 3)
    signs = []
    for output in range(0, 10, 5):
        for inputs in range(0, 8, 3):
            block = made[output : output + 5, inputs : inputs + 3]
            assert np.array_equal(block & 0x7FFF, narrow[:, : block.shape[1]])
            assert len(np.unique(block >> 15)) == 1
            signs.append(int(block[0, 0, 0, 0]) >> 15)
    assert set(signs) == {0, 1}


def test_a_product_of_activations_is_one_of_the_narrow_ones_in_all_three_tensors():
    narrow, made = narrow_step().layers[2], full_size_step(narrow_step(), WIDE, 2, 0).layers[2]
    assert made.shapes == {"a": (6, 6, 7), "w": (6, 7, 4), "g": (6, 6, 4)}
    for product in range(6):
        found = {
            next(n for n in range(4) if values[product, 0, 0] == own[n, 0, 0])
            for values, own in ((made.a, narrow.a), (made.w, narrow.w), (made.g, narrow.g))
        }
        assert len(found) == 1


def test_cells_have_time_before_samples():
    narrow, made = narrow_step().layers[3], full_size_step(narrow_step(), WIDE, 4, 0).layers[3]
    assert made.shapes == {"a": (5, 4, 9), "w": (24, 9), "g": (5, 4, 24)}
    for sample in range(4):
        assert any(np.array_equal(made.a[:3, sample, :4], narrow.a[:, n]) for n in range(2))


def test_a_step_repeats_and_another_seed_gives_another():
    first, again, other = (full_size_step(narrow_step(), WIDE, 4, seed).layers[0].a for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "name", ["lrd", "vit-dense", "bert-dense", "lstm-dense", "ssd", "video-prop-add", "resnet9-haet"]
)
def test_the_products_of_the_full_network_are_all_there(name: str):
    shapes = workload(name).shapes
    assert shapes is not None
    network = shapes(Run(device="v100"))
    made = full_size_step(smoke_run(name).trace, network, 1, 0)
    forward = sum(multiply_accumulates(layer, "forward") for layer in made.layers)
    assert forward == sum(layer.macs for layer in network.layers if not isinstance(layer, str))
    # Zeros are where they were: as many, within what edges cut off.
    whole = {layer.name: layer for layer in smoke_run(name).trace.layers}
    for layer in made.layers[:: max(1, len(made.layers) // 8)]:
        source = whole[made.metadata.extra["full_size"][layer.name]]
        if layer.holds("w") and layer.kind != "matmul":
            assert np.mean(layer.w & 0x7FFF == 0) == pytest.approx(np.mean(source.w & 0x7FFF == 0), abs=0.1)


def test_a_layer_of_another_name_gets_the_values_of_the_one_most_alike():
    roles = full_size_step(
        smoke_run("bert-dense").trace,
        workload("bert-dense").shapes(Run()),
        1,
        0,  # type: ignore[misc]  # it has shapes
    ).metadata.extra["full_size"]
    up, down = (roles[f"encoder.layer.11.{part}.dense"] for part in ("intermediate", "output"))
    names = [layer.name for layer in smoke_run("bert-dense").trace.layers if layer.kind == "linear"]
    assert up in names
    assert down in names
    assert up != down
    assert roles["encoder.layer.0.attention.self.query"].startswith("layers.0.")


def test_what_cannot_give_values_is_refused():
    with pytest.raises(WorkloadError, match="layer 'v' of the full-size network is a conv3d"):
        full_size_step(
            narrow_step(), Network("v", (Conv("v", 3, 3, (4, 4, 4), (1,) * 3, (1,) * 3, (0,) * 3, (1,) * 3),), ""), 1, 0
        )
    with pytest.raises(WorkloadError, match="is a sample"):
        full_size_step(simhw.load_trace("resnet50"), WIDE, 1, 0)


@pytest.mark.slow
def test_a_step_of_the_whole_resnet50_is_reconstructed_within_3_percent(tmp_path):
    """Both trained alike at 64 x 64: the exact step of the whole network, and the one made of the narrow network's."""
    torch.set_num_threads(1)
    traces = []
    for width in (0.25, 1.0):
        path = tmp_path / f"{width}.npz"
        options = {"model_name": "ResNet-50", "dataset": "Fashion-MNIST", "technique": "dense", "seed": 0}
        run = Run(observer=StepCapture([Wanted("dense", LATE)], str(path), options, 4))
        run.seeded()
        task = load("fashion").task(size=64, channels=3)
        run.fit("dense", resnet50(10, width), task, Schedule(steps=40, rate=0.02, warmup=4), batch=8)
        traces.append(simhw.load_trace(path))
    narrow, whole = traces
    with torch.device("meta"):
        network = network_of(resnet50(10), torch.zeros(1, 3, 64, 64))
    made = full_size_step(narrow, network, 4, 0)
    for machine in ("fpraker", "tensordash", "bf16"):
        exact, ours, small = (
            simhw.simulate(trace, machine, batch=32, progress=False).total for trace in (whole, made, narrow)
        )
        assert ours.overall.time_s == pytest.approx(exact.overall.time_s, rel=0.03)
        assert small.overall.time_s < 0.5 * exact.overall.time_s
        if machine != "bf16":
            assert ours.overall_speedup == pytest.approx(exact.overall_speedup, rel=0.03)
            # Compute alone is nearer to the values: 2.8% apart on FPRaker, 1.0% on TensorDash.
            assert ours.speedup == pytest.approx(exact.speedup, rel=0.04)
