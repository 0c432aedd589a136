"""Readers of measured kernels: the columns' meaning, checked by what was measured, and files that cannot be read."""

import re
from dataclasses import replace
from math import prod
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from simhw.errors import SimhwError
from simhw.roofline.calibration import ascend, devices, power
from simhw.roofline.calibration.benchmarks import V100 as BENCHMARKS
from simhw.roofline.calibration.measurements import READERS, read_measurements
from simhw.roofline.calibration.pytorch.kernels import read_kernels
from simhw.roofline.device import load_device
from simhw.roofline.gpu.convolution import timed_algorithms
from simhw.roofline.gpu.implicit_gemm import padded
from simhw.roofline.operators import Convolution, Gemm, Streaming
from tests.places import ROOT, SHARED

DATA = SHARED / "data"
measured = pytest.mark.skipif(not DATA.is_dir(), reason="the measurements are not beside the checkout")


@measured
@pytest.mark.parametrize("name", [BENCHMARKS.file(each) for each in READERS])
def test_no_kernel_is_faster_than_the_boards_peak(name: str) -> None:
    """A misread column would make some kernel impossibly fast."""
    peak = 125.3e12 if "fp16" in name else 15.67e12
    for row in read_measurements(DATA, name):
        # Winograd does a convolution with up to 4 times fewer operations (spec page roofline.md, section 2: 76% of them
        # use it).
        operations = row.operator.flops / (4 if isinstance(row.operator, Convolution) else 1)
        assert 0 < operations / row.seconds < peak
        assert row.seconds > 2e-6


