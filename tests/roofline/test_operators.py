"""Operators: their arithmetic and traffic by hand, and sizes that cannot be."""

import pytest

from simhw.errors import ShapeError
from simhw.roofline.layers.network import Conv, Linear, Network, RecurrentLayer
from simhw.roofline.operators import Convolution, Gemm, Recurrent, Streaming, convolved


def conv(**changes: object) -> Convolution:
    values: dict[str, object] = {
        "operation": "forward",
        "images": 2,
        "in_channels": 4,
        "out_channels": 6,
        "size": (9, 9),
        "kernel": (3, 3),
        "stride": (2, 2),
        "padding": (1, 1),
        "dilation": (1, 1),
    }
    return Convolution(**(values | changes))  # type: ignore[arg-type]


def test_gemm_counts_two_operations_per_multiply_accumulate_and_each_operand_once() -> None:
    gemm = Gemm(m=3, n=5, k=7, batch=2, number="fp16")
    assert gemm.flops == 2 * 2 * 3 * 5 * 7
    assert gemm.dram_bytes == 2 * 2 * (3 * 7 + 7 * 5 + 3 * 5)


@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
def test_the_three_operations_of_a_convolution_have_the_same_arithmetic(operation: str) -> None:
    # Output 5 x 5: (9 + 2 - 3) / 2 + 1.
    convolution = conv(operation=operation)
    assert convolution.out_size == (5, 5)
    assert convolution.flops == 2 * 2 * 25 * 6 * 4 * 9
    assert convolution.dram_bytes == 4 * (2 * 4 * 81 + 2 * 6 * 25 + 6 * 4 * 9)


def test_groups_divide_the_arithmetic_and_the_weights() -> None:
    assert conv(groups=2).flops == conv().flops / 2
    assert conv(groups=2).dram_bytes == 4 * (2 * 4 * 81 + 2 * 6 * 25 + 6 * 2 * 9)


def test_dilation_spreads_the_kernel() -> None:
    # 3 taps two apart cover 5: (9 - 5) / 1 + 1.
    assert convolved((9,), (3,), (1,), (0,), (2,)) == (5,)


def test_recurrent_layer_multiplies_inputs_and_state_at_every_step() -> None:
    lstm = Recurrent("lstm", "forward", inputs=3, hidden=5, batch=2, steps=7)
    assert lstm.flops == 2 * 7 * 2 * 4 * 5 * (3 + 5)
    assert RecurrentLayer("l", "gru", 3, 5, 7).macs == 7 * 3 * 5 * (3 + 5)
    assert RecurrentLayer("l", "gru", 3, 5, 7).parameters == 3 * 5 * (3 + 5 + 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": 0}, "images is 0"),
        ({"kernel": (12, 12)}, "does not fit"),
        ({"groups": 3}, "3 groups do not divide 4 and 6 channels"),
        ({"stride": (1,)}, "must all have 1 to 3 dimensions"),
    ],
)
def test_convolution_that_cannot_be_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        conv(**changes)


def test_empty_operators_are_refused() -> None:
    with pytest.raises(ShapeError, match="k is 0"):
        Gemm(1, 1, 0)
    with pytest.raises(ShapeError, match="rows is 0"):
        Streaming("copy", "copy", 0, 1, 0.0, 0.0, 0.0)


def test_network_sums_its_layers_and_refuses_a_name_twice() -> None:
    layers = (Conv("c", 3, 8, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1), bias=True), Linear("f", 512, 10))
    network = Network("n", layers)
    assert network.parameters == 8 * 3 * 9 + 8 + 512 * 10 + 10
    assert network.macs == 64 * 8 * 27 + 512 * 10
    with pytest.raises(ShapeError, match="two layers are called 'f'"):
        Network("n", (*layers, Linear("f", 1, 1)))
