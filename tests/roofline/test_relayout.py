"""What a graph compiler joins, and where it changes layout: told by order, alignment and size."""

import pytest

from simhw.roofline.device import load_device
from simhw.roofline.layers.network import (
    SLICE,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    Softmax,
)
from simhw.roofline.operators import Streaming
from simhw.roofline.predict import predict
from simhw.roofline.step.forward import is_relayout
from simhw.roofline.step.relayout import relayouts
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import Work, step
from tests.roofline.test_step import conv, network

ASCEND = load_device("ascend310")
COMPILER = ASCEND.values.compiler
INFERENCE = Run(2, "inference", "fp16", "fused")
PIXELS = 64
"""Of the images that `conv` reads and writes."""


def copies(name: str, channels: int, part: int = 1) -> Pointwise:
    return Pointwise(name, "copy", channels * PIXELS, part=part)


def kernels(layers: list[NetworkLayer], run: Run = INFERENCE) -> list[str]:
    """Functions that run as kernels of their own, or bring bytes to one that they join."""
    work = step(network(*layers), run, COMPILER)
    return [each.operator.name for each in work if isinstance(each.operator, Streaming) and not each.operator.joined]


def test_parts_of_images_change_layout_before_and_behind() -> None:
    layers = [conv("a", 16, 32), Pointwise("parts", SLICE, 32 * PIXELS, 2), conv("b", 16, 16)]
    assert relayouts(layers, 16) == [(0, 0), (32 * PIXELS, 32 * PIXELS), (0, 0)]


@pytest.mark.parametrize(("part", "moved"), [(16, 0), (48, 0), (26, 52 * PIXELS), (1, 52 * PIXELS)])
def test_a_concatenation_of_whole_blocks_stays_in_the_layout(part: int, moved: int) -> None:
    layers = [conv("a", 16, 26), copies("joined", 52, part), conv("b", 52, 16)]
    assert relayouts(layers, 16)[1] == (moved, moved)


def test_layers_in_the_plain_layout_that_follow_each_other_change_it_once() -> None:
    # A concatenation of narrow parts, and a shuffle of its channels, as ShuffleNet has them.
    layers = [conv("a", 16, 36), copies("joined", 36, 18), copies("shuffled", 36), conv("b", 18, 18)]
    assert relayouts(layers, 16) == [(0, 0), (36 * PIXELS, 0), (0, 36 * PIXELS), (0, 0)]


@pytest.mark.parametrize(("rows", "uneven"), [(192, False), (197, True), (1, False)])
def test_a_product_of_rows_that_are_no_whole_fractals_changes_its_tensors(rows: int, uneven: bool) -> None:
    assert relayouts([Linear("a", 64, 96, rows)], 16) == [(rows * 64, rows * 96) if uneven else (0, 0)]


def test_attention_over_an_uneven_number_of_tokens_changes_every_tensor() -> None:
    layers = [
        Linear("value", 64, 64, 50),
        Pointwise("heads", "copy", 50 * 64),
        MatMul("scores", 2, 50, 50, 32),
        Softmax("softmax", 2 * 50, 50),
    ]
    # Scores read two operands of 2 x 50 x 32 and write 2 x 50 x 50.
    assert relayouts(layers, 16) == [(3200, 3200), (3200, 0), (6400, 5000), (5000, 5000)]
    even = [Linear("value", 64, 64, 48), Pointwise("heads", "copy", 48 * 64), MatMul("scores", 2, 48, 48, 32)]
    assert relayouts([*even, Softmax("softmax", 96, 48)], 16) == [(0, 0)] * 4


def test_only_a_compiler_with_such_a_layout_changes_it_and_gradients_change_it_back() -> None:
    layers = network(conv("a", 16, 32), Pointwise("parts", SLICE, 32 * PIXELS, 2), conv("b", 16, 16))
    training = Run(2, "training", "fp16", "fused")
    changed = [each for each in step(layers, training, COMPILER) if is_relayout(each.operator)]
    assert [(each.layer, each.phase) for each in changed] == [("parts", "forward")] * 2 + [("parts", "input_grad")] * 2
    for each in changed:
        assert each.operator.dram_bytes == 2 * 2 * 2 * 32 * PIXELS  # read and written, of two images, in fp16
    for run, compiler in ((training, None), (Run(2, "training", "fp16"), COMPILER)):
        work = step(layers, run) if compiler is None else step(layers, run, compiler)
        assert not [each for each in work if is_relayout(each.operator)]
        assert not [each for each in work if each.layer == "parts" and each.phase == "forward"]


@pytest.mark.parametrize("function", ["silu", "sigmoid", "hardswish", "hardsigmoid", "gelu", "unheard_of"])
def test_functions_that_the_ascends_compiler_has_no_rule_for_are_kernels(function: str) -> None:
    assert kernels([conv("a", 16, 16), Pointwise("f", function, 16 * PIXELS)]) == [function]
    joined = step(network(conv("a", 16, 16), Pointwise("f", function, 16 * PIXELS)), INFERENCE)
    assert not [each for each in joined if isinstance(each.operator, Streaming)]


def test_relu_and_batchnorm_join_a_convolution_and_a_sum_behind_a_gate_joins_nothing() -> None:
    block: list[NetworkLayer] = [
        conv("a", 16, 16),
        Normalization("bn", "batchnorm", 16, 16 * PIXELS),
        Pointwise("kept", "dropout", 16 * PIXELS),
        Pointwise("relu", "relu", 16 * PIXELS),
    ]
    assert not kernels(block)
    gate = [Pointwise("gate", "mul", 16 * PIXELS), Pointwise("sum", "add", 16 * PIXELS, 2)]
    assert kernels([*block, *gate, Pointwise("last", "relu", 16 * PIXELS)]) == ["mul", "add", "relu"]
    pooled = Pool("pool", "max", 16, (8, 8), (8, 8), (3, 3))
    assert kernels([*block, pooled, Normalization("bn2", "batchnorm", 16, 16 * PIXELS)]) == [
        "max_pool",
        "batchnorm_inference",
    ]


def test_a_file_says_what_joins() -> None:
    changed = load_device("ascend310", **{"graph.joins.relu": False, "graph.others": True}).values.compiler
    work = step(network(conv("a", 16, 16), Pointwise("f", "relu", 16 * PIXELS)), INFERENCE, changed)
    assert [each.operator.name for each in work if isinstance(each.operator, Streaming)] == ["relu"]
    work = step(network(conv("a", 16, 16), Pointwise("f", "silu", 16 * PIXELS)), INFERENCE, changed)
    assert not [each for each in work if isinstance(each.operator, Streaming)]


def relaid(values: int) -> Work:
    layers = Network("n", (conv("a", 16, 16), Pointwise("parts", SLICE, values, 2), conv("b", 16, 16)))
    return next(each for each in step(layers, INFERENCE, COMPILER) if is_relayout(each.operator))


def test_a_change_of_layout_takes_its_bytes_at_a_rate_far_below_the_buffers() -> None:
    values = ASCEND.values
    assert values.kind == "ascend"
    hardware, achieved = values.hardware, values.achieved
    assert achieved.relayout < hardware.ub_to_l2 / 8
    times = [predict(relaid(size).operator, ASCEND).seconds for size in (1 << 20, 1 << 21)]
    # Two images of 2^20 values more, read and written, in fp16, over two cores.
    more = 2 * (1 << 20) * 2 * 2 / (hardware.cores * hardware.clock_hz * achieved.relayout)
    assert times[1] - times[0] == pytest.approx(more)
    assert times[0] == pytest.approx(more + achieved.operator_s)
