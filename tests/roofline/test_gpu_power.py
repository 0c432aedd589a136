"""Power of a V100: bounds, what costs more, and the watts that were measured."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.errors import SimhwError
from simhw.roofline.calibration.benchmarks import V100 as BENCHMARKS
from simhw.roofline.calibration.power import calibrate, watts
from simhw.roofline.device import load_device
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.operators import Gemm, Operator, Streaming
from simhw.roofline.predict import energy_of, predict
from tests.places import SHARED

DATA = SHARED / "data"
V100 = load_device("v100")
assert isinstance(V100.values, GpuValues)
POWER = V100.values.power
STREAM = Streaming("elementwise", "add", 1, 1 << 28, float(1 << 31), float(1 << 30), float(1 << 28))


def power_w(operator: Operator) -> tuple[float, float, float]:
    prediction = predict(operator, V100)
    energy = energy_of(prediction, V100)
    return energy.low / prediction.seconds, energy.mid / prediction.seconds, energy.high / prediction.seconds


@given(
    m=st.integers(1, 5000),
    n=st.integers(1, 5000),
    k=st.integers(1, 5000),
    number=st.sampled_from(["fp32", "fp16", "int8"]),
)
@settings(max_examples=60)
def test_power_lies_between_an_idle_board_and_the_tdp(m: int, n: int, k: int, number: str) -> None:
    low, mid, high = power_w(Gemm(m, n, k, number=number))  # type: ignore[arg-type]
    # 32.3 W + 80 x 0.283 W.
    assert 54.9 <= low <= mid <= high <= 300 * (1 + 1e-12)


def test_busy_units_take_more_than_a_waiting_chip() -> None:
    waiting = power_w(Gemm(8, 8, 8))[1]
    assert waiting == pytest.approx(POWER.active_w, rel=0.01)
    assert power_w(Gemm(4096, 4096, 4096))[1] > waiting + 50
    assert power_w(STREAM)[1] > waiting + 30


def test_products_on_tensor_cores_take_less_energy_than_on_fma_units() -> None:
    products = [
        energy_of(predict(Gemm(4096, 4096, 4096, number=number), V100), V100).mid for number in ("fp32", "fp16")
    ]  # type: ignore[arg-type]
    assert products[1] < products[0] / 3


@pytest.mark.skipif(not DATA.is_dir(), reason="the measurements are not beside the checkout")
def test_measured_watts_lie_in_the_range_of_what_they_could_be() -> None:
    measured = watts(DATA, BENCHMARKS)
    assert len(measured) == 26
    for name, operator in (
        ("parboil_sgemm_k1", Gemm(2048, 2048, 2048)),
        ("cudaTensorCoreGemm_k1", Gemm(4096, 4096, 4096, number="fp16")),
    ):
        # The library's kernels use the units better than a sample program can.
        assert power_w(Gemm(8, 8, 8))[0] < measured[name] < power_w(operator)[1]
    low, _, high = power_w(STREAM)
    for name in ("kmeans_k1", "backprop_k2", "srad_v1_k1", "pathfinder_k1"):
        assert low < measured[name] < high
    # No kernel takes less than the floor nor more than a busy board.
    assert min(measured.values()) >= POWER.active_w - 0.1
    assert max(measured.values()) < POWER.tdp_w
    constants, _ = calibrate(DATA, BENCHMARKS)
    for name, value in constants.items():
        _, constant, *number = name.split(".")
        stated = getattr(POWER, constant)
        assert (stated[number[0]] if number else stated) == pytest.approx(value, rel=1e-3)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SimhwError, match=r"accelwattch_v100_power\.csv: no such file"):
        watts(tmp_path, BENCHMARKS)
