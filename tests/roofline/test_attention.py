"""Fused attention on an H200: blocks and pieces by hand, limits, and its error on shapes that its fit did not see."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.errors import MachineError
from simhw.roofline.calibration.pytorch import attention as calibration
from simhw.roofline.calibration.score import mape, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.gpu.attention import AttentionParameters, predict_attention
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Attention
from simhw.roofline.predict import predict
from simhw.roofline.prediction import Prediction
from simhw.trace.layer import Operation
from tests.roofline.h200 import DATA, h200, needs_data, scored

BERT = Attention("forward", batch=32, heads=12, queries=128, keys=128, width=64, number="bf16")


def constants() -> AttentionParameters:
    found = h200().attention
    assert found is not None
    return found


def predicted(attention: Attention) -> Prediction:
    return predict_attention(attention, h200().hardware, constants())


def test_a_block_walks_along_pieces_of_the_keys() -> None:
    # 4 heads of 256 queries are 8 blocks of 128, each on a multiprocessor; 1000 keys are 8 pieces of 128.
    kernel = constants().kernels["bf16"]["forward"]
    found = predicted(Attention("forward", 17, 4, 256, 1000, 64, number="bf16"))
    piece = 2 * 2 * 128 * 128 * 64 / 4096 / kernel.matrix_share + 128 * 128 / kernel.scores_per_cycle
    # 17 x 8 blocks over 132 multiprocessors: some take a second one.
    cycles = 2 * (8 * piece + kernel.block_cycles)
    assert found.seconds == pytest.approx(kernel.launch_s + cycles / h200().hardware.clock_hz)


@given(
    operation=st.sampled_from(["forward", "input_grad"]),
    number=st.sampled_from(["fp32", "tf32", "bf16"]),
    batch=st.integers(1, 64),
    heads=st.integers(1, 8).map(lambda groups: 4 * groups),
    queries=st.integers(1, 3000),
    more=st.integers(0, 3000),
    width=st.sampled_from([32, 64, 128, 256]),
    shared=st.sampled_from([1, 4]),
    causal=st.booleans(),
)
@settings(max_examples=100)
def test_attention_never_beats_the_board(
    operation: Operation,
    number: Number,
    batch: int,
    heads: int,
    queries: int,
    more: int,
    width: int,
    shared: int,
    causal: bool,
) -> None:
    attention = Attention(operation, batch, heads, queries, queries + more, width, shared, causal, number)
    found = predicted(attention)
    assert found.seconds >= textbook_seconds(attention, h200().hardware)
    assert max(found.times_s.values()) <= found.seconds <= 1.0001 * sum(found.times_s.values())
    # Leaving out what is not seen never costs time.
    assert found.seconds <= predicted(replace(attention, causal=False)).seconds * 1.0001
    # Fewer heads of keys and values move less.
    assert predicted(replace(attention, shared=4)).seconds <= predicted(replace(attention, shared=1)).seconds


@pytest.mark.parametrize("operation", ["forward", "input_grad"])
def test_a_long_causal_sequence_takes_half(operation: Operation) -> None:
    full = Attention(operation, 4, 32, 8192, 8192, 128, number="bf16")
    share = predicted(replace(full, causal=True)).seconds / predicted(full).seconds
    # 64 blocks see 1 to 64 pieces: 32.5 of 64 in the mean.
    assert 0.5 < share < 0.53


def test_one_new_token_reads_its_keys_at_the_rate_of_memory() -> None:
    # A decoder's step: 64 sequences of 8192 keys, 8 heads of keys and values of 128 for 32 of queries.
    decode = Attention("forward", 64, 32, 1, 8192, 128, shared=4, number="bf16", causal=True)
    found = predicted(decode)
    assert found.limit == "dram"
    assert found.seconds == pytest.approx(decode.dram_bytes / h200().hardware.dram_bytes_per_s, rel=0.3)


def test_keys_of_one_sequence_are_split_among_the_multiprocessors() -> None:
    # 8 heads leave 124 of 132 multiprocessors idle; split 16 ways they fill 128.
    decode = Attention("forward", 1, 8, 1, 65536, 128, number="bf16")
    found = predicted(decode)
    assert "keys split 16" in found.mapping
    assert found.seconds < 3 * decode.dram_bytes / h200().hardware.dram_bytes_per_s
    # No more parts than pieces of keys.
    assert "split" not in predicted(replace(decode, keys=100)).mapping


def test_fusing_pays_where_scores_are_many() -> None:
    # 32 x 12 heads of 512 x 512 scores are 100 M values: 200 MB written and read twice, beside 100 MB of the rest.
    long = replace(BERT, queries=512, keys=512)
    scores_s = 4 * long.scores * 2 / h200().hardware.dram_bytes_per_s
    assert predicted(long).seconds < scores_s


def test_a_device_without_it_refuses_it() -> None:
    with pytest.raises(MachineError, match="v100 has no kernel for fused attention; run it as products"):
        predict(replace(BERT, number="fp16"), load_device("v100"))
    assert predict(BERT, load_device("h200")).seconds > 0


@needs_data
def test_shipped_constants_predict_shapes_that_no_fit_saw() -> None:
    rows = [row for row in scored("other") if row.kind == "sdpa"]
    assert len(rows) == 20
    for number in ("fp32", "bf16"):
        for operation in ("forward", "input_grad"):
            own = [row for row in rows if row.number == number and calibration.attention_of(row).operation == operation]
            found = [predicted(calibration.attention_of(row)).seconds for row in own]
            assert mape(found, [row.seconds for row in own]) < 10  # the target is 20


@needs_data
def test_the_fit_gives_the_shipped_constants() -> None:
    for name, value in calibration.calibrate(DATA, "h200", calibration.H200)[0].items():
        _, _, number, operation, constant = name.split(".")
        kernel = constants().kernels[number][operation]  # type: ignore[index]
        assert getattr(kernel, constant) == pytest.approx(value, rel=0.02), name