@measured
def test_grids_of_the_products_tell_that_columns_are_read_right() -> None:
    """A kernel named 128x32 covers 128 contiguous columns and 32 rows of the output with a block."""
    rows = [
        row for row in read_measurements(DATA, "neusight_v100_linear") if row.kernel.startswith("volta_sgemm_128x32_tn")
    ]
    assert len(rows) > 10
    for row in rows:
        assert isinstance(row.operator, Gemm)
        assert row.grid[:2] == (-(-row.operator.n // 128), -(-row.operator.m // 32))


@measured
def test_grids_of_winograd_kernels_are_those_of_the_model() -> None:
    """One kernel: patches of 4 x 8 tiles of an image by 32 channels.  Several kernels: 36 products of 64 x 64 or 32 x
    128 blocks, whose rows are the tiles of a padded number of images.
    """
    gpu = BENCHMARKS.framework
    assert gpu.convolution is not None
    form = gpu.convolution.winograd
    seen = {"winograd": 0, "winograd_nonfused": 0}
    for row in read_measurements(DATA, "neusight_v100_conv"):
        convolution = row.operator
        assert isinstance(convolution, Convolution)
        if "winograd" in row.kernel:
            (fused,) = (
                each
                for each in timed_algorithms(convolution, gpu.hardware, gpu.convolution)
                if each.algorithm == "winograd"
            )
            assert f"{prod(row.grid)} blocks" in fused.mapping
            seen["winograd"] += 1
        elif "volta_sgemm" in row.kernel:
            side = -(-convolution.size[0] // 4)
            tiles = padded(convolution.images, form.images_step) * side * side
            grids = {
                (-(-tiles // down), -(-convolution.out_channels // across), 36) for down, across in form.product_tiles
            }
            assert row.grid in grids
            seen["winograd_nonfused"] += 1
    assert min(seen.values()) > 100


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
    (tmp_path / "deepbench_v100_conv_fp32.csv").write_text(
        f"{header}\nx,700,161,1,4,32,20,5,0,0,2,2,0.1,N/A*,0.3,341,79,WINOGRAD\n"
    )
    forward, weight_grad = read_measurements(tmp_path, "deepbench_v100_conv_fp32")
    assert isinstance(forward.operator, Convolution)
    assert isinstance(weight_grad.operator, Convolution)
    assert forward.operator.out_size == (79, 341)
    assert (forward.kernel, weight_grad.kernel) == ("WINOGRAD", "")
    assert [forward.operator.operation, weight_grad.operator.operation] == ["forward", "weight_grad"]
    assert np.isclose(weight_grad.seconds, 0.3e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("src,M\nx,3\n", "row 1 cannot be read"),
        ("src,M,N,K,tA,tB,ms\nx,1,2,3,N,N,1\ny,0,2,3,N,N,1\n", "row 2 cannot be read"),
    ],
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


GEMM = "src,M,N,K,tA,tB,ms\n"
RNN = "kind,source,hidden,batch,timesteps,fwd_ms,bwd_data_ms,bwd_weights_ms\n"
CONV = "src,W,H,C,N,K,S,R,pad_w,pad_h,sw,sh,fwd_ms,dgrad_ms,wgrad_ms,algo\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        *(
            (
                "deepbench_v100_gemm_fp32",
                f"{GEMM}x,1,2,3,N,N,1\ny,1,2,3,N,N,{wrong}\n",
                r"row 2 cannot be read: column 'ms' is .*; give a measured",
            )
            for wrong in ("nan", "-0.5", "0", "inf", "-inf", "1e308", "1e-320", "", "0x10", "1_0", "many")
        ),
        *(
            (
                "deepbench_v100_gemm_fp32",
                f"{GEMM}x,1,{wrong},3,N,N,1\n",
                r"row 1 cannot be read: column 'N' is .*; give a whole number",
            )
            for wrong in ("nan", "-5", "0", "2.5", "inf", "", "1_0", "9" * 5000, "\N{ARABIC-INDIC DIGIT FIVE}")
        ),
        ("deepbench_v100_gemm_fp32", f"{GEMM}x,1,2,3,Q,N,1\n", r"column 'tA' is 'Q'; give N or T"),
        ("deepbench_v100_gemm_fp32", f"{GEMM}x,1,2,3,N,N\n", r"row 1 cannot be read: 6 cells under a header of 7"),
        ("deepbench_v100_gemm_fp32", f"{GEMM}x,1,2,3,N,N,1,9\n", r"row 1 cannot be read: 8 cells under a header of 7"),
        (
            "deepbench_v100_gemm_fp32",
            "src,M,N,K,tA,tB\nx,1,2,3,N,N\n",
            r"row 1 cannot be read: there is no column 'ms'",
        ),
        ("deepbench_v100_gemm_fp32", "src,M,N,K,tA,tB,ms,ms\nx,1,2,3,N,N,1,2\n", r"the header names 'ms' 2 times"),
        ("deepbench_v100_gemm_fp32", GEMM, r"no measurements"),
        ("deepbench_v100_gemm_fp32", "", r"no measurements"),
        (
            "deepbench_v100_gemm_fp32",
            f"{GEMM}{'x' * 140_000},1,2,3,N,N,1\n",
            r"row 2: not CSV: field larger than field limit",
        ),
        (
            "deepbench_v100_conv_fp32",
            f"{CONV}x,8,8,1,1,1,3,3,0,0,0,1,1,1,1,A\n",
            r"row 1 cannot be read: column 'sw' is '0'",
        ),
        (
            "deepbench_v100_conv_fp32",
            f"{CONV}x,8,8,1,1,1,9,3,0,0,1,1,1,1,1,A\n",
            r"row 1 cannot be read: .* kernel \(3, 9\) does not fit",
        ),
        ("deepbench_v100_rnn_fp32", f"{RNN}X,y,1,1,1,1,1,1\n", r"column 'kind' is 'X'"),
    ],
)
def test_what_no_kernel_can_have_taken_is_refused_by_row_and_column(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SimhwError, match=words):
        read_measurements(tmp_path, name)


def test_a_byte_order_mark_and_trailing_commas_hide_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deepbench_v100_gemm_fp32.csv"
    path.write_bytes(b"\xef\xbb\xbf" + GEMM.strip().encode() + b",,\r\nx,100,20,30,T,N,0.5,,\r\n")
    (row,) = read_measurements(tmp_path, "deepbench_v100_gemm_fp32")
    assert row.seconds == pytest.approx(0.0005)
    path.write_bytes(GEMM.encode("utf-16"))
    with pytest.raises(SimhwError, match="line 1: byte 0xff is not UTF-8"):
        read_measurements(tmp_path, "deepbench_v100_gemm_fp32")


def test_images_per_second_and_watts_are_checked_alike(tmp_path: Path) -> None:
    (tmp_path / "ascend310_fps.csv").write_text(
        "model,batch,images_per_second\nResNet18,1,500\nResNet18,4,nan\n", encoding="utf-8"
    )
    with pytest.raises(
        SimhwError, match=r"ascend310_fps.csv: row 2 cannot be read: column 'images_per_second' is 'nan'"
    ):
        ascend.read_rows(tmp_path, "ascend310")
    watts = tmp_path / "accelwattch_v100_power.csv"
    for rows, words in (
        ("parboil_sgemm_k1,-3", "row 1 cannot be read: column 'mean HW_power' is '-3'"),
        (
            "parboil_sgemm_k1,3\nparboil_sgemm_k1,4",
            "row 2 cannot be read: kernel 'parboil_sgemm_k1' stands there a second time",
        ),
        ("parboil_sgemm_k1,3", "no row of cudaTensorCoreGemm_k1"),
    ):
        watts.write_text(f",mean HW_power\n{rows}\n", encoding="utf-8")
        with pytest.raises(SimhwError, match=words):
            power.watts(tmp_path, BENCHMARKS)


@measured
def test_every_file_is_read_before_any_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last file of the V100 took 2.5 minutes to be reached."""
    for path in DATA.glob("*v100*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    last = tmp_path / "accelwattch_v100_power.csv"
    last.write_text(last.read_text(encoding="utf-8").replace("219.7978", "inf"), encoding="utf-8")
    begun: dict[str, devices.Fit] = {"any": lambda _: pytest.fail("a fit began")}
    monkeypatch.setattr(devices, "FITS", {"v100": replace(devices.FITS["v100"], fits=begun)})
    with pytest.raises(SimhwError, match=r"row 1 cannot be read: column 'mean HW_power' is 'inf'"):
        devices.calibrate(load_device("v100"), tmp_path)


def test_a_fit_without_rows_of_its_kind_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "FITS", {"v100": devices.Fits((), {"gemm": lambda _: median([])})})
    with pytest.raises(SimhwError, match="too few rows to fit the constants of gemm"):
        devices.calibrate(load_device("v100"), tmp_path)


def test_networks_to_leave_out_are_needed_and_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / f"{ascend.measured_file('ascend310')}.csv"
    header, rows = "model,batch,images_per_second\n", ["ResNet18,1,800\n", "ResNet34,1,500\n"]
    for few, known in (("C3D,1,30\n", "none"), (rows[0] * 2, "ResNet18")):
        path.write_text(header + few, encoding="utf-8")
        with pytest.raises(
            SimhwError,
            match=rf"ascend310_fps.csv: a fit takes rows of two networks that are plain.*; there are {known}$",
        ):
            ascend.calibrate(tmp_path, "ascend310")
    path.write_text(header + "".join(rows), encoding="utf-8")
    constants, scores = ascend.calibrate(tmp_path, "ascend310")
    assert set(constants) == {"achieved.operator_s", "achieved.exposed"}
    assert [(score.name, score.rows) for score in scores] == [("plain networks", 2), ("ResNet18", 1), ("ResNet34", 1)]


def test_the_examples_of_the_page_are_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    files = [
        "deepbench_v100_gemm_fp32",
        "deepbench_v100_conv_fp16mix",
        "neusight_v100_conv",
        "deepbench_v100_rnn_fp32",
        "neusight_v100_gelu",
    ]
    for name, text in zip([*files, "h200_gemm", "ascend310_fps"], examples, strict=True):
        (tmp_path / f"{name}.csv").write_text(text)
    # The convolution's gradient of the weights was not measured; a recurrent layer has all three.
    assert [len(read_measurements(tmp_path, name)) for name in files] == [1, 2, 1, 3, 1]
    (product,) = read_kernels(tmp_path, "h200", "gemm")
    assert (product.seconds, product.eager_s) == pytest.approx((3.1e-6, 25.4e-6))
    assert ascend.read_rows(tmp_path, "ascend310") == [("ResNet18", 16, 2100.0)]


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    files = [BENCHMARKS.file(kernels) for kernels in (*READERS, power.FILE)]
    assert len(files) == 15
    assert [name for name in files if f"`{name}.csv`" not in page] == []
