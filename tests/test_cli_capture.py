import builtins
import shlex
import sys
from pathlib import Path

import pytest

import simhw
from simhw.cli import main
from simhw.cli.capture import captured_steps
from simhw.errors import CaptureError
from workloads import data
from workloads.recipes import recipe


def test_a_recipe_is_trained_and_its_steps_captured_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "small-{step}.npz"
    arguments = [
        "capture",
        "small-cnn-digits",
        "--out",
        str(out),
        "--steps",
        "5,late",
        "--max-steps",
        "60",
        "--seed",
        "3",
        "--threads",
        "1",
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "step    60  training loss" in printed.out
    assert "of 360 held-out images right" in printed.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small-5.npz", "small-60.npz"]
    trace = simhw.load_trace(tmp_path / "small-60.npz")
    assert [layer.name for layer in trace.layers] == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    assert trace.layers[0].operations == ("forward", "weight_grad")
    assert not trace.sampled
    about = trace.metadata
    assert (about.model, about.dataset, about.technique, about.step) == ("SmallCNN", "scikit-learn digits", "dense", 60)
    assert (about.batch, about.seed) == (8, 3)
    assert about.capture_command == shlex.join(["simhw", *arguments])


def test_a_captured_step_can_take_a_smaller_batch_and_be_sampled(tmp_path: Path):
    out = tmp_path / "small.npz"
    options = ["--steps", "3", "--max-steps", "3", "--capture-batch", "4", "--max-bytes", "60kB", "--threads", "1"]
    assert main(["capture", "small-cnn-digits", "--out", str(out), *options]) == 0
    trace = simhw.load_trace(out)
    assert trace.metadata.batch == 4
    assert trace.layers[0].shapes["a"] == (4, 1, 8, 8)
    assert trace.sampled
    assert out.stat().st_size <= 60_000


def test_the_recipes_are_listed(capsys: pytest.CaptureFixture[str]):
    assert main(["capture"]) == 0
    assert "resnet50-fashion" in capsys.readouterr().out


def test_the_words_early_and_late_stand_for_the_recipe_s_steps():
    row = recipe("resnet50-fashion")
    assert captured_steps("late, early,7", row, row.steps) == [7, row.early, row.late]
    assert captured_steps("late", row, 40) == [40]
    for text, problem in (
        ("last", "'last' is neither"),
        ("0", "no step 0"),
        ("41", "no step 41; this run has steps 1 to 40"),
        (",", "at least one"),
    ):
        with pytest.raises(CaptureError, match=problem):
            captured_steps(text, row, 40)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["vgg"], "no recipe 'vgg'; there are resnet50-fashion"),
        (["resnet50-fashion", "--data", "EMPTY"], "install Debian's dataset-fashion-mnist, or give --data FOLDER"),
        (["resnet50-fashion"], "install Debian's dataset-fashion-mnist, or give --data FOLDER"),
        (["small-cnn-digits", "--data", "EMPTY"], "takes no --data folder"),
        (["small-cnn-digits", "--steps", "late,soon"], "'soon' is neither"),
        (["small-cnn-digits", "--threads", "0"], "--threads 0"),
        (["small-cnn-digits", "--capture-batch", "0"], "--capture-batch 0"),
        (["small-cnn-digits", "--out", "EMPTY/none/t-{step}.npz"], "no such folder"),
        (["small-cnn-digits", "--out", "EMPTY/t.npz"], "put {step} into its name"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(data, "DEBIAN_FASHION_MNIST", tmp_path / "nowhere")
    assert main(["capture", *(part.replace("EMPTY", str(tmp_path)) for part in arguments)]) == 2
    printed = capsys.readouterr()
    assert problem in printed.err
    assert printed.err.startswith("simhw: ")
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_pytorch_it_says_what_to_install(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name == "torch" or name.startswith("simhw.capture")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without_torch(name: str, *rest: object) -> object:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_torch)
    assert main(["capture", "small-cnn-digits"]) == 2
    assert "simhw[capture]" in capsys.readouterr().err


def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from simhw.trace import format as trace_format

    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trace_format, "_write_layer", interrupted)
    assert main(["capture", "small-cnn-digits", "--out", str(tmp_path / "t.npz"), "--steps", "2", "--threads", "1"]) == 130
    assert list(tmp_path.iterdir()) == []
