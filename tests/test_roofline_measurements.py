"""Readers of measured kernels: the columns' meaning, checked by what was measured, and files that cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from simhw.errors import SimhwError
from simhw.roofline.measurements import FILES, read_measurements
from simhw.roofline.operators import Convolution, Gemm, Streaming

DATA = Path(__file__).parents[2] / "shared" / "data"
measured = pytest.mark.skipif(not DATA.is_dir(), reason="the measurements are not beside the checkout")


@measured
@pytest.mark.parametrize("name", FILES)
def test_no_kernel_is_faster_than_the_boards_peak(name: str) -> None:
    """A misread column would make some kernel impossibly fast."""
    peak = 125.3e12 if "fp16" in name else 15.67e12
    for row in read_measurements(DATA, name):
        # Winograd does a convolution with up to 4 times fewer operations (spec page roofline.md, section 2: 76% of them use it).
        operations = row.operator.flops / (4 if isinstance(row.operator, Convolution) else 1)
        assert 0 < operations / row.seconds < peak
        assert row.seconds > 2e-6


@measured
def test_grids_of_the_products_tell_that_columns_are_read_right() -> None:
    """A kernel named 128x32 covers 128 contiguous columns and 32 rows of the output with a block."""
    rows = [row for row in read_measurements(DATA, "neusight_v100_linear") if row.kernel.startswith("volta_sgemm_128x32_tn")]
    assert len(rows) > 10
    for row in rows:
        assert isinstance(row.operator, Gemm)
        assert row.grid[:2] == (-(-row.operator.n // 128), -(-row.operator.m // 32))


@measured
def test_elementwise_grids_cover_the_elements() -> None:
    for row in read_measurements(DATA, "neusight_v100_add"):
        assert isinstance(row.operator, Streaming)
        # 128 threads of 4 elements a block.
        assert row.grid[0] == -(-row.operator.rows * row.operator.columns // 512)


def test_deepbench_product_is_turned_to_rows_of_contiguous_columns(tmp_path: Path) -> None:
    (tmp_path / "deepbench_v100_gemm_fp16mix.csv").write_text("src,M,N,K,tA,tB,ms,tflops\nx,100,20,30,T,N,0.5,1\n")
    (row,) = read_measurements(tmp_path, "deepbench_v100_gemm_fp16mix")
    assert row.operator == Gemm(m=20, n=100, k=30, number="fp16", transposed=(False, True))
    assert row.seconds == pytest.approx(0.0005)
    assert (row.group, row.row) == ("x", 0)


def test_deepbench_convolution_gives_a_row_per_measured_operation(tmp_path: Path) -> None:
    header = "src,W,H,C,N,K,S,R,pad_w,pad_h,sw,sh,fwd_ms,dgrad_ms,wgrad_ms,P,Q,algo"
    (tmp_path / "deepbench_v100_conv_fp32.csv").write_text(f"{header}\nx,700,161,1,4,32,20,5,0,0,2,2,0.1,N/A*,0.3,341,79,WINOGRAD\n")
    forward, weight_grad = read_measurements(tmp_path, "deepbench_v100_conv_fp32")
    assert isinstance(forward.operator, Convolution)
    assert isinstance(weight_grad.operator, Convolution)
    assert forward.operator.out_size == (79, 341)
    assert (forward.kernel, weight_grad.kernel) == ("WINOGRAD", "")
    assert [forward.operator.operation, weight_grad.operator.operation] == ["forward", "weight_grad"]
    assert np.isclose(weight_grad.seconds, 0.3e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [("src,M\nx,3\n", "row 1 cannot be read"), ("src,M,N,K,tA,tB,ms\nx,1,2,3,N,N,1\ny,0,2,3,N,N,1\n", "row 2 cannot be read")],
)
def test_row_that_makes_no_sense_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "deepbench_v100_gemm_fp32.csv").write_text(text)
    with pytest.raises(SimhwError, match=words):
        read_measurements(tmp_path, "deepbench_v100_gemm_fp32")


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SimhwError, match="no such file"):
        read_measurements(tmp_path, "neusight_v100_add")
    with pytest.raises(SimhwError, match="no reader for measurements 'x'"):
        read_measurements(tmp_path, "x")
