"""Convolutions by engines: which kernels a layer runs, what conversions and odd channels cost, and how well kernels of
an H200 that no constant saw are predicted.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simhw.machine.dotted import leaf
from simhw.roofline.calibration.pytorch.convolution import calibrate, convolution_of, scores
from simhw.roofline.calibration.pytorch.h200_convolution import SEARCHED
from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.kernels import read_kernels
from simhw.roofline.compression.variants import merged, vanilla
from simhw.roofline.device import load_device
from simhw.roofline.gpu.engines.convolution import predict_by_engines, timed_engines
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.numbers import Number, Precision
from simhw.roofline.operators import Convolution, Layout
from simhw.roofline.step.step import Run, step
from simhw.trace.layer import OPERATIONS, Operation
from tests.places import SHARED

DEVICE = load_device("h200")
assert isinstance(DEVICE.values, GpuValues)
assert DEVICE.values.convolution_engines is not None
HARDWARE, PARAMETERS = DEVICE.values.hardware, DEVICE.values.convolution_engines
NUMBERS: tuple[Number, ...] = ("fp32", "tf32", "bf16")

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the measurements are not beside the checkout, in ../shared/data"
)


def conv(operation: Operation = "forward", channels: tuple[int, int] = (64, 64), **changes: Any) -> Convolution:
    plain: dict[str, Any] = {
        "operation": operation,
        "images": 16,
        "in_channels": channels[0],
        "out_channels": channels[1],
        "size": (28, 28),
        "kernel": (3, 3),
        "stride": (1, 1),
        "padding": (1, 1),
        "dilation": (1, 1),
        "number": "bf16",
    }
    return Convolution(**(plain | changes))


def seconds(convolution: Convolution) -> float:
    return predict_by_engines(convolution, HARDWARE, PARAMETERS).seconds


def mapping(convolution: Convolution) -> str:
    return predict_by_engines(convolution, HARDWARE, PARAMETERS).mapping


@st.composite
def convolutions(draw: st.DrawFn, step: int = 1) -> Convolution:
    """Any layer; channels in multiples of `step`."""
    dims = draw(st.integers(1, 3))

    def several(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    groups = draw(st.sampled_from((1, 1, 2, 8)))
    return Convolution(
        operation=draw(st.sampled_from(OPERATIONS)),
        images=draw(st.integers(1, 64)),
        in_channels=step * groups * draw(st.integers(1, 300 // step)),
        out_channels=step * groups * draw(st.integers(1, 300 // step)),
        size=several(9, 60),
        kernel=several(1, 5),
        stride=several(1, 3),
        padding=several(0, 2),
        dilation=several(1, 2),
        groups=groups,
        number=draw(st.sampled_from(NUMBERS)),
        layout=draw(st.sampled_from(get_args(Layout))),
    )


@given(convolution=convolutions())
@settings(max_examples=150)
def test_time_is_at_least_launch_and_arithmetic_of_what_ran(convolution: Convolution) -> None:
    every = timed_engines(convolution, HARDWARE, PARAMETERS)
    assert seconds(convolution) == min(each.seconds for each in every)
    for each in every:
        assert isfinite(each.seconds)
        assert each.seconds >= each.launch_s + max(each.matrix_s, each.staging_s) - 1e-12
        assert 1e-6 < each.launch_s < 1e-4


@given(convolution=convolutions())
@settings(max_examples=150)
def test_twice_the_images_take_longer(convolution: Convolution) -> None:
    # From some batch on, the library transforms input gradients, which is a step down.
    assume(convolution.number != "fp32" or convolution.operation != "input_grad")
    more = seconds(replace(convolution, images=2 * convolution.images))
    assert more >= 0.9 * seconds(convolution)
    assert seconds(replace(convolution, images=16 * convolution.images)) >= more


@given(convolution=convolutions(step=8))
@settings(max_examples=150)
def test_channels_side_by_side_are_never_slower_where_they_fill_vectors(convolution: Convolution) -> None:
    # The same product without conversions.  1 x 1 layers are products in either layout.
    assume(max(convolution.kernel) > 1 and convolution.number == "bf16")
    assert seconds(replace(convolution, layout="nhwc")) <= seconds(replace(convolution, layout="nchw"))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_far_from_the_measurements_time_is_that_of_a_launch_or_of_the_peak(
    operation: Operation, number: Number
) -> None:
    tiny = conv(operation, (1, 1), images=1, size=(1, 1), kernel=(1, 1), padding=(0, 0), number=number)
    assert 1e-6 < seconds(tiny) < 5e-5
    huge = conv(operation, (8192, 8192), images=64, size=(128, 128), kernel=(5, 5), padding=(2, 2), number=number)
    found = predict_by_engines(huge, HARDWARE, PARAMETERS)
    # Fourier tiles of 32 x 32 take 4,352 operations a channel for 784 outputs of 25 taps, which are 39,200 directly.
    assert (0.3 if number != "tf32" else 0.25) < found.utilisation < (9.1 if number == "fp32" else 1.0)


def test_layers_of_one_and_three_dimensions_are_predicted() -> None:
    one = conv(size=(784,), kernel=(3,), stride=(1,), padding=(1,), dilation=(1,))
    three = conv(size=(7, 28, 28), kernel=(3, 3, 3), stride=(1,) * 3, padding=(1,) * 3, dilation=(1,) * 3)
    for number in NUMBERS:
        assert seconds(replace(one, number=number)) < seconds(replace(conv(), number=number)) * 1.2
        assert seconds(replace(three, number=number)) > seconds(replace(conv(), number=number))


def test_images_in_planes_are_converted_and_products_are_not() -> None:
    large = conv(channels=(64, 64), images=64, size=(56, 56))
    assert mapping(large).endswith("layout converted")
    assert "converted" not in mapping(replace(large, layout="nhwc"))
    # Two images of 25.7 MB, read and written at no more than the L2's 5.5 TB/s.
    assert seconds(large) - seconds(replace(large, layout="nhwc")) > 4 * 25.7e6 / 5.5e12
    pointwise = conv(channels=(64, 256), kernel=(1, 1), padding=(0, 0))
    assert mapping(pointwise).startswith("product")


def test_channels_that_do_not_fill_vectors_are_padded() -> None:
    # Measured, forward with 64 images of 7 x 7: 19.6 us with 320 channels, 39.5 us with 309 (h200_conv.csv).
    def layer(channels: int) -> Convolution:
        return conv(channels=(channels, channels), images=64, size=(7, 7), layout="nhwc")

    assert seconds(layer(309)) > 1.6 * seconds(layer(320))
    # Odd rows of a product are staged in small pieces.
    wide, odd = (conv(channels=(256, each), kernel=(1, 1), padding=(0, 0), layout="nhwc") for each in (256, 255))
    assert seconds(odd) > 1.3 * seconds(wide)


def test_input_gradient_of_odd_channels_visits_the_gaps_of_a_stride() -> None:
    strides: dict[str, Any] = {"stride": (2, 2), "size": (56, 56), "images": 64, "number": "fp32"}
    even, odd = (seconds(conv("input_grad", (each, each), **strides)) for each in (64, 63))
    # A stride of 2 x 2 leaves a quarter.
    assert 2.5 < odd / even < 4.5


def test_fp32_transforms_where_the_library_does() -> None:
    # ResNet-50 in fp32 (h200_step_kernels.csv): forward fft2d in layers of 128 channels, none in those of 64; weight
    # gradients by Winograd.
    assert mapping(conv(channels=(64, 64), images=64, size=(56, 56), number="fp32")).startswith("implicit GEMM")
    assert mapping(conv(channels=(128, 128), images=64, number="fp32")).startswith("Fourier")
    assert mapping(conv("weight_grad", (256, 256), images=64, number="fp32")).startswith("Winograd")
    for changes in ({"dilation": (2, 2)}, {"stride": (2, 2)}, {"kernel": (3, 1)}, {"groups": 2}):
        assert "Fourier" not in mapping(conv(channels=(256, 256), images=64, number="fp32", **changes)), changes


def test_tf32_runs_on_multiply_add_units_where_converting_costs_more_than_the_product() -> None:
    few = conv(channels=(3, 8), images=1, size=(16, 16), number="tf32")
    assert "FMA" in mapping(few)
    assert seconds(few) <= seconds(replace(few, number="fp32"))


def test_depthwise_layers_gain_from_channels_side_by_side() -> None:
    layer = conv(channels=(144, 144), groups=144, size=(56, 56))
    for operation in OPERATIONS:
        planes, beside = (seconds(replace(layer, operation=operation, layout=each)) for each in get_args(Layout))
        assert planes > 2 * beside
        assert mapping(replace(layer, operation=operation)).startswith("depthwise")


TARGET = 20.0
MISSED = {
    ("fp32", "nchw", "weight_grad"): 31.0,
    ("tf32", "nchw", "weight_grad"): 24.0,
    ("bf16", "nhwc", "weight_grad"): 24.0,
}
"""Errors of those that are above the target."""


@needs_data
def test_shipped_constants_predict_the_half_that_no_fit_saw() -> None:
    fitted, scored = halves(read_kernels(DATA, "h200", "conv"))
    assert not {row.shape for row in fitted} & {row.shape for row in scored}
    found = {score.name: score for score in scores(scored, PARAMETERS, HARDWARE, "h200_conv")}
    for number, layout in dict.fromkeys((row.number, convolution_of(row).layout) for row in scored):
        for operation in OPERATIONS:
            score = found[f"convolution {number} {layout} {operation}"]
            assert score.mape < MISSED.get((number, layout, operation), TARGET), score
            assert score.mape < 0.5 * score.textbook_mape, score


def _convolution_seconds(variant: str, precision: str, layout: str) -> float:
    """Kernels of a measured step that belong to convolutions: all but PyTorch's, copies and normalisation."""
    others = ("at::native", "softmax", "cudnn::bn", "Memcpy", "Memset", "epilogue")
    return sum(
        float(row["us"]) * 1e-6
        for row in _measured_kernels()
        if (row["variant"], row["precision"], row["layout"]) == (variant, precision, layout)
        and not any(other in row["kernel"] for other in others)
    )


