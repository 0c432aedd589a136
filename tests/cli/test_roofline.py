"""`simhw roofline`: what it says of a step, side by side, its files, and input that cannot be used."""

import argparse
import csv
import json
from pathlib import Path
from typing import get_args

import pytest

from simhw.cli import main, roofline
from simhw.roofline import numbers, operators
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step import attention, run
from tests.cli_runs import fails


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["roofline", *arguments]) == 0
    return capsys.readouterr().out


def fact(text: str, name: str) -> str:
    (found,) = [line[len(name) :].strip() for line in text.splitlines() if line.startswith(f"{name} ")]
    return found


def row(text: str, name: str) -> list[str]:
    """The words of the first table row that begins so."""
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


def test_step_is_told_as_it_was_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(
        capsys, "--model", "resnet18", "--device", "v100", "--precision", "amp", "--batch", "64", "--mode", "training"
    )
    expected = estimate(load_network("resnet18"), load_device("v100"), run.Run(64, "training", "amp", "eager"))
    assert fact(text, "run") == "training, amp, batch 64, eager elementwise, sgd"
    assert fact(text, "step") == f"{expected.seconds * 1e3:,.4g} ms, {expected.samples_per_s:,.4g} samples/s"
    assert fact(text, "network").startswith("resnet18: 11.69 M parameters, 1.814 G MACs a sample; ")
    for phase in ("forward", "input_grad", "weight_grad", "update"):
        seconds = sum(prediction.seconds for work, prediction in expected.work if work.phase == phase)
        assert row(text, phase)[2] == f"{seconds * 1e3:,.4g}"
    assert row(text, "total")[2] == f"{expected.device_s * 1e3:,.4g}"


