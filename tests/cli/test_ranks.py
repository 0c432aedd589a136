"""`simhw roofline ranks`: variants of a network, one layer's staircase, budgets, and what cannot be asked."""

import csv
from pathlib import Path

import numpy as np
import pytest

from simhw import Layer, Trace
from simhw.bfloat16 import from_float32
from simhw.cli import main
from simhw.cli import ranks as ranks_command
from simhw.roofline.compression.choice import options
from simhw.roofline.compression.decompose import factors
from simhw.roofline.compression.ranks import LayerTimer, optimised_rank
from simhw.roofline.device import load_device
from simhw.roofline.layers.network import Linear
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.run import Run
from simhw.trace.metadata import Metadata
from tests.cli_runs import fails

INFERENCE = ("--device", "ascend310", "--mode", "inference", "--batch", "8")


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["roofline", "ranks", *arguments]) == 0
    return capsys.readouterr().out


def row(text: str, name: str) -> list[str]:
    """The words of the first table row that begins so, the name taken off."""
    return next(line.strip()[len(name) :].split() for line in text.splitlines() if line.strip().startswith(name))


def test_variants_stand_beside_the_original(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--model", "resnet18", *INFERENCE)
    original, vanilla, optimised, chosen = (
        row(text, name) for name in ("original", "vanilla, 2x", "optimised ranks", "chosen layers")
    )
    assert original[:2] == ["11.69", "1.814"]
    assert original[-1] == "+0.00%"
    assert float(vanilla[0]) < 0.6 * float(original[0])
    # The choice has all ranks and the whole layers to take from, so nothing beats it.
    gains = [float(cells[-1].rstrip("%")) for cells in (original, vanilla, optimised, chosen)]
    assert gains[3] >= max(gains[:3]) - 0.01


def test_budget_limits_what_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--model", "resnet18", *INFERENCE, "--budget", "removed=0.1")
    left = float(row(text, "chosen layers, removed=0.1")[0])
    assert 0.9 * 11.69 - 0.01 <= left < 11.69
    text = output(capsys, "--model", "resnet18", *INFERENCE, "--budget", "parameters=8e6")
    assert float(row(text, "chosen layers, parameters=8e6")[0]) <= 8.0


def test_budget_of_energy_looks_at_the_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer whose weights have rank 8 can be decomposed for nothing; one of full rank cannot."""
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    arrays = {"first": normal(768, 64), "low": normal(768, 8) @ normal(8, 768), "full": normal(768, 768)}
    layers = [
        Layer(
            name,
            "linear",
            a=from_float32(normal(64, w.shape[1])),
            w=from_float32(w),
            g=from_float32(normal(64, w.shape[0])),
        )
        for name, w in arrays.items()
    ]
    Trace(layers, Metadata("net", "none", "dense", step=1, batch=64)).save(tmp_path / "t.npz")
    monkeypatch.chdir(tmp_path)
    text = output(
        capsys,
        "--trace",
        "t.npz",
        "--device",
        "v100",
        "--batch",
        "8192",
        "--budget",
        "energy=0.001",
        "--precision",
        "fp32",
    )
    chosen = text[text.index("Chosen layers:") :]
    assert row(chosen, "low")
    assert "full" not in chosen


def test_staircase_of_one_layer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table, picture = tmp_path / "s.csv", tmp_path / "s.svg"
    arguments = (
        "--model",
        "resnet18",
        *INFERENCE,
        "--layer",
        "layer4.1.conv2",
        "--out",
        str(table),
        "--plot",
        str(picture),
    )
    text = output(capsys, *arguments)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(each["rank"]) for each in rows] == list(range(1, 513))
    timer = LayerTimer(load_device("ascend310"), Run(8, "inference", "fp16", "fused"))
    layer = next(each for each in load_network("resnet18").layers if each.name == "layer4.1.conv2")
    assert float(rows[256]["seconds"]) == pytest.approx(timer.seconds(factors(layer, 257)))  # type: ignore[arg-type]
    # Channels are padded to 16: no step but behind a multiple of 16.
    steps = [
        int(line.split()[0])
        for line in text.splitlines()
        if line.split()[3:4] and line.split()[3].startswith("+") and line.split()[0].isdigit()
    ]
    assert steps
    assert all(rank % 16 == 0 for rank in steps)
    assert "vanilla  rank 309 (2 times fewer weights)" in text
    assert "layer4.1.conv2 on ascend310: inference, fp16, batch 8" in picture.read_text()


CRITIC = """
name: critic
input: [1, 64]
layers:
  - linear: {name: fc1, out: 256}
  - relu: {name: r1}
  - linear: {name: fc2, out: 256}
  - relu: {name: r2}
  - linear: {name: value, out: 1}
"""


def test_a_layer_without_a_rank_stays_whole_and_the_others_do_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, table = tmp_path / "critic.yaml", tmp_path / "t.csv"
    path.write_text(CRITIC, encoding="utf-8")
    text = output(capsys, "--layers", str(path), "--device", "v100", "--out", str(table))
    assert "No rank has 2 times fewer weights for value: too few channels, so that it stays whole." in text
    # 256 x 256 / (2 x 512) is 64; 256 x 1 / (2 x 257) is no rank.
    with table.open(newline="") as file:
        assert [(each["layer"], each["vanilla_rank"], each["kept_whole"]) for each in csv.DictReader(file)][1] == (
            "value",
            "",
            "True",
        )
    assert row(text, "fc2")[1] == "64"
    # Weights of fc1 and value whole, fc2 in factors of rank 64, and biases.
    left = 64 * 256 + 2 * 256 * 64 + 256 + 2 * 256 + 1
    assert row(text, "vanilla, 2x")[0] == f"{left / 1e6:.2f}"
    text = output(
        capsys, "--layers", str(path), "--device", "v100", "--layer", "value", "--plot", str(tmp_path / "p.svg")
    )
    assert "vanilla  no rank has 2 times fewer weights: the layer stays whole" in text
    assert "chosen" not in text


def test_ranks_without_number_say_how_long_they_take(capsys: pytest.CaptureFixture[str]) -> None:
    timer = LayerTimer(load_device("v100"), Run(8, "inference", "fp32"))
    ranks_command._announce([Linear("small", 64, 64)], 63, timer)
    assert capsys.readouterr().err == ""
    ranks_command._announce([Linear("small", 64, 64), Linear("large", 10**9, 10**9)], 10**9, timer)
    assert "simhw: timing 1,000,000,000 ranks will take about" in capsys.readouterr().err


@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 5])
def test_narrow_heads_have_all_the_ranks_that_there_are(outputs: int) -> None:
    timer = LayerTimer(load_device("v100"), Run(8, "inference", "fp32"))
    layer = Linear("head", 256, outputs)
    offered = options(layer, timer, lambda _, rank: float(rank is None), shallowest=1e-3, deepest=1e3)
    assert offered[0].rank is None
    assert all(option.rank is None or 1 <= option.rank <= outputs for option in offered)
    found = optimised_rank(layer, timer)
    # 256 x outputs / (2 x (256 + outputs)): below 1 up to 2 outputs, and up to 1.97 for 4.
    assert found.vanilla_rank == {1: None, 2: None, 3: 1, 4: 1, 5: 2}[outputs]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--model", "resnet18", "--layer", "conv9"),
            "has no layer 'conv9' that can be decomposed; there are layer1.0.conv1",
        ),
        (("--model", "resnet18", "--plot", "p.png"), "name it with --layer"),
        (("--model", "resnet18", "--budget", "time=3"), "give removed=X, parameters=X, energy=X"),
        (("--model", "resnet18", "--budget", "removed=few"), "give removed=X"),
        (("--model", "resnet18", "--budget", "energy=0.1"), "needs the weights"),
        (("--trace", "resnet50.npz", "--budget", "energy=0.1"), "holds no whole weights"),
        (("--model", "resnet18", "--budget", "parameters=10"), "budget"),
        (("--model", "resnet18", "--compression", "0"), "compression"),
        (
            ("--model", "resnet18", "--compression", "0.5"),
            "--compression 0.5: that is more weights, not fewer; give a number of at least 1",
        ),
        (
            ("--model", "resnet18", "--budget", "removed=20"),
            "--budget removed=20: a share is at most 1; 20% is removed=0.2",
        ),
        (("--model", "resnet18", "--compression", "nan"), "compression is nan; give a number of more than 0"),
        (("--model", "resnet18", "--compression", "inf"), "compression is inf"),
        (("--model", "resnet18", "--layer", "layer1.0.conv1", "--compression", "nan"), "compression is nan"),
        ((), "no network"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in fails(capsys, "roofline", "ranks", *arguments, *INFERENCE)
    assert not list(tmp_path.iterdir())