def _measured_kernels() -> Iterator[dict[str, str]]:
    with (DATA / "h200_step_kernels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model"] == "resnet50" and row["mode"] == "training":
                yield row


@needs_data
@pytest.mark.parametrize("variant", ["dense", "vanilla", "merging"])
@pytest.mark.parametrize(("precision", "layout"), [("bf16-amp", "nchw"), ("bf16-amp", "nhwc"), ("fp32", "nchw")])
def test_convolutions_of_whole_steps_take_the_measured_time(variant: str, precision: Precision, layout: Layout) -> None:
    network = load_network("resnet50")
    network = {"dense": lambda each: each, "vanilla": vanilla, "merging": merged}[variant](network)
    works = step(network, Run(64, "training", precision, layout=layout))
    predicted = sum(seconds(work.operator) for work in works if isinstance(work.operator, Convolution))
    measured = _convolution_seconds(variant, precision, layout)
    assert predicted == pytest.approx(measured, rel=0.15)


@needs_data
@pytest.mark.slow
def test_calibration_gives_the_shipped_constants() -> None:
    constants, _ = calibrate(DATA, "h200", SEARCHED)
    values = DEVICE.values.model_dump()
    for name, value in constants.items():
        assert value == pytest.approx(leaf(values, name), rel=0.01), name
