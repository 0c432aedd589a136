"""Capture of a user's own training loop: options, names, number formats, files written whole or not at all."""

import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import simhw
from simhw.bfloat16 import from_float32
from simhw.capture import Capture
from simhw.errors import CaptureError
from tests.captured_steps import ALL, captured, coarse, coarsened, values


def test_float32_is_rounded_to_nearest_even_or_truncated(tmp_path: Path):
    model, x = nn.Linear(8, 4), torch.randn(5, 8)
    w = model.weight.detach().numpy().copy()
    for rounding in ("rne", "truncate"):
        trace = captured(model, lambda: model(x).sum().backward(), tmp_path, rounding=rounding)
        np.testing.assert_array_equal(trace.layers[0].a, from_float32(x.numpy(), rounding))
        np.testing.assert_array_equal(trace.layers[0].w, from_float32(w, rounding))
        assert trace.metadata.extra["rounding"] == rounding


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_types_are_captured_as_bfloat16(dtype: torch.dtype, tmp_path: Path):
    model, x = coarsened(nn.Linear(4, 3)).to(dtype), coarse(2, 4).to(dtype)
    (layer,) = captured(model, lambda: model(x).sum().backward(), tmp_path).layers
    assert torch.equal(values(layer.a), x.float())
    assert torch.equal(values(layer.w), model.weight.detach().float())


def test_bfloat16_autocast_is_captured_under_the_parameters_names(tmp_path: Path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2))
    x = coarse(2, 1, 4, 4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(x).float().sum()
        loss.backward()

    trace = captured(model, step, tmp_path)
    assert [(layer.name, layer.kind) for layer in trace.layers] == [("0", "conv2d"), ("2", "linear"), ("4", "linear")]
    assert trace.layers[1].operations == ALL
    np.testing.assert_array_equal(trace.layers[1].w, from_float32(model[2].weight.detach().numpy()))


def test_tied_weights_are_named_after_the_module_that_runs(tmp_path: Path):
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.decoder = nn.Linear(4, 7, bias=False)
            self.decoder.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.embed(x))

    model = Tied()
    trace = captured(model, lambda: model(torch.tensor([[1, 2], [3, 4]])).sum().backward(), tmp_path)
    assert [(layer.name, layer.kind) for layer in trace.layers] == [("decoder", "linear")]


def test_a_weight_computed_from_parameters_is_a_linear_layer_of_its_module(tmp_path: Path):
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    trace = captured(model, lambda: model(coarse(2, 4)).sum().backward(), tmp_path)
    assert [(layer.name, layer.kind, layer.operations) for layer in trace.layers] == [
        ("0.linear", "linear", ("forward", "weight_grad"))
    ]


