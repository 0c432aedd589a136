"""The script that measures a device: what it writes is read, and it goes on where it was stopped."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from simhw.roofline.calibration.measured_rows import measured_rows
from simhw.roofline.calibration.pytorch.steps import measured_network
from simhw.roofline.device import load_device
from simhw.roofline.scoring.files import score_folder
from tests.places import ROOT

torch = pytest.importorskip("torch")
KERNELS = ("gemm", "conv", "streaming", "other")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_device", ROOT / "reports" / "measure_device.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure_device"] = module
    spec.loader.exec_module(module)
    module.LOOP_CALLS = 1  # one call is as good to see that it is made
    return module


@pytest.fixture(scope="module")
def measured(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    assert script.main(["mine", "--out", str(folder), "--device", "cpu", "--quick", "--only", *KERNELS]) == 0
    return folder


def test_every_row_is_read_and_scored(measured: Path) -> None:
    scores = score_folder(load_device("h200"), measured, called="mine")
    assert scores.left_out == []
    counts = {table.title: len(table.rows) for table in scores.tables}
    for what in ("gemm", "conv", "streaming", "other"):
        assert len(measured_rows(measured, f"mine_{what}")) > 10, what
    assert counts["products"] == len(measured_rows(measured, "mine_gemm"))
    assert counts["convolutions"] == len(measured_rows(measured, "mine_conv"))
    assert counts["functions"] == len(measured_rows(measured, "mine_streaming"))
    others = counts["fused attention"] + counts["LSTM"] + counts["optimizers and copies"]
    assert others == len(measured_rows(measured, "mine_other"))


def test_it_goes_on_where_it_was_stopped(
    script: ModuleType, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = measured / "mine_gemm.csv"
    before = path.read_text(encoding="utf-8")
    arguments = ["mine", "--out", str(measured), "--device", "cpu", "--quick", "--only", "gemm"]
    path.write_text(before[: before.rstrip().rfind("\n") + 9], encoding="utf-8")  # the last row cut off in its middle
    assert script.main(arguments) == 0
    assert capsys.readouterr().out.count("gemm: ") == 1
    after = path.read_text(encoding="utf-8")
    assert [line.rsplit(",", 2)[0] for line in after.splitlines()] == [
        line.rsplit(",", 2)[0] for line in before.splitlines()
    ]
    assert script.main(arguments) == 0
    assert path.read_text(encoding="utf-8") == after


def test_a_shape_that_fails_is_told_and_the_others_are_measured(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def linear(*operands: object) -> object:
        calls.append(operands)
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return None

    monkeypatch.setattr(script.functional, "linear", linear)
    assert script.main(["mine", "--out", str(tmp_path), "--device", "cpu", "--quick", "--only", "gemm"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("gemm: ")]
    assert [line.endswith("left out: out of memory") for line in lines] == [True] + [False] * (len(lines) - 1)
    assert len(measured_rows(tmp_path, "mine_gemm")) == len(lines) - 1


def test_a_file_of_other_columns_is_left_alone(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "mine_gemm.csv"
    path.write_text("m,n,k\n1,2,3\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="has other columns than are measured"):
        script.main(["mine", "--out", str(tmp_path), "--device", "cpu", "--quick", "--only", "gemm"])
    assert path.read_text(encoding="utf-8") == "m,n,k\n1,2,3\n"


def test_its_networks_have_the_parameters_of_their_layer_lists(script: ModuleType) -> None:
    for (model, variant), (build, _, _) in script.MODELS.items():
        with torch.device("meta"):
            parameters = sum(each.numel() for each in build().parameters())
        assert parameters == measured_network(model, variant).parameters, model


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_a_line_says_what_to_do(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["mine", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("measure_device.py: no GPU that PyTorch can use; --device cpu --quick")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_whole_steps_are_read_and_scored(script: ModuleType, tmp_path: Path) -> None:
    assert script.main(["mine", "--out", str(tmp_path), "--device", "cpu", "--quick", "--only", "steps"]) == 0
    (table,) = score_folder(load_device("h200"), tmp_path, called="mine").tables
    assert [(row.kind, row.what) for row in table.rows] == [
        ("resnet18 dense", "training, batch 1, nchw"),
        ("resnet18 dense", "inference, batch 1, nchw"),
    ]
