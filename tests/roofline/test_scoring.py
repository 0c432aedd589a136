"""Errors of shipped constants: on measurements that are a device's own predictions, or made from them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from simhw.cli import main
from simhw.errors import SimhwError
from simhw.roofline.calibration.pytorch.steps import measured_network
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.operators import Convolution, Gemm, Streaming
from simhw.roofline.predict import predict
from simhw.roofline.scoring.files import Scores, score_folder
from simhw.roofline.scoring.table import errors
from simhw.roofline.step.run import Run
from tests.cli_runs import fails

H200 = load_device("h200")
V100 = load_device("v100")
SHAPES = [(128, 256, 512), (1024, 768, 384), (4096, 4096, 4096), (130, 70, 50)]
STEPS = (
    "model,variant,batch,mode,precision,layout,optimiser,parameters,step_ms,step_ms_min,steps,peak_mb,power_w,"
    "energy_j,graph_ms"
)


def write(folder: Path, name: str, header: str, *rows: str) -> None:
    (folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def gemm_rows(factor: float, shapes: list[tuple[int, int, int]] = SHAPES, precision: str = "bf16") -> list[str]:
    rows = []
    for m, n, k in shapes:
        seconds = predict(Gemm(m, n, k, number=precision), H200).seconds  # type: ignore[arg-type]  # a literal
        rows.append(f"linear,1,{m},{n},{k},{precision},{factor * seconds * 1e3!r},")
    return rows


def write_gemm(folder: Path, *rows: str) -> None:
    write(folder, "h200_gemm", "kind,b,m,n,k,precision,ms,eager_us", *rows)


def means(scores: Scores) -> dict[str, float]:
    return {table.title: errors(table.rows).mean for table in scores.tables}


@pytest.mark.parametrize(("factor", "error", "bias"), [(1.0, 0.0, 0.0), (2.0, 50.0, -50.0), (0.5, 100.0, 100.0)])
def test_errors_are_percent_of_what_was_measured(tmp_path: Path, factor: float, error: float, bias: float) -> None:
    write_gemm(tmp_path, *gemm_rows(factor))
    (table,) = score_folder(H200, tmp_path).tables
    found = errors(table.rows)
    assert (found.rows, found.mean, found.median) == pytest.approx((4, error, error), abs=1e-6)
    assert found.bias == pytest.approx(bias, abs=1e-6)
    # Twice m n k: 33.6 M, 604 M, 137 G and 0.9 M operations.
    assert [table.size_class(row) for row in table.rows] == ["small", "medium", "large", "small"]


def test_textbook_is_the_larger_of_work_and_traffic_at_their_peaks(tmp_path: Path) -> None:
    write_gemm(tmp_path, "linear,1,4096,4096,4096,bf16,1.0,")
    (table,) = score_folder(H200, tmp_path).tables
    peak = 132 * 1980e6 * 4096
    assert table.rows[0].textbook == pytest.approx(1e3 * 2 * 4096**3 / peak)


def test_every_file_of_our_own_formats_is_scored_without_error_on_own_predictions(tmp_path: Path) -> None:
    write_gemm(tmp_path, *gemm_rows(1.0))
    convolution = Convolution("forward", 8, 64, 128, (28, 28), (3, 3), (1, 1), (1, 1), (1, 1), number="fp32")
    seconds = predict(convolution, H200).seconds
    header = "source,n,c,h,w,k,r,s,stride,pad,groups,precision,layout,operation,ms"
    write(tmp_path, "h200_conv", header, f"mine,8,64,28,28,128,3,3,1,1,1,fp32,nchw,forward,{seconds * 1e3!r}")
    added = Streaming("elementwise", "add", 512, 1024, 8.0 * 512 * 1024, 4.0 * 512 * 1024, 512.0 * 1024)
    prediction = predict(added, H200)
    # Calls in a stream, each of which waits for its launch.
    seconds = prediction.seconds + H200.values.gap_s(prediction)
    header = "kind,rows,width,precision,operation,ms,eager_us"
    write(tmp_path, "h200_streaming", header, f"add,512,1024,fp32,forward,{seconds * 1e3!r},")
    assert means(score_folder(H200, tmp_path)) == pytest.approx(
        {"products": 0, "convolutions": 0, "functions": 0}, abs=1e-6
    )


def test_library_calls_are_scored_on_the_device_and_the_frameworks_alone(tmp_path: Path) -> None:
    gemm = Gemm(m=512, n=1024, k=256, transposed=(False, False))
    header = "src,M,N,K,tA,tB,ms"
    # The library's matrices are column-major: its M is our n.
    write(tmp_path, "deepbench_v100_gemm_fp32", header, f"mine,1024,512,256,N,N,{predict(gemm, V100).seconds * 1e3!r}")
    linear = replace(gemm, transposed=(False, True))
    header = "latency,kernel_name,grid_x,grid_y,grid_z,b,m,n,k"
    latency = predict(linear, V100).alone_s * 1e3
    write(tmp_path, "neusight_v100_linear", header, f"{latency!r},volta_sgemm,1,1,1,1,512,256,1024")
    write(tmp_path, "accelwattch_v100_power", ",mean HW_power", "kmeans_k1,100")
    scores = score_folder(V100, tmp_path)
    assert means(scores) == pytest.approx(
        {"products (DeepBench, library calls)": 0, "products (NeuSight, in PyTorch)": 0}, abs=1e-6
    )
    assert [each.place for each in scores.left_out] == ["accelwattch_v100_power.csv"]
    # A board is scored on files that are named after its chip.
    assert len(score_folder(load_device("v100-pcie"), tmp_path).tables) == 2


def test_halves_are_those_that_the_fits_see_and_do_not_see(tmp_path: Path) -> None:
    write_gemm(tmp_path, *gemm_rows(1.0, SHAPES[:3]), *gemm_rows(2.0, SHAPES[1:2], "fp32"))
    places = {
        half: [row.place for row in score_folder(H200, tmp_path, half).tables[0].rows]  # type: ignore[arg-type]  # literals
        for half in ("all", "fitted", "scored")
    }
    # Shapes count, and the second shape's row in fp32 is with its other one.
    assert places["fitted"] == ["h200_gemm.csv:1", "h200_gemm.csv:3"]
    assert places["scored"] == ["h200_gemm.csv:2", "h200_gemm.csv:4"]
    assert len(places["all"]) == 4


def test_files_without_halves_are_left_out_where_one_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "ascend310_fps", "model,batch,images_per_second", "ResNet18,16,2000", "Unknown,1,10")
    device = load_device("ascend310")
    whole, half = score_folder(device, tmp_path), score_folder(device, tmp_path, "scored")
    (table,) = whole.tables
    assert [(row.kind, row.measured) for row in table.rows] == [("ResNet18", 2000)]
    assert [each.place for each in whole.left_out] == ["ascend310_fps.csv:2"]
    assert (half.tables, [each.place for each in half.left_out]) == ([], ["ascend310_fps.csv"])


def step_row(variant: str, factor: float, graph_factor: float) -> str:
    run, network = Run(8, "inference", "bf16"), measured_network("resnet18", variant)
    eager, graph = estimate(network, H200, run), estimate(network, H200, replace(run, launch="graph"))
    times = f"{factor * eager.seconds * 1e3!r},,,,,{eager.energy_j.mid!r},{graph_factor * graph.seconds * 1e3!r}"
    return f"resnet18,{variant},8,inference,bf16,nchw,,{network.parameters},{times}"


def test_steps_energy_and_gains(tmp_path: Path) -> None:
    unknown = "resnet19,dense,8,inference,bf16,nchw,,1000,1.0,,,,,,"
    other = "resnet34,dense,8,inference,bf16,nchw,,1000,1.0,,,,,,"
    write(tmp_path, "h200_steps", STEPS, step_row("dense", 1, 1), step_row("vanilla", 2, 1), unknown, other)
    scores = score_folder(H200, tmp_path)
    assert means(scores) == pytest.approx(
        {
            "whole steps, issued from Python": 25,  # 0 and 50
            "whole steps, as one graph": 0,
            "energy of whole steps, issued from Python": 0,
        },
        abs=1e-6,
    )
    assert [(each.place, each.why.split(",")[0]) for each in scores.left_out] == [
        ("h200_steps.csv:3", "no network 'resnet19' in a variant 'dense'"),
        ("h200_steps.csv:4", "resnet34 has 21"),
    ]
    eager, graph = scores.gains
    assert graph.measured == pytest.approx(graph.predicted)
    # A step that takes twice as long has half the throughput: 100 + measured is half of 100 + predicted.
    assert 100 + eager.measured == pytest.approx((100 + eager.predicted) / 2)
    assert (eager.launch, eager.deviation) == ("eager", pytest.approx(50 + eager.predicted / 2))


def test_a_gain_of_the_wrong_sign_counts_where_it_is_clear(tmp_path: Path) -> None:
    # Decomposition is predicted to change little; measured it halves the throughput, then doubles it.
    write(tmp_path, "h200_steps", STEPS, step_row("dense", 1, 1), step_row("vanilla", 4, 0.25))
    eager, graph = score_folder(H200, tmp_path).gains
    assert eager.measured < -5 < 5 < graph.measured
    assert {eager.wrong_sign, graph.wrong_sign} == {True, False}


def test_rows_that_a_device_cannot_run_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "v100_gemm", "kind,b,m,n,k,precision,ms,eager_us", "linear,1,64,64,64,bf16,0.1,")
    scores = score_folder(V100, tmp_path)
    assert scores.tables == []
    assert "v100 has no rates for bf16" in scores.left_out[0].why


def test_files_may_be_called_otherwise(tmp_path: Path) -> None:
    write_gemm(tmp_path, *gemm_rows(1.0))
    with pytest.raises(
        SimhwError, match=r"no measurements of 'v100'; looked for v100_gemm\.csv, .*deepbench_v100_gemm"
    ):
        score_folder(V100, tmp_path)
    assert score_folder(load_device("h200", **{"hardware.sms": 66}), tmp_path, called="h200").tables


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["roofline", "score", *arguments]) == 0
    return capsys.readouterr().out


def test_the_first_screen_has_a_line_for_each_file_and_details_one_for_each_kind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_gemm(tmp_path, *gemm_rows(2.0), "bmm,4,64,64,64,fp32,1.0,")
    text = run(capsys, "--device", "h200", "--data", str(tmp_path), "--worst", "1")
    (line,) = [line for line in text.splitlines() if line.strip().startswith("products ")]
    assert line.split()[1] == "5"
    # A millisecond for a small product is further off than twice a prediction.
    assert "h200_gemm.csv:5" in text
    assert "h200_gemm.csv:1" not in text
    details = run(capsys, "--device", "h200", "--data", str(tmp_path), "--details")
    (linear,) = [line.split() for line in details.splitlines() if line.strip().startswith("linear ")]
    assert linear[1:5] == ["4", "50.0", "50.0", "-50.0"]
    assert "small: under 100 MFLOP, large: from 10 GFLOP" in details


def test_results_as_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_gemm(tmp_path, *gemm_rows(2.0))
    arguments = ["roofline", "score", "--device", "h200", "--data", str(tmp_path), "--json"]
    assert main([*arguments, "--out", str(tmp_path / "rows.json")]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert dict(zip(table["columns"], table["rows"][0], strict=True))["mean %"] == pytest.approx(50)
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert [row["error_percent"] for row in rows] == pytest.approx([-50] * 4)


@pytest.mark.parametrize(
    ("name", "header", "row", "says"),
    [
        ("h200_gemm", "kind,b,m,n,k,precision,ms,eager_us", "linear,1,8,8,8,fp32,nan,", "row 1 .*'ms' is 'nan'"),
        ("h200_gemm", "kind,b,m,n,k,precision,ms,eager_us", "conv,1,8,8,8,fp32,1,", "row 1 .*give linear or bmm"),
        ("h200_steps", STEPS, "resnet18,dense,8,idle,fp32,nchw,,,1.0,,,,,,", "row 1 .*'mode' is 'idle'"),
        ("h200_steps", STEPS, "resnet18,dense,8,inference,fp32,nchw,,,-1,,,,,,", "row 1 .*'step_ms' is '-1'"),
        ("h200_streaming", "kind,rows,width,precision,operation,ms,eager_us", "add,8", "row 1 .*2 cells"),
    ],
)
def test_a_row_that_cannot_be_read_is_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, header: str, row: str, says: str
) -> None:
    write(tmp_path, name, header, row)
    line = fails(capsys, "roofline", "score", "--device", "h200", "--data", str(tmp_path))
    assert re.search(says, line)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--data", "nowhere"), "nowhere: no such folder"),
        (("--data", "."), "no measurements of 'v100'; looked for"),
        (("--data", ".", "--worst", "-1"), "--worst -1"),
        (("--data", ".", "--device", "a100"), "no device 'a100'"),
        (("--data", ".", "--out", "scores.txt"), "must end in one of"),
    ],
)
def test_what_cannot_be_used_is_said(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in fails(capsys, "roofline", "score", *arguments)