def test_several_models_are_told_apart(tmp_path: Path):
    one, two = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 1))
    capture = Capture({"generator": one, "discriminator": two}, tmp_path / "step.npz")
    with capture.step():
        two(one(coarse(2, 3))).sum().backward()
    trace = simhw.load_trace(tmp_path / "step.npz")
    assert [layer.name for layer in trace.layers] == ["generator", "discriminator.0"]
    assert trace.metadata.model == "Linear, Sequential"


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_a_captured_step_of_a_compiled_model_runs_uncompiled_under_the_same_names(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    compiled = torch.compile(model, backend="aot_eager")
    trace = captured(compiled, lambda: compiled(coarse(3, 4)).sum().backward(), tmp_path)
    assert [(layer.name, layer.operations) for layer in trace.layers] == [("0", ("forward", "weight_grad")), ("2", ALL)]
    assert trace.metadata.model == "Sequential"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_reported_with_layer_count_and_place(value: float, tmp_path: Path):
    model, x = nn.Sequential(nn.Identity(), nn.Linear(4, 2)), coarse(3, 4)
    x[1, 2] = x[2, 0] = value
    with pytest.raises(
        CaptureError, match=re.escape("layer '1', tensor A: 2 NaN or infinite values (first at index (1, 2))")
    ):
        captured(model, lambda: model(x), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (layer,) = captured(model, lambda: model(x), tmp_path, nonfinite="zero").layers
    assert values(layer.a)[1, 2] == 0
    assert torch.equal(values(layer.a)[0], x[0])


def test_a_gradient_that_is_not_finite_is_reported_from_within_backward(tmp_path: Path):
    model = nn.Linear(4, 2)
    with pytest.raises(CaptureError, match="layer 'linear', tensor G: 6 NaN or infinite values"):
        captured(model, lambda: (model(coarse(3, 4)) * float("inf")).sum().backward(), tmp_path)


def test_options_that_cannot_work_are_refused_before_training(tmp_path: Path):
    model = nn.Linear(1, 1)
    for options, problem in (
        ({"path": tmp_path / "one.npz", "steps": {1, 2}}, r"put \{step\} into its name"),
        ({"path": tmp_path / "none" / "one.npz"}, "no such folder"),
        ({"path": tmp_path / "one.npz", "steps": {0}}, "counted from 1"),
        ({"path": tmp_path / "one.npz", "steps": ()}, "counted from 1"),
        ({"path": tmp_path / "one.npz", "rounding": "up"}, "one of rne, truncate"),
        ({"path": tmp_path / "one.npz", "nonfinite": "maybe"}, "one of error, zero, keep"),
        ({"path": tmp_path / "one.npz", "max_bytes": 0}, "max_bytes=0"),
        ({"max_bytes": "12MB"}, "max_bytes='12MB'"),
        ({"steps": 3}, "steps=3: give the numbers"),
        ({"steps": "late"}, "steps='late': give the numbers"),
        ({"steps": {1: 2}}, "steps=a dict"),
        ({"steps": {1.5}}, "counted from 1"),
        ({"steps": {True}}, "counted from 1"),
        ({"steps": itertools.count(1)}, "more than 100,000"),
        ({"model": None}, "model is None: give a torch.nn.Module"),
        ({"model": [model]}, "model is a list|model is \\[Linear"),
        ({"model": {}}, "model is a dict"),
        ({"model": {"a": 3}}, "model 'a' is 3"),
        ({"model": {1: model}}, "model 1 is a Linear"),
        ({"path": None}, "path=None"),
        ({"path": tmp_path}, "is a folder"),
        ({"path": tmp_path / ("n" * 300 + ".npz")}, "File name too long"),
        ({"path": tmp_path / ("n" * 252 + "{step}"), "steps": {1, 1000}}, "File name too long"),
        ({"path": tmp_path / "a\0b.npz"}, "NUL"),
        ({"path": tmp_path / "t-{epoch}.npz"}, r"\{epoch\} stands for nothing"),
        ({"path": tmp_path / "t-{step:05d}.npz"}, r"\{step:05d\} stands for nothing"),
        ({"ignore": "aten::mm"}, "ignore='aten::mm'"),
        ({"ignore": {3}}, "by name"),
        ({"batch": 0}, "batch=0"),
        ({"batch": "8"}, "batch='8'"),
        ({"seed": -1}, "seed=-1"),
        ({"dataset": None}, "dataset=None"),
        ({"dataset": "\ud800"}, "no file can hold"),
    ):
        with pytest.raises(CaptureError, match=problem):
            Capture(**{"model": model, "path": tmp_path / "one.npz"} | options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes anywhere")
def test_a_folder_that_cannot_be_written_to_is_found_before_training(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(CaptureError, match="cannot be written to"):
        Capture(nn.Linear(1, 1), tmp_path / "one.npz")


@pytest.mark.parametrize("number", ["a", 1.5, -1])
def test_a_step_s_own_number_is_a_whole_one(number: object, tmp_path: Path):
    capture = Capture(nn.Linear(1, 1), tmp_path / "one.npz")
    with pytest.raises(CaptureError, match="number="), capture.step(number):
        pass
    with pytest.raises(CaptureError, match="batch=0"), capture.step(1, batch=0):
        pass
    capture._farewell.detach()


# Steps that never come


def test_a_chosen_step_that_never_came_is_told_at_the_end(tmp_path: Path):
    model = nn.Linear(2, 2)
    with Capture(model, tmp_path / "{step}.npz", steps={2, 7, 9}) as capture:
        for _ in range(3):
            with capture.step():
                model(torch.ones(1, 2))
        with pytest.warns(
            UserWarning, match=r"no trace of step 7 and 1 more was written: training ended before, at step 3"
        ):
            capture.close()
    assert [path.name for path in tmp_path.iterdir()] == ["2.npz"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        capture.close()  # said once
        with Capture(model, tmp_path / "one.npz") as capture, capture.step():
            model(torch.ones(1, 2))


def test_it_is_told_at_the_end_of_a_program_that_closes_nothing(tmp_path: Path):
    done = run_script(tmp_path, "pass", "{2, 100}")
    assert done.returncode == 0
    assert "no trace of step 100 was written: training ended before, at step 5" in done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["trace-2.npz"]


# The user's own loop

SCRIPT = """
    import os, signal, sys
    import torch
    from torch import nn
    from simhw.capture import Capture

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    criterion = nn.CrossEntropyLoss()
    capture = Capture(model, "trace-{step}.npz", steps={2, 4}, dataset="noise", batch=8, seed=0)
    for _ in range(5):
        x, y = torch.randn(8, 1, 8, 8), torch.randint(0, 10, (8,))
        with capture.step():
            loss = criterion(model(x), y)
            loss.backward()
            EXTRA
            optimizer.step()
            optimizer.zero_grad()
    print(loss.item())
"""


def run_script(folder: Path, extra: str, steps: str = "{2, 4}") -> subprocess.CompletedProcess[str]:
    script = folder / "train.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("EXTRA", extra).replace("{2, 4}", steps))

    def heed_interrupts() -> None:
        # A shell's background job ignores them, and so would the script.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=heed_interrupts,
    )


def test_three_lines_capture_a_user_s_own_training_loop(tmp_path: Path):
    done = run_script(tmp_path, "pass")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.glob("*.npz")) == ["trace-2.npz", "trace-4.npz"]
    trace = simhw.load_trace(tmp_path / "trace-4.npz")
    assert [(layer.name, layer.kind) for layer in trace.layers] == [("0", "conv2d"), ("3", "linear")]
    about = trace.metadata
    assert (about.step, about.batch, about.seed, about.dataset, about.model) == (4, 8, 0, "noise", "Sequential")
    assert about.framework == f"PyTorch {torch.__version__}"
    assert "train.py" in about.capture_command


def test_capture_does_not_change_what_is_learnt(tmp_path: Path):
    def losses(steps: set[int]) -> list[float]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        optimizer = torch.optim.AdamW(model.parameters())
        capture = Capture(model, tmp_path / "{step}.npz", steps)
        found = []
        for _ in range(4):
            with capture.step():
                loss = functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.randint(0, 10, (8,)))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            found.append(loss.item())
        return found

    plain = {100}
    with pytest.warns(UserWarning, match="no trace of step 100"):
        expected = losses(plain)
    assert losses({1, 3}) == expected


def test_an_interrupt_within_a_step_leaves_no_trace_and_goes_on(tmp_path: Path):
    interrupted = run_script(tmp_path, "os.kill(os.getpid(), signal.SIGINT) if capture._progress.last == 4 else None")
    assert interrupted.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in interrupted.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trace-2.npz", "train.py"]


def test_an_interrupt_while_a_trace_is_written_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = nn.Linear(4, 2)
    old = captured(model, lambda: model(coarse(3, 4)), tmp_path).layers[0].a.tolist()

    def stopped(*_paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        captured(model, lambda: model(coarse(3, 4)), tmp_path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step.npz"]
    assert simhw.load_trace(tmp_path / "step.npz").layers[0].a.tolist() == old


def test_a_step_that_failed_leaves_no_trace_and_the_next_is_whole(tmp_path: Path):
    model = nn.Linear(4, 2)
    capture = Capture(model, tmp_path / "{step}.npz", steps={1, 2})
    with pytest.raises(RuntimeError), capture.step():
        model(coarse(3, 5))
    with capture.step():
        model(coarse(3, 4))
    assert [p.name for p in tmp_path.iterdir()] == ["2.npz"]
    assert [layer.name for layer in simhw.load_trace(tmp_path / "2.npz").layers] == ["linear"]


def test_a_sample_stays_within_its_size(tmp_path: Path):
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256))
    trace = captured(model, lambda: model(torch.randn(64, 256)).sum().backward(), tmp_path, max_bytes=200_000)
    assert trace.sampled
    assert (tmp_path / "step.npz").stat().st_size <= 200_000
