"""Streaming kernels of an H200: layouts by hand, which kernel a function takes, and rows that no fit saw."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest

from simhw.errors import SimhwError
from simhw.roofline.calibration.pytorch import streaming as calibration
from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.streaming_rows import read_streaming, read_updates
from simhw.roofline.calibration.score import Score
from simhw.roofline.gpu.column_sums import sum_layout
from simhw.roofline.gpu.streaming import StreamingKernel, predict_streaming
from simhw.roofline.operators import Operator, Streaming
from tests.roofline.h200 import DATA, h200, needs_data

STREAMING, HARDWARE = h200().streaming, h200().hardware
HEADER = "kind,rows,width,precision,operation,ms,eager_us\n"


def seconds(operator: Operator) -> float:
    assert isinstance(operator, Streaming)
    return predict_streaming(operator, HARDWARE, STREAMING).seconds


def added(megabytes: float, name: str = "add") -> Streaming:
    size = megabytes * 1e6 / 3
    return Streaming("elementwise", name, 1, round(size / 4), 2 * size, size, size / 4)


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        # 256 columns four at a time: 64 across, in blocks of 32 x 4 threads (512 / 4).  100 rows are 16 to 256, and at
        # least 16 for each of 4, so the block shares them: 25 each.
        (256, 100, (4, 25, 1, 0)),
        # 60 rows are fewer than 16 for each of 4: a thread sums them all.
        (256, 60, (4, 60, 1, 0)),
        # Odd: one at a time, blocks of 32 x 16.  8192 rows are 512 each, more than 256; 3 blocks across leave room for
        # 528 / 3 = 176 to share, of which 512 / 16 = 32 are worth it: 16 rows each, and 32 / 16 partial sums a thread.
        (81, 8192, (1, 16, 32, 2)),
    ],
)
def test_layout_of_sums_over_rows(columns: int, rows: int, expected: tuple[int, int, int, int]) -> None:
    layout = sum_layout(columns, rows, HARDWARE)
    assert (layout.vector, layout.thread_rows, layout.blocks, layout.partials) == expected


def test_a_tensor_a_little_too_large_for_the_l2_finds_nothing_in_it() -> None:
    residency = STREAMING.residency
    assert residency is not None
    assert residency.missing(0.99 * residency.resident_bytes) == 0
    assert residency.missing(residency.spilled_bytes) == 1
    near = residency.cached_s(residency.near_bytes)
    assert near == pytest.approx(residency.near_bytes / residency.near_bytes_per_s)
    assert residency.cached_s(residency.near_bytes + 1e6) - near == pytest.approx(1e6 / residency.far_bytes_per_s)
    large = added(300)
    launch_s = STREAMING.launch_s + STREAMING.kernels["elementwise"].start_s
    assert seconds(large) == pytest.approx(launch_s + 300e6 / STREAMING.kernels["elementwise"].dram_bytes_per_s)


def test_what_the_forward_pass_kept_comes_from_memory() -> None:
    small = added(12)
    kept = replace(small, kept_bytes=4e6)
    assert seconds(kept) > seconds(small)
    assert predict_streaming(kept, HARDWARE, STREAMING).dram_bytes == pytest.approx(4e6)


def test_a_kernel_with_few_rows_leaves_multiprocessors_idle() -> None:
    kernel = StreamingKernel(dram_bytes_per_s=1e12, row_s=1e-6, value_s=1e-9, rows_to_fill=2.0, cold_rows_to_fill=4.0)
    rows = Streaming("batchnorm", "batchnorm", 132, 1000, 1, 1, 0)
    # A row takes 1 us and 1000 ns.  One row a multiprocessor takes as long as two, of cold data as four.
    assert kernel.work_s(rows, HARDWARE, cold=0.0) == pytest.approx(4e-6)
    assert kernel.work_s(rows, HARDWARE, cold=1.0) == pytest.approx(8e-6)
    assert kernel.work_s(replace(rows, rows=1320), HARDWARE, cold=1.0) == pytest.approx(20e-6)


def test_rows_as_the_kernel_counts_them() -> None:
    stepped = StreamingKernel(dram_bytes_per_s=1e12, value_s=1e-9, step_values=256)
    doubled = StreamingKernel(dram_bytes_per_s=1e12, value_s=1e-9, powers_of_two=True)
    row = Streaming("pool", "x", 132, 300, 1, 1, 0)
    assert stepped.work_s(row, HARDWARE, 0.0) == pytest.approx(512e-9)
    assert doubled.work_s(row, HARDWARE, 0.0) == pytest.approx(512e-9)
    assert doubled.work_s(replace(row, columns=512), HARDWARE, 0.0) == pytest.approx(512e-9)


def test_functions_have_kernels_of_their_own_by_case() -> None:
    cases = STREAMING.functions
    norm = Streaming("layernorm", "layernorm", 100, 768, 1, 1, 0)
    assert STREAMING.kernel_of(norm) == cases["layernorm"]["vectors"].kernel
    assert STREAMING.kernel_of(replace(norm, columns=770)) == cases["layernorm"]["scalars"].kernel
    soft = Streaming("softmax", "softmax", 100, 1024, 1, 1, 0)
    assert STREAMING.kernel_of(soft) == cases["softmax"]["warp"].kernel
    assert STREAMING.kernel_of(replace(soft, columns=1025)) == cases["softmax"]["block"].kernel
    batch = Streaming("batchnorm", "batchnorm", 64, 1000, 1, 1, 0)
    assert STREAMING.kernel_of(batch) == cases["batchnorm"]["four_bytes"].kernel
    assert STREAMING.kernel_of(replace(batch, number="bf16")) == cases["batchnorm"]["two_bytes"].kernel
    assert STREAMING.kernel_of(replace(batch, layout="nhwc")) == cases["batchnorm"]["channels_last"].kernel
    assert STREAMING.kernel_of(Streaming("activation", "mish", 1, 9, 1, 1, 0)) == STREAMING.kernels["activation"]


def test_an_update_of_many_tensors_takes_more_launches() -> None:
    update = Streaming("optimizer", "sgd_update", 1, 25_000_000, 2e8, 1e8, 5e7, pieces=161)
    # 381 chunks of 65,536 values, 320 a launch: 2; but 161 tensors, 64 a launch: 3.
    assert STREAMING.launches(update) == 3
    assert STREAMING.launches(replace(update, pieces=10)) == 2
    assert seconds(update) > seconds(replace(update, pieces=10))


def test_more_values_never_take_less_time() -> None:
    for name, kind in (
        ("add", "elementwise"),
        ("gelu", "activation"),
        ("softmax", "softmax"),
        ("batchnorm", "batchnorm"),
    ):
        operators = [
            Streaming(kind, name, rows, 512, 2048.0 * rows, 2048.0 * rows, 512.0 * rows)  # type: ignore[arg-type]
            for rows in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
        ]
        times = [seconds(each) for each in operators]
        assert times == sorted(times)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("add,0,3,fp32,forward,0.1,", "row 1 .*'rows' is '0'"),
        ("add,4,wide,fp32,forward,0.1,", "row 1 .*'width' is 'wide'"),
        ("swish,4,3,fp32,forward,0.1,", "row 1 .*'kind' is 'swish'; give one of add"),
        ("add,4,3,fp32,sideways,0.1,", "row 1 .*'operation' is 'sideways'"),
        ("max_pool,4,64,fp32,forward,0.1,", "row 1 .*'width' is '64'; give C x H x W"),
        ("add,4,3,fp32,forward,-1,", "row 1 .*'ms' is '-1'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, row: str, says: str) -> None:
    (tmp_path / "mine_streaming.csv").write_text(HEADER + row + "\n", encoding="utf-8")
    with pytest.raises(SimhwError, match=says):
        read_streaming(tmp_path, "mine")


def test_a_gradient_stands_for_the_kernels_that_a_step_makes(tmp_path: Path) -> None:
    row = "layer_norm,4,32,bf16,backward,0.1,50\n"
    (tmp_path / "mine_streaming.csv").write_text(HEADER + row, encoding="utf-8")
    (found,) = read_streaming(tmp_path, "mine")
    names = [each.name for each in found.operators if isinstance(each, Streaming)]
    assert names == ["layernorm_grad", "layernorm_weight_grad"]
    assert {each.number for each in found.operators} == {"bf16"}


# --- measured ---


@cache
def calibrated() -> tuple[dict[str, float], dict[str, Score]]:
    constants, scores = calibration.calibrate(DATA, "h200")
    return constants, {score.name: score for score in scores}


@needs_data
def test_the_fit_gives_the_shipped_constants() -> None:
    for name, value in calibrated()[0].items():
        section, rest = name.split(".", 1)
        stated: object = getattr(h200(), section)
        for part in rest.split("."):
            stated = stated[part] if isinstance(stated, dict) else getattr(stated, part)
        assert isinstance(stated, float | int)
        assert stated == pytest.approx(value, rel=2e-3), name


@needs_data
def test_shipped_constants_predict_kernels_that_no_fit_saw() -> None:
    stream_s = h200().host.stream_s if h200().host else 0.0
    for rows, most in (
        (halves(read_streaming(DATA, "h200"))[1], 8.0),
        (halves(read_updates(DATA, "h200"))[1], 10.0),
    ):
        errors = [abs(calibration.predicted_s(row, STREAMING, HARDWARE, stream_s) / row.seconds - 1) for row in rows]
        assert 100 * fmean(errors) < most


@needs_data
@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("add forward", 6),
        ("gelu backward", 6),
        ("sum forward", 10),
        ("max_pool backward", 5),
        ("layer_norm backward", 13),
        ("softmax backward", 13),
        ("batch_norm forward", 15),
    ],
)
def test_each_kind_of_kernel_is_predicted(kind: str, most: float) -> None:
    score = calibrated()[1][kind]
    assert score.mape < most < score.textbook_mape
