"""`simhw capture` and `simhw workloads`: what they list, train, write and refuse."""

import builtins
import importlib.util
import json
import shlex
import sys
from pathlib import Path

import pytest

import simhw
from simhw.capture.steps import Wanted
from simhw.cli import main
from simhw.cli.training import wanted_steps
from simhw.errors import CaptureError
from simhw_workloads.data import images
from simhw_workloads.table import ROWS, workload

LOW_RANK = "lrd"
"""A workload of several phases."""


def test_a_workload_is_trained_and_its_steps_captured_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, record = tmp_path / "small-{step}.npz", tmp_path / "run.json"
    options = ["--steps", "5,late", "--max-steps", "60", "--seed", "3", "--threads", "1", "--record", str(record)]
    arguments = ["workloads", "run", "small-cnn-digits", "--capture", str(out), *options]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "dense step    60  training loss" in printed.out
    assert "of 360 held-out samples" in printed.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.json", "small-5.npz", "small-60.npz"]
    trace = simhw.load_trace(tmp_path / "small-60.npz")
    assert [layer.name for layer in trace.layers] == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    assert trace.layers[0].operations == ("forward", "weight_grad")
    assert not trace.sampled
    about = trace.metadata
    assert (about.model, about.dataset, about.technique, about.step) == ("SmallCNN", "scikit-learn digits", "dense", 60)
    assert (about.batch, about.seed) == (8, 3)
    assert about.capture_command == shlex.join(["simhw", *arguments])
    told = json.loads(record.read_text())
    assert (told["about"]["workload"], told["about"]["seed"], len(told["phases"][0]["losses"])) == (
        "small-cnn-digits",
        3,
        60,
    )


def test_capture_is_short_for_a_run_that_captures_an_early_and_a_late_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["capture", "small-cnn-digits", "--scale", "smoke"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trace-20.npz", "trace-60.npz"]
    assert simhw.load_trace("trace-20.npz").metadata.dataset == "smoke stand-in for scikit-learn digits"


def test_a_captured_step_can_take_a_smaller_batch_and_be_sampled(tmp_path: Path):
    out = tmp_path / "small.npz"
    options = ["--steps", "3", "--max-steps", "3", "--capture-batch", "4", "--max-bytes", "60kB", "--threads", "1"]
    assert main(["capture", "small-cnn-digits", "--out", str(out), *options]) == 0
    trace = simhw.load_trace(out)
    assert trace.metadata.batch == 4
    assert trace.layers[0].shapes["a"] == (4, 1, 8, 8)
    assert trace.sampled
    assert out.stat().st_size <= 60_000


def test_steps_of_every_phase_can_be_captured_each_saying_which_it_is_of(tmp_path: Path):
    out = tmp_path / "{phase}-{step}.npz"
    row = workload(LOW_RANK)
    first, captured = row.phases[0], row.captured
    assert (
        main(["workloads", "run", LOW_RANK, "--scale", "smoke", "--capture", str(out), "--steps", f"{first}:1,1"]) == 0
    )
    dense, factored = (simhw.load_trace(tmp_path / f"{phase}-1.npz") for phase in (first, captured))
    assert dense.metadata.technique == f"{row.technique} (phase {first})"
    assert factored.metadata.technique == f"{row.technique} (phase {captured})"
    assert len(factored.layers) > len(dense.layers)


def test_the_workloads_are_listed_by_family(capsys: pytest.CaptureFixture[str]):
    for arguments in (["capture"], ["workloads", "list"]):
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        for row in ROWS:
            assert f"  {row.name} " in printed
            assert f"{row.family}:" in printed


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_a_workload_is_shown_with_its_paper_and_its_signature(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["workloads", "show", name]) == 0
    printed, row = capsys.readouterr().out, workload(name)
    for said in (row.summary, row.model, row.dataset, row.paper, row.headline, *row.phases):
        assert said in printed
    for name, bounds in row.signature.bounds.items():
        assert any(
            line.startswith(f"trace: {name}") and line.endswith(f"{bounds.low:g} to {bounds.high:g}")
            for line in printed.splitlines()
        )


def test_the_words_early_and_late_stand_for_steps_of_the_captured_phase():
    row = workload("resnet50-fashion")
    assert wanted_steps("late, early,7", row) == [
        Wanted("dense", "late"),
        Wanted("dense", row.early),
        Wanted("dense", 7),
    ]
    assert wanted_steps("dense:3", row) == [Wanted("dense", 3)]
    assert wanted_steps("3/8,dense:8/8", row) == [Wanted("dense", "3/8"), Wanted("dense", "8/8")]
    assert Wanted("dense", "late").number(40) == Wanted("dense", "8/8").number(40) == 40
    assert Wanted("dense", "3/8").number(40) == 15
    assert Wanted("dense", "1/8").number(3) == 1
    for text, problem in (
        ("last", "'last' is neither"),
        ("0", "'0' is neither"),
        ("0/8", "'0/8' is neither"),
        ("9/8", "'9/8' is neither"),
        ("-1/8", "'-1/8' is neither"),
        ("1/0", "'1/0' is neither"),
        ("tune:3", "has no phase 'tune'; it has dense"),
        (",", "at least one"),
    ):
        with pytest.raises(CaptureError, match=problem):
            wanted_steps(text, row)
    with pytest.raises(CaptureError, match="no step 41 of phase dense; it has steps 1 to 40"):
        Wanted("dense", 41).number(40)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["gpt"], "no workload 'gpt'; there are resnet50-fashion"),
        (["resnet50-fashion", "--data", "EMPTY"], "install Debian's dataset-fashion-mnist, or give --data FOLDER"),
        (["resnet50-fashion"], "install Debian's dataset-fashion-mnist, or give --data FOLDER"),
        (["small-cnn-digits", "--data", "EMPTY"], "takes no --data folder"),
        (["small-cnn-digits", "--steps", "late,soon"], "'soon' is neither"),
        (["small-cnn-digits", "--steps", "41", "--max-steps", "40"], "no step 41 of phase dense"),
        (["small-cnn-digits", "--threads", "0"], "--threads 0"),
        (["small-cnn-digits", "--capture-batch", "0"], "--capture-batch 0"),
        (["small-cnn-digits", "--device", "abacus"], "abacus"),
        (["small-cnn-digits", "--record", "run.txt"], "run.txt"),
        (["small-cnn-digits", "--out", "EMPTY/none/t-{step}.npz"], "no such folder"),
        (["small-cnn-digits", "--out", "EMPTY/t.npz"], "put {phase} or {step} into it"),
        ([LOW_RANK, "--checkpoint", "EMPTY/c.npz"], "only a training of one can go on"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(images, "DEBIAN_FASHION_MNIST", tmp_path / "nowhere")
    assert main(["capture", *(part.replace("EMPTY", str(tmp_path)) for part in arguments)]) == 2
    printed = capsys.readouterr()
    assert problem in printed.err
    assert printed.err.startswith("simhw: ")
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [("--steps", "late"), ("--max-bytes", "1MB"), ("--capture-batch", "2")])
def test_options_of_a_trace_without_a_trace_are_refused_before_training(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
):
    assert main(["workloads", "run", "small-cnn-digits", *option]) == 2
    assert capsys.readouterr().err == f"simhw: {option[0]}: there is nothing to capture; give --capture FILE as well\n"