def test_per_layer_table_has_every_layer_and_the_short_one_the_longest(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--model", "resnet18", "--device", "ascend310", "--mode", "inference", "--batch", "8")
    names = [layer.name for layer in load_network("resnet18").layers if "conv" in layer.name]
    whole, short = output(capsys, *arguments, "--per-layer"), output(capsys, *arguments)
    assert [name for name in names if any(line.split()[:1] == [name] for line in whole.splitlines())] == names
    assert "update" not in whole
    assert sum(any(line.split()[:1] == [name] for line in short.splitlines()) for name in names) <= 12


def test_two_devices_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(
        capsys,
        "--model",
        "resnet18",
        "--device",
        "v100",
        "--precision",
        "fp16",
        "--mode",
        "inference",
        "--compare",
        "v100-pcie",
    )
    first, second, ratio = (float(cell.rstrip("x").replace(",", "")) for cell in row(text, "convolution,")[2:])
    # The boards differ in clock alone: the slower one needs at most the clocks' ratio more.
    assert 1380 / 1530 - 0.01 <= first / second < 1
    assert ratio == pytest.approx(first / second, abs=0.001)


def test_two_networks_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--model", "resnet34", "--device", "ascend910", "--compare", "resnet18")
    assert row(text, "parameters,") == ["parameters,", "M", "21.8", "11.69", "1.865x"]
    assert text.count("network  ") == 2


def test_table_is_written_with_what_made_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    text = output(capsys, "--model", "resnet18", "--batch", "4", "--out", str(path))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    total = sum(float(each["seconds"]) for each in rows)
    assert row(text, "total")[2] == f"{total * 1e3:,.4g}"
    assert {each["device_hash"] for each in rows} == {load_device("v100").content_hash}
    assert {(each["network"], each["batch"], each["precision"]) for each in rows} == {("resnet18", "4", "amp")}
    output(capsys, "--model", "resnet18", "--batch", "4", "--out", str(tmp_path / "t.json"))
    assert len(json.loads((tmp_path / "t.json").read_text())) == len(rows)


def test_picture_is_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "p.svg"
    output(capsys, "--model", "resnet18", "--device", "ascend910", "--compare", "v100", "--plot", str(path))
    text = path.read_text()
    assert "fp16 matrix peak 262.1 TFLOP/s" in text.replace("<!-- ", "")
    assert "DRAM 900 GB/s" in text


def test_override_of_the_device_changes_the_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--model", "resnet18", "--precision", "fp32", "--batch", "64")
    whole = float(row(output(capsys, *arguments), "total")[2])
    half = float(row(output(capsys, *arguments, "--set", "hardware.sms=40"), "total")[2])
    assert 1.2 < half / whole <= 2.05
    assert "v100:hardware.sms=40" in fact(output(capsys, *arguments, "--device", "v100:sms=40"), "device")


def test_device_of_ones_own_takes_overrides_and_is_compared_with(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        'extends: devices/v100\nname: mine\nhardware: {sms: {value: 60, source: "a guess", confidence: 0.1}}\n'
    )
    text = output(capsys, "--model", "resnet18", "--device", str(path), "--set", "hardware.l2_bytes=4194304")
    assert "mine:hardware.l2_bytes=4194304" in fact(text, "device")
    text = output(capsys, "--model", "resnet18", "--compare", str(path))
    assert [line.split()[1].rstrip(",") for line in text.splitlines() if line.startswith("device ")] == ["v100", "mine"]


def test_layer_list_is_compared_with(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table, listed = tmp_path / "topology.csv", tmp_path / "list.yaml"
    table.write_text("Layer, M, N, K,\nproduct, 64, 64, 64,\n")
    listed.write_text("name: tiny\ninput: [1, 64]\nlayers:\n  - linear: {name: fc, out: 64}\n")
    for path, name in ((table, "topology:"), (listed, "tiny:")):
        text = output(capsys, "--model", "resnet18", "--compare", str(path))
        assert [line.split()[1] for line in text.splitlines() if line.startswith("network ")] == ["resnet18:", name]


def test_trace_gives_its_own_batch(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--trace", "resnet50.npz", "--device", "ascend910")
    assert "batch 4," in fact(text, "run")
    assert "resnet50" in fact(text, "network")


def test_a_topology_gives_its_own_batch_and_cautions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "topology.csv"
    path.write_text(
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, Batch, "
        "Sparsity\n"
        "convA, 34, 34, 3, 3, 16, 32, 1, 8, 2:4\n",
        encoding="utf-8",
    )
    text = output(capsys, "--layers", str(path), "--device", "ascend310", "--mode", "training")
    assert "batch 8," in fact(text, "run")
    cautions = [line for line in text.splitlines() if line.startswith("Caution: ")]
    assert ["dense" in line for line in cautions] == [True, False]
    assert "ascend310 is sold for inference alone" in cautions[1]
    assert "batch 1," in fact(output(capsys, "--layers", str(path), "--batch", "1"), "run")


def test_layer_list_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "topology.csv"
    path.write_text(
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
        "Conv1, 229, 229, 7, 7, 3, 64, 2,\n"
    )
    text = output(capsys, "--layers", str(path), "--mode", "inference", "--batch", "2")
    # 112 x 112 outputs of 64 filters of 147 taps, two images.
    assert float(row(text, "convolution")[4]) == pytest.approx(2 * 2 * 112 * 112 * 64 * 147 / 1e9, rel=1e-3)


def test_list_names_every_network(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--model", "list")
    for name in (
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "vgg16",
        "bert-base",
        "bert-large",
        "vit-s",
    ):
        assert row(text, name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no network: give --model, --layers or --trace"),
        (("--model", "resnet51"), "no network 'resnet51'"),
        (("--model", "resnet18", "--device", "a100"), "no device 'a100'"),
        (("--model", "resnet18", "--batch", "0"), "batch is 0"),
        (("--model", "resnet18", "--precision", "int8"), "int8 is for inference"),
        (("--model", "resnet18", "--set", "sms"), "key=value"),
        (("--model", "resnet18", "--set", "nothing=3"), "no value 'nothing'"),
        (("--model", "resnet18", "--sequence", "12"), "sequence"),
        (("--model", "resnet18", "--out", "t.txt"), "must end in one of"),
        (("--model", "resnet18", "--plot", "nowhere/p.png"), "there is no folder"),
        (("--trace", "nothing.npz"), "nothing.npz"),
        (("--trace", "resnet50.npz", "--sequence", "12"), "--sequence and --cache set sizes of a layer list"),
        (("--model", "bert-base", "--sequence", "4096"), "sequence is 4,096, more than the positions of 512"),
        (("--layers", "x" * 300 + ".yaml"), "no network 'xxx"),
        (("--layers", "."), "no network '.'"),
        (("--model", "resnet18", "--batch", "9" * 30), "batch is"),
        (("calibrate", "--device", "v100", "--data", "nowhere"), "nowhere: no such folder"),
        (("calibrate", "--device", "ascend910", "--data", "."), "no constants of ascend910 are fitted"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in fails(capsys, "roofline", *arguments)
    assert not list(tmp_path.iterdir())


def test_options_offer_all_that_a_run_takes() -> None:
    """The parser spells them out, since importing them would slow every command down."""
    commands = argparse.ArgumentParser().add_subparsers()
    roofline.add_parser(commands)
    actions = {action.dest: action for action in commands.choices["roofline"]._actions}
    for name, kind in (
        ("mode", run.Mode),
        ("precision", numbers.Precision),
        ("fusion", run.Fusion),
        ("optimizer", run.Optimizer),
        ("launch", run.Launch),
        ("layout", operators.Layout),
        ("attention", attention.Attend),
        ("zero", run.Zero),
    ):
        assert set(actions[name].choices or ()) == set(get_args(kind))
