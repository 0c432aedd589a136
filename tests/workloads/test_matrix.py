"""The cross table: gains against the uncompressed model and against the bit-parallel baseline, from traces, with
scores.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from simhw.cli import main
from simhw.errors import WorkloadError
from simhw.report.matrix_plots import matrix_figure
from simhw.report.matrix_tables import Headings, matrix_page
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.networks.catalogue import load_network
from simhw.simulation.api import simulate
from simhw.trace.reader import load_trace
from simhw_workloads.devices import DEVICES, device_run
from simhw_workloads.full_size import full_size_step
from simhw_workloads.matrix import SIMULATED, StepCost, chosen_rows, needed, predicted_cost, table
from simhw_workloads.record import Phase, Record, Score
from simhw_workloads.table import workload
from simhw_workloads.train import Run

TECHNIQUE = "admm-tt"


def record(value: float, samples: int) -> Record:
    return Record([Phase("only", 1, 1, 1, 1, samples=samples)], [Score("only", "accuracy", value, 0.0, 10)])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole table of one technique at smoke scale."""
    folder = tmp_path_factory.mktemp("matrix")
    runs, out = str(folder / "runs"), str(folder / "table")
    assert (
        main(["workloads", "matrix", TECHNIQUE, "--scale", "smoke", "--runs", runs, "--out", out, "--max-bytes", "1MB"])
        == 0
    )
    return folder


def test_it_trains_captures_and_writes_table_page_and_picture(written: Path):
    assert sorted(path.name for path in written.iterdir()) == ["runs", "table.csv", "table.md", "table.png"]
    names = [row.name for row in needed([workload(TECHNIQUE)])]
    assert sorted(path.name for path in (written / "runs").iterdir()) == sorted(
        f"{name}{end}" for name in names for end in (".json", ".npz")
    )
    page = (written / "table.md").read_text()
    assert "command: simhw workloads matrix admm-tt" in page
    assert workload(TECHNIQUE).headline in page
    assert f"{workload(TECHNIQUE).model} on {workload(TECHNIQUE).dataset}" in page
    assert "![Heat map of the table](table.png)" in page


def test_a_simulated_gain_is_that_of_the_two_traces(written: Path):
    whole = pd.read_csv(written / "table.csv")
    assert [tuple(line) for line in whole[["size", "machine"]].to_numpy()] == [
        *(("narrow", machine) for machine in SIMULATED),
        *(("full", machine) for machine in (*SIMULATED, *DEVICES)),
    ]
    frame = whole[whole["size"] == "narrow"].set_index("machine")
    row = workload(TECHNIQUE)
    for machine in SIMULATED:
        mine, plain = (
            simulate(
                written / "runs" / f"{name}.npz",
                machine,
                batch=32,
                seed=0,
                baseline_compression=None if machine == "bf16" else "same",
            ).total
            for name in (row.name, row.baseline)
        )
        cell = frame.loc[machine]
        assert cell["speedup"] == pytest.approx(plain.overall.time_s / mine.overall.time_s)
        assert cell["energy_saving"] == pytest.approx(plain.overall.energy_j.mid / mine.overall.energy_j.mid)
        assert cell["compute_speedup"] == pytest.approx(plain.time_s / mine.time_s)
        if machine != "bf16":
            assert cell["over_bf16"] == pytest.approx(mine.overall_speedup)
            assert cell["both"] == pytest.approx(plain.overall_speedup * plain.overall.time_s / mine.overall.time_s)
        else:
            assert math.isnan(cell["over_bf16"])
    told = json.loads((written / "runs" / f"{row.name}.json").read_text())
    assert frame.loc["fpraker", "score"] == told["scores"][-1]["value"]


def test_every_machine_is_given_the_full_size_network(written: Path):
    whole = pd.read_csv(written / "table.csv")
    frame = whole[whole["size"] == "full"].set_index("machine")
    row = workload(TECHNIQUE)
    assert row.shapes is not None
    device = load_device("v100")
    seconds = estimate(row.shapes(Run(device="v100")), device, device_run(device, row.roofline_batch)).seconds
    assert frame.loc["v100", "seconds"] == pytest.approx(seconds)
    assert frame.loc["v100", "step"] == "full size, roofline"
    narrow = load_trace(written / "runs" / f"{TECHNIQUE}.npz")
    step = full_size_step(narrow, row.shapes(Run(device="v100")), 1, 0)
    made = simulate(step, "tensordash", 1e-3, batch=row.roofline_batch, baseline_compression="same").total
    assert frame.loc["tensordash", "seconds"] == pytest.approx(made.overall.time_s)
    assert frame.loc["tensordash", "step"] == "full size, simulated"


