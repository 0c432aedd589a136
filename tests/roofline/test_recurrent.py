"""Recurrent cells on a V100: their products by hand, the chain of steps, and how well they predict cells that no fit
saw.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.roofline.calibration.benchmarks import V100 as BENCHMARKS
from simhw.roofline.calibration.recurrent import calibrate
from simhw.roofline.device import load_device
from simhw.roofline.gpu.recurrent import product_of
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.operators import Gemm, Recurrent
from simhw.roofline.predict import predict
from simhw.trace.layer import OPERATIONS
from tests.places import SHARED

DATA = SHARED / "data"
V100 = load_device("v100")
assert isinstance(V100.values, GpuValues)
PARAMETERS = V100.values.recurrent
LSTM = Recurrent("lstm", "forward", inputs=0, hidden=512, batch=32, steps=25)


def test_products_of_the_three_operations() -> None:
    # Four gates of 512: a step multiplies (32, 512) by (512, 2048), back through time (32, 2048) by (2048, 512).
    assert product_of(LSTM, 512, 25) == Gemm(32, 2048, 512)
    assert product_of(replace(LSTM, operation="input_grad"), 512, 25) == Gemm(32, 512, 2048, transposed=(False, False))
    # Weights' gradients reduce over all 25 x 32 rows at once.
    assert product_of(replace(LSTM, operation="weight_grad"), 512, 1) == Gemm(2048, 512, 800, transposed=(True, False))


def test_chain_takes_a_product_and_a_step_for_each_position() -> None:
    chain = PARAMETERS.chains["fp32"]["forward"]
    product = predict(Gemm(32, 2048, 512), V100).seconds
    expected = chain.call_s + 25 * (chain.step_s + chain.product_share * product)
    assert predict(LSTM, V100).seconds == pytest.approx(expected)
    longer = predict(replace(LSTM, steps=50), V100).seconds
    assert longer - expected == pytest.approx(expected - chain.call_s)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_products_of_the_input_run_for_all_steps_at_once(operation: str) -> None:
    skipped = replace(LSTM, operation=operation)
    with_input = replace(skipped, inputs=256)
    product = predict(product_of(with_input, 256, 1), V100).seconds
    added = predict(with_input, V100).seconds - predict(skipped, V100).seconds
    rate = PARAMETERS.gradient_bytes_per_s["fp32"]
    gradients = 2 * 4 * 2048 * 256 / rate if operation == "weight_grad" else 0.0
    assert added == pytest.approx(product + gradients)


@given(
    cell=st.sampled_from(["rnn", "lstm", "gru"]),
    operation=st.sampled_from(OPERATIONS),
    number=st.sampled_from(["fp32", "fp16"]),
    hidden=st.integers(1, 300).map(lambda n: 8 * n),
    batch=st.integers(1, 256),
    steps=st.integers(1, 400),
)
@settings(max_examples=60)
def test_never_faster_than_the_peak_and_longer_for_more_steps(
    cell: str, operation: str, number: str, hidden: int, batch: int, steps: int
) -> None:
    recurrent = Recurrent(cell, operation, 0, hidden, batch, steps, number)  # type: ignore[arg-type]
    prediction = predict(recurrent, V100)
    assert 0 < prediction.utilisation < 1
    # A longer reduction of weight_grad may be split where a short one is not: a little faster, never by much.
    assert predict(replace(recurrent, steps=2 * steps), V100).seconds > 0.97 * prediction.seconds


@pytest.mark.skipif(not DATA.is_dir(), reason="the measurements are not beside the checkout")
def test_cells_of_sources_held_out_are_predicted_within_25_percent() -> None:
    constants, scores = calibrate(DATA, BENCHMARKS)
    assert len(scores) == 6
    for score in scores:
        assert score.rows == 53
        assert score.mape < 26
        assert score.mape < score.textbook_mape / 2
    for name, value in constants.items():
        _, section, *path = name.split(".")
        stated = PARAMETERS.model_dump()[section]
        for part in path:
            stated = stated[part]
        assert stated == pytest.approx(value, rel=0.02), name
