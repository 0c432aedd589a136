"""Operators limited by data movement: rates, launches and floors by hand, and how well they predict
measured kernels.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simhw.machine.dotted import leaf
from simhw.roofline.calibration.benchmarks import V100 as BENCHMARKS
from simhw.roofline.calibration.measurements import read_measurements
from simhw.roofline.calibration.score import mape
from simhw.roofline.calibration.streaming import calibrate
from simhw.roofline.device import load_device
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.operators import Streaming
from simhw.roofline.predict import predict
from tests.places import SHARED

DATA = SHARED / "data"
V100 = load_device("v100")
assert isinstance(V100.values, GpuValues)
STREAMING, HARDWARE = V100.values.streaming, V100.values.hardware


def added(megabytes: float, **changes: object) -> Streaming:
    """An elementwise sum that reads twice what it writes."""
    size = megabytes * 1e6 / 3
    operator = Streaming("elementwise", "add", 1, max(1, round(size / 4)), 2 * size, size, size / 4)
    return replace(operator, **changes)  # type: ignore[arg-type]


def test_large_tensors_take_their_bytes_over_the_rate_and_a_launch() -> None:
    prediction = predict(added(300), V100)
    rate = STREAMING.kernels["elementwise"].dram_bytes_per_s
    assert prediction.seconds == pytest.approx(STREAMING.launch_s + 300e6 / rate)
    assert prediction.limit == "dram"
    assert prediction.dram_bytes == pytest.approx(300e6)


def test_what_fits_in_the_l2_comes_from_there() -> None:
    prediction = predict(added(6), V100)
    assert prediction.seconds == pytest.approx(STREAMING.launch_s + 6e6 / HARDWARE.l2_bytes_per_s)
    assert (prediction.limit, prediction.dram_bytes) == ("launch", 0.0)


def test_alone_a_small_kernel_waits_for_the_framework() -> None:
    prediction = predict(added(1), V100)
    assert prediction.alone_s == STREAMING.kernels["elementwise"].host_s
    large = predict(added(300), V100)
    assert large.alone_s == pytest.approx(large.seconds + STREAMING.kernels["elementwise"].latency_s)


def test_joined_to_the_kernel_before_only_the_bytes_are_left() -> None:
    alone, joined = predict(added(300), V100), predict(added(300, joined=True), V100)
    assert alone.seconds - joined.seconds == pytest.approx(STREAMING.launch_s)
    assert (joined.host_s, joined.latency_s) == (0.0, 0.0)


def test_much_arithmetic_binds() -> None:
    prediction = predict(added(30, vector_operations=1e12), V100)
    assert prediction.limit == "vector"
    assert prediction.seconds > 1e12 / HARDWARE.vector_flops_per_s("fp32")


def normalised(rows: int, columns: int, kind: str = "layernorm") -> Streaming:
    """A kernel on rows that reads each value and writes it."""
    size = 4.0 * rows * columns
    return Streaming(kind, kind, rows, columns, size, size, 8.0 * rows * columns)  # type: ignore[arg-type]  # a literal


def test_rows_in_flight_that_the_l2_holds_are_read_from_memory_once() -> None:
    # 80 x 16 rows of 1228 values are 6.287 MB; one value more is 6.292 MB, above 6 x 1024 x 1024 bytes.
    for columns, again in ((1228, False), (1229, True)):
        operator = normalised(20_000, columns)
        assert (predict(operator, V100).dram_bytes > operator.dram_bytes) == again


def test_rows_in_flight_beyond_the_l2_come_from_memory_again() -> None:
    operator = normalised(20_000, 4096)
    share = STREAMING.second_reading["layernorm"].missing_share
    # 1280 rows of 16 KiB are 20 MiB, of which the L2 holds 6.
    moved = operator.dram_bytes + share * operator.read_bytes * (1 - 6 / 20)
    prediction = predict(operator, V100)
    assert prediction.dram_bytes == pytest.approx(moved)
    assert prediction.seconds == pytest.approx(
        STREAMING.launch_s + moved / STREAMING.kernels["layernorm"].dram_bytes_per_s
    )
    # Fewer rows than a wave hold less: 640 of them are 10 MiB.
    few = normalised(640, 4096)
    assert predict(few, V100).dram_bytes == pytest.approx(few.dram_bytes + share * few.read_bytes * (1 - 6 / 10))


def test_softmax_of_long_rows_is_another_kernel() -> None:
    usual, other = STREAMING.kernels["softmax"], STREAMING.long_rows["softmax"].kernel
    for columns, kernel in ((1024, usual), (1025, other)):
        operator = normalised(50_000, columns, "softmax")
        prediction = predict(operator, V100)
        assert prediction.seconds == pytest.approx(STREAMING.launch_s + operator.dram_bytes / kernel.dram_bytes_per_s)
        assert (prediction.host_s, prediction.latency_s) == (kernel.host_s, kernel.latency_s)


@given(megabytes=st.floats(0.01, 4000), kind=st.sampled_from(sorted(STREAMING.kernels)))
def test_never_faster_than_memory_and_never_faster_for_more(megabytes: float, kind: str) -> None:
    prediction = predict(added(megabytes, kind=kind), V100)
    assert prediction.dram_bytes / prediction.seconds < HARDWARE.dram_bytes_per_s
    assert predict(added(megabytes * 1.1, kind=kind), V100).seconds >= prediction.seconds
    assert 0 <= prediction.utilisation < 1


@pytest.mark.skipif(not DATA.is_dir(), reason="the measurements are not beside the checkout")
def test_measured_kernels_that_were_not_fitted_are_predicted_within_5_percent() -> None:
    constants, scores = calibrate(DATA, BENCHMARKS)
    assert {score.name.split()[0]: score.rows for score in scores} == dict.fromkeys(
        ("add", "relu", "gelu", "ln", "softmax"), 300
    )
    for score in scores:
        assert score.mape < 5 < score.textbook_mape
    # The machine file states what this fit gives.
    stated = V100.values.model_dump()
    for name, value in constants.items():
        assert leaf(stated, name) == pytest.approx(value, rel=2e-3), name


@pytest.mark.skipif(not DATA.is_dir(), reason="the measurements are not beside the checkout")
@pytest.mark.parametrize("name", ["add", "relu", "gelu", "ln", "softmax"])
def test_kernels_above_the_frameworks_floor_are_predicted_within_5_percent(name: str) -> None:
    # The floor is a median of measurements and hides what the model says of the device: score the odd rows where it
    # does not bind.
    board = load_device("v100-pcie")
    rows = read_measurements(DATA, f"neusight_v100_{name}")[1::2]
    predictions = [(predict(row.operator, board), row.seconds) for row in rows]
    above = [(each.alone_s, seconds) for each, seconds in predictions if each.alone_s > each.host_s]
    assert len(above) > 100
    assert mape([each for each, _ in above], [seconds for _, seconds in above]) < 5