def test_a_step_that_the_checkpoint_is_past_is_not_lost_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = str(tmp_path / "c.npz")
    assert main(["workloads", "run", "small-cnn-digits", "--checkpoint", file, "--max-steps", "100"]) == 0
    out = str(tmp_path / "t.npz")
    arguments = [
        "workloads",
        "run",
        "small-cnn-digits",
        "--checkpoint",
        file,
        "--max-steps",
        "101",
        "--capture",
        out,
        "--steps",
        "50",
    ]
    assert main(arguments) == 2
    assert "step 50 of phase dense did not come" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["torch", "sklearn", "tensorly"])
@pytest.mark.parametrize(
    "arguments",
    [["capture", "small-cnn-digits"], ["workloads", "list"], ["workloads", "show", "lrd"], ["workloads", "matrix"]],
)
def test_without_a_library_commands_say_what_to_install(
    missing: str, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.split(".")[0] == "simhw_workloads"]:
        monkeypatch.delitem(sys.modules, name)
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else real(name))
    assert main(arguments) == 2
    assert (
        capsys.readouterr().err
        == f"simhw: the workloads need {missing}, which is not installed: pip install 'simhw[workloads]'\n"
    )


def test_without_pytorch_capture_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name == "torch" or name.startswith("simhw.capture")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without_torch(name: str, *rest: object) -> object:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(CaptureError, match=r"pip install 'simhw\[capture\]'"):
        importlib.import_module("simhw.capture")


def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from simhw.trace import writer

    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_write_layer", interrupted)
    assert (
        main(["capture", "small-cnn-digits", "--out", str(tmp_path / "t.npz"), "--steps", "2", "--threads", "1"]) == 130
    )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_says_which_traces_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from simhw_workloads import train

    indices = train.batch_indices

    def interrupted(samples: int, batch: int, seed: int, step: int) -> object:
        if step == 4:
            raise KeyboardInterrupt
        return indices(samples, batch, seed, step)

    monkeypatch.setattr(train, "batch_indices", interrupted)
    out = tmp_path / "t-{step}.npz"
    assert (
        main(
            ["capture", "small-cnn-digits", "--scale", "smoke", "--out", str(out), "--steps", "2,3,9", "--threads", "1"]
        )
        == 130
    )
    told = capsys.readouterr().err
    assert told == f"simhw: interrupted; 2 traces were written before: {tmp_path}/t-2.npz, {tmp_path}/t-3.npz\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t-2.npz", "t-3.npz"]


def test_a_step_that_a_later_phase_does_not_have_is_told_with_the_traces_written_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    row = workload(LOW_RANK)
    out, steps = str(tmp_path / "{phase}-{step}.npz"), f"{row.phases[0]}:1,{row.captured}:99999"
    assert main(["capture", LOW_RANK, "--scale", "smoke", "--out", out, "--steps", steps]) == 2
    told = capsys.readouterr().err
    assert f"no step 99999 of phase {row.captured}; it has steps 1 to" in told
    assert f"1 trace was written before: {tmp_path}/{row.phases[0]}-1.npz" in told
    # With a limit it is known before training.
    assert main(["capture", LOW_RANK, "--scale", "smoke", "--out", out, "--steps", steps, "--max-steps", "3"]) == 2
    assert f"no step 99999 of phase {row.captured}; it has steps 1 to 3\n" in capsys.readouterr().err