def test_a_step_of_two_passes_takes_twice_as_long_in_training_and_inference_is_one():
    assert workload("maestro").passes == 2
    network = load_network("resnet18")
    row, run = replace(workload("maestro"), shapes=lambda _: network), record(0.5, 1)
    for name, mode in DEVICES.items():
        device = load_device(name)
        once = estimate(network, device, device_run(device, row.roofline_batch))
        cost = predicted_cost(row, name, run)
        assert cost.seconds == pytest.approx((2 if mode == "training" else 1) * once.seconds)
        assert cost.energy_j == pytest.approx((2 if mode == "training" else 1) * once.energy_j.mid)
    doubled = StepCost(2.0, 3.0, 0.5, 1.0, 4.0, 5.0).times(2)
    assert doubled == StepCost(4.0, 6.0, 1.0, 2.0, 4.0, 5.0)


def test_a_network_whose_ranks_the_record_lacks_is_refused_with_the_workload_s_name():
    with pytest.raises(WorkloadError, match=r"^decompose-train: the record has no note 'rank\.layer1\.0\.conv1'"):
        predicted_cost(workload("decompose-train"), "v100", record(0.5, 1))


def test_runs_that_lie_there_are_used_again_unless_made_otherwise(written: Path, tmp_path: Path):
    traces = {path: path.stat().st_mtime_ns for path in (written / "runs").iterdir()}
    arguments = [
        "workloads",
        "matrix",
        TECHNIQUE,
        "--scale",
        "smoke",
        "--runs",
        str(written / "runs"),
        "--max-bytes",
        "1MB",
    ]
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    assert {path: path.stat().st_mtime_ns for path in (written / "runs").iterdir()} == traces
    assert (tmp_path / "again.csv").read_bytes() == (written / "table.csv").read_bytes()


def test_a_technique_that_takes_fewer_steps_gains_in_the_whole_run_but_not_at_inference():
    row = next(row for row in chosen_rows([]) if row.work is not None)
    assert row.baseline is not None
    assert row.work is not None
    plain, mine = record(0.9, 100), record(0.8, 50)
    known = {
        row.name: {("full", "bf16"): StepCost(2.0, 3.0), ("full", "ascend310"): StepCost(1.0, 1.0)},
        row.baseline: {("full", "bf16"): StepCost(4.0, 3.0, half_width=0.4), ("full", "ascend310"): StepCost(1.0, 1.0)},
    }
    # A row whose share of steps is half, whatever its own rule says.
    halved = replace(row, work=lambda record: record.phases[0].samples / 100)
    frame = table([halved], known, {row.name: mine, row.baseline: plain}).set_index("machine")
    assert (frame.loc["bf16", "speedup"], frame.loc["bf16", "run_speedup"]) == (2.0, 4.0)
    assert (frame.loc["bf16", "energy_saving"], frame.loc["bf16", "run_energy_saving"]) == (1.0, 2.0)
    # 10% of the baseline's time are 10% of the quotient.
    assert frame.loc["bf16", "speedup_ci95"] == pytest.approx(0.2)
    assert frame.loc["ascend310", "run_speedup"] == 1.0
    assert (frame.loc["bf16", "score"], frame.loc["bf16", "baseline_score"]) == (0.8, 0.9)
    page = matrix_page(frame.reset_index(), Headings("T", {"bf16": "BF"}), [], "", {row.name: ("told", "trained")})
    assert "| 4.00 ± 0.400 / 2.00 | 1.00 / 1.00 |" in page
    assert f"| {row.name} | told | trained | BF +300.0%" in page
    figure = matrix_figure(frame.reset_index(), Headings("T", {"bf16": "BF"}))
    assert [axes.get_title() for axes in figure.axes] == ["times as fast", "times less energy"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["4.00", "1.00"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(WorkloadError, match="small-cnn-digits is uncompressed itself"):
        chosen_rows(["small-cnn-digits"])
    for arguments, problem in (
        (["gpt"], "no workload 'gpt'"),
        ([TECHNIQUE, "--jobs", "0"], "--jobs 0"),
        ([TECHNIQUE, "--capture-batch", "0"], "--capture-batch 0"),
        ([TECHNIQUE, "--out", str(tmp_path / "none" / "table")], "there is no folder"),
        (["gqkva-mqa", "--data", str(tmp_path), "--scale", "full"], "train-images-idx3-ubyte.gz"),
    ):
        full = ["workloads", "matrix", *arguments, "--runs", str(tmp_path / "runs")]
        assert main(full if "--out" in arguments else [*full, "--out", str(tmp_path / "table")]) == 2
        printed = capsys.readouterr().err
        assert problem in printed
        assert printed.count("\n") == 1
    assert not list(tmp_path.glob("table*"))
