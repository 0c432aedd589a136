"""`simhw reproduce`: the page it writes, what it keeps, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from simhw.cli import main
from simhw.reproduce import networks as listed
from simhw.reproduce import training
from simhw.reproduce.networks import Captured, Network, Step, captured, why_unfit
from simhw.reproduce.training import Settings, capturing
from simhw.trace.reader import trace_hash
from tests.cli_runs import fails, some_trace

pytestmark = pytest.mark.usefixtures("folder")
TRAINED = "small-cnn-digits"


def stand_ins(monkeypatch: pytest.MonkeyPatch, *networks: Network) -> None:
    monkeypatch.setattr(listed, "networks", lambda: {"fpraker": list(networks), "tensordash": []})


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix in (".md", ".csv")}


def test_the_same_command_gives_the_same_page_and_simulates_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some_trace().save("mine.npz")
    stand_ins(monkeypatch, Network(name="VGG16", bundled="mine", batch=4, bundled_differs="tiny"), Network(name="SNLI"))
    command = ["reproduce", "fpraker", "--figure", "speedup", "--runs", "runs", "--out", "out"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "VGG16 (mine)" in told
    assert "no trace yet" in told
    assert "out/fpraker.md" in told
    first, kept = files("out"), {path.name: path.stat().st_mtime_ns for path in Path("runs/simulations").iterdir()}
    assert set(first) == {"fpraker.md", "fpraker-speedup.csv"}
    assert main([*command, "--jobs", "2"]) == 0
    assert files("out") == first
    assert {path.name: path.stat().st_mtime_ns for path in Path("runs/simulations").iterdir()} == kept
    # Another figure joins the page, and the first one stays as it was.
    assert main(["reproduce", "fpraker", "--figure", "lanes", "--runs", "runs", "--out", "out"]) == 0
    page = Path("out/fpraker.md").read_text(encoding="utf-8")
    section = first["fpraker.md"].decode().partition("<!-- figure: speedup -->")[2]
    assert section.strip() in page
    assert "<!-- figure: lanes -->" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--figure", "nothing"], "has no such figure; it has speedup"),
        (["--jobs", "0"], "--jobs 0: give a number of at least 1"),
        (["--runs", "some.npz"], "--runs 'some.npz': cannot be made a folder"),
        (["--out", "some.npz/out"], "--out 'some.npz/out': cannot be made a folder"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in fails(capsys, "reproduce", "fpraker", *arguments)


def test_missing_trainings_are_run_and_kept_ones_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_ins(monkeypatch, Network(name="VGG16", workload=TRAINED, differs="tiny"))
    command = ["reproduce", "fpraker", "--figure", "footprint", "--runs", "runs", "--out", "out", "--scale", "smoke"]
    assert main([*command, "--no-training"]) == 0
    assert "no trace yet" in capsys.readouterr().out
    assert not Path("runs", f"{TRAINED}.json").exists()
    assert main(command) == 0
    assert f"VGG16 ({TRAINED}-" in capsys.readouterr().out
    monkeypatch.setattr(training, "_train", None)
    assert main(command) == 0  # nothing is trained twice
    smoke, network = Settings(Path("runs"), "smoke", 0), Network(name="VGG16", workload=TRAINED)
    assert why_unfit(TRAINED, smoke) is None
    found = captured(network, smoke)
    record = json.loads(smoke.record(TRAINED).read_text())
    assert [Path(step.path).name for step in found.steps] == list(record["traces"])
    assert found.steps[0].batch == record["phases"][-1]["batch"]
    assert why_unfit(TRAINED, replace(smoke, scale="full")) == "it was made with scale smoke, not full"
    assert why_unfit(TRAINED, replace(smoke, seed=1)) == "it was made with seed 0, not 1"
    some_trace().save(found.steps[0].path)
    reason = why_unfit(TRAINED, smoke)
    assert reason is not None
    assert "is not the trace that its record tells of" in reason
    assert captured(network, smoke).steps == ()
    Path(found.steps[0].path).unlink()
    assert "cannot be read" in str(why_unfit(TRAINED, smoke))


def test_a_training_that_was_cut_or_captured_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    some_trace().save("vgg16-100.npz")
    full, taken = Settings(Path(), "full", 0), capturing("vgg16")
    about = {"scale": "full", "seed": 0, "max_steps": None, "capture_batch": taken.samples}
    about |= {"max_bytes": taken.max_bytes, "steps": "train:100,train:late"}
    monkeypatch.setattr(listed, "capturing", lambda _: taken.model_copy(update={"moments": "early,late"}))

    def unfit(**changes: object) -> str | None:
        traces = {"vgg16-100.npz": trace_hash("vgg16-100.npz")}
        record = {"about": about | changes, "traces": traces, "phases": [{"name": "train", "batch": 32}]}
        full.record("vgg16").write_text(json.dumps(record))
        return why_unfit("vgg16", full)

    assert unfit() is None
    assert unfit(max_steps=7) == "it was made with max_steps 7, not None"
    assert unfit(capture_batch=1) == f"it was made with capture_batch 1, not {taken.samples}"
    for steps in ("train:late", "train:100,train:1/2,train:late", "train:late,train:100"):
        assert unfit(steps=steps) == "other steps were captured than early,late"


def test_the_first_moment_and_the_last_stand_for_a_network() -> None:
    steps = tuple(Step(f"vgg16-{number}.npz", str(number), 32) for number in (9, 100, 1500))
    assert [step.number for step in steps] == [9, 100, 1500]
    assert Captured(Network(name="VGG16"), steps).steps == (steps[0], steps[-1])
    assert Captured(Network(name="VGG16"), steps[:1]).steps == steps[:1]
    assert Captured(Network(name="VGG16"), ()).steps == ()


def test_the_folder_of_the_images_is_handed_on_to_those_that_take_images(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--data" not in training.command("bert-finetune", Settings(Path("r"), "full", 0, "mine"))
    stand_ins(monkeypatch, Network(name="VGG16", workload=TRAINED, differs="tiny"))
    trained: list[list[str]] = []
    monkeypatch.setattr(training, "_train", trained.append)
    assert main(["reproduce", "fpraker", "--figure", "footprint", "--runs", "r", "--out", "o", "--data", "mine"]) == 0
    ((*_, option, folder),) = trained
    assert (option, folder) == ("--data", "mine")


def test_a_training_that_fails_says_what_it_said_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Network(name="VGG16", workload="no-such-training", differs="tiny")
    stand_ins(monkeypatch, broken)
    command = ["reproduce", "fpraker", "--figure", "footprint", "--runs", "runs", "--out", "out", "--scale", "smoke"]
    assert "simhw workloads run no-such-training" in fails(capsys, *command)
    stand_ins(monkeypatch, broken, Network(name="SNLI", workload=TRAINED, differs="tiny"))
    trained: list[str] = []
    monkeypatch.setattr(training, "_train", lambda given: trained.append(given[2]) if TRAINED in given else "it broke")
    assert main(command) == 0
    assert trained == [TRAINED]
    told = capsys.readouterr()
    assert told.err == "simhw: it broke\n"
    assert "VGG16" in told.out.partition("no trace yet")[2]


@pytest.mark.parametrize("content", ["{}", "[]", '{"about": {}, "traces": {}, "phases": []}', "nothing"])
def test_what_is_no_record_is_refused_by_name(
    content: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_ins(monkeypatch, Network(name="VGG16", workload=TRAINED, differs="tiny"))
    Path("runs").mkdir()
    Path("runs", f"{TRAINED}.json").write_text(content)
    assert f"{TRAINED}.json" in fails(capsys, "reproduce", "fpraker", "--runs", "runs", "--out", "out")
