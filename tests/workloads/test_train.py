"""The training loop of the workloads: its order, its seeds, what hooks and observers may do, what it records, and its
checkpoints.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads import techniques
from simhw_workloads.checkpoint import load_checkpoint, save_checkpoint
from simhw_workloads.count import mac_counter
from simhw_workloads.data import load
from simhw_workloads.models.small_cnn import SmallCNN
from simhw_workloads.record import read_record
from simhw_workloads.schedule import Schedule
from simhw_workloads.table import ROWS, TECHNIQUES, WORKLOADS, workload
from simhw_workloads.task import Batch, Task, accuracy, cross_entropy
from simhw_workloads.train import Hook, Run, batch_indices


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def points(samples: int = 40) -> Task:
    """Points in the plane, and on which side of a line they lie."""
    random = torch.Generator().manual_seed(0)
    train, test = (torch.randn(count, 2, generator=random) for count in (samples, 20))
    return Task(
        "points",
        (train, (train[:, 0] > 0).long()),
        (test, (test[:, 0] > 0).long()),
        prepare=lambda columns: (columns[0], columns[1]),
        loss=cross_entropy,
        score=accuracy,
    )


def line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 2)


# Order and schedule


def test_an_epoch_takes_every_sample_once_and_each_seed_has_its_order():
    epoch = torch.cat([batch_indices(100, 10, seed=0, step=step) for step in range(1, 11)])
    assert sorted(epoch.tolist()) == list(range(100))
    assert not torch.equal(batch_indices(100, 10, 0, 1), batch_indices(100, 10, 0, 11))
    assert not torch.equal(batch_indices(100, 10, 0, 1), batch_indices(100, 10, 1, 1))


def test_the_learning_rate_rises_linearly_then_falls_to_nearly_nothing():
    schedule = Schedule(steps=100, rate=0.1, warmup=10)
    assert schedule.rate_at(1) == pytest.approx(0.01)
    assert schedule.rate_at(10) == pytest.approx(0.1)
    # Half a cosine from step 10 to step 101: the middle is half the rate.
    assert schedule.rate_at(55) == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 45 / 91)))
    assert 0 < schedule.rate_at(100) < 1e-4


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_step_is_that_of_the_optimizer_written_out(kind: str):
    schedule = Schedule(steps=3, rate=0.1, warmup=2, kind=kind, momentum=0.5, weight_decay=0.01)  # type: ignore[arg-type]  # parametrised
    task, model, expected = points(), line(), line()
    Run(seed=5).fit("only", model, task, schedule, batch=8)
    optimizer = (
        torch.optim.SGD(expected.parameters(), lr=1.0, momentum=0.5, nesterov=True, weight_decay=0.01)
        if kind == "sgd"
        else torch.optim.AdamW(expected.parameters(), lr=1.0, weight_decay=0.01)
    )
    for step in (1, 2, 3):
        optimizer.param_groups[0]["lr"] = schedule.rate_at(step)
        batch = task.rows(batch_indices(40, 8, 5, step))
        optimizer.zero_grad()
        cross_entropy(expected(batch.inputs), batch.targets).backward()
        optimizer.step()
    assert torch.equal(model.weight, expected.weight)


# Hooks


class Recorder(Hook):
    """Notes in which order it is called, and the batch that the step had."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sizes: list[int] = []

    def start(self, model: nn.Module, task: Task) -> None:
        self.calls.append("start")

    def indices(self, step: int, indices: Tensor) -> Tensor:
        self.calls.append(f"indices {step}")
        return indices[:3]

    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        self.calls.append("batch")
        self.sizes.append(len(batch.inputs))
        return batch._replace(inputs=2 * batch.inputs)

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor:
        self.calls.append("loss")
        self.inputs = batch.inputs
        return output.sum() * 0 + 100

    def gradients(self, model: nn.Module) -> None:
        assert next(model.parameters()).grad is not None
        self.calls.append("gradients")

    def stepped(self, model: nn.Module, step: int) -> None:
        self.calls.append(f"stepped {step}")

    def finish(self, model: nn.Module) -> None:
        self.calls.append("finish")


def test_hooks_are_called_in_their_order_and_change_the_step():
    hook, run = Recorder(), Run()
    run.fit("only", line(), points(), Schedule(2, 0.1), batch=8, hooks=[hook])
    step = ["batch", "loss", "gradients"]
    assert hook.calls == ["start", "indices 1", *step, "stepped 1", "indices 2", *step, "stepped 2", "finish"]
    assert hook.sizes == [3, 3]
    assert torch.equal(hook.inputs, 2 * points().rows(batch_indices(40, 8, 0, 2)[:3]).inputs)
    assert all(loss > 100 for loss in run.record.phase("only").losses)
    assert run.record.phase("only").samples == 6


def test_a_parameter_frozen_between_steps_stands_still_from_then_on():
    """Neither momentum nor weight decay moves it: sequential freezing relies on this."""
    weights = []

    class Freeze(Hook):
        def stepped(self, model: nn.Module, step: int) -> None:
            weights.append(model.weight.detach().clone())
            model.weight.requires_grad_(step != 2)

    run = Run()
    run.fit("only", line(), points(), Schedule(4, 0.1, weight_decay=0.1), batch=8, hooks=[Freeze()])
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])


def test_the_gradient_of_a_step_can_be_computed_another_way():
    def negated(model: nn.Module, closure: object) -> Tensor:
        loss = closure()  # type: ignore[operator]  # a callable
        loss.backward()
        for parameter in model.parameters():
            parameter.grad.neg_()
        return loss

    run = Run()
    run.fit("up", line(), points(), Schedule(30, 0.1), batch=8, gradient=negated)
    assert run.record.phase("up").losses[-1] > 2 * run.record.phase("up").losses[0]


# Observers


def test_an_observer_spans_every_step_and_may_take_fewer_samples():
    seen: list[tuple[str, int, int, int]] = []
    sizes: list[int] = []

    class Watcher:
        def batch(self, phase: str, step: int, steps: int) -> int | None:
            return 2 if step == 3 else None

        @contextmanager
        def step(self, model: nn.Module, phase: str, step: int, steps: int, samples: int) -> Iterator[None]:
            handle = model.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
            yield
            handle.remove()
            seen.append((phase, step, steps, samples))

    run, model = Run(max_steps=4, observer=Watcher()), line()
    run.fit("only", model, points(), Schedule(9, 0.1), batch=8)
    run.score("only", model, points())
    assert seen == [("only", step, 4, 2 if step == 3 else 8) for step in (1, 2, 3, 4)]
    # The scoring at the end runs outside of every span.
    assert sizes == [8, 8, 2, 8]


def test_a_run_is_the_same_with_and_without_an_observer():
    class Watcher:
        def batch(self, phase: str, step: int, steps: int) -> None:
            return None

        @contextmanager
        def step(self, model: nn.Module, phase: str, step: int, steps: int, samples: int) -> Iterator[None]:
            yield

    plain, watched = Run(), Run(observer=Watcher())
    for run in (plain, watched):
        run.fit("only", line(), points(), Schedule(5, 0.1), batch=8)
    assert plain.record.phase("only").losses == watched.record.phase("only").losses


# What is recorded


def test_the_record_holds_phases_scores_and_notes_and_is_read_back(tmp_path: Path):
    run, model = Run(), line()
    run.fit("first", model, points(), Schedule(3, 0.1), batch=8)
    model.bias.requires_grad_(False)
    run.fit("second", model, points(), Schedule(40, 0.5), batch=10)
    value = run.score("second", model, points())
    run.note(rank=3, kept=0.25)
    first, second = run.record.phases
    assert (first.batch, first.steps, first.parameters, first.trainable) == (8, 3, 6, 6)
    # 8 samples of 4 products forward, as many for the weights' gradient; there is no gradient of the input.
    assert first.step_macs == 2 * 8 * 4
    assert second.trainable == 4
    assert second.samples == 400
    assert value == run.record.result.value > 0.8
    assert run.record.result.tested == 20
    run.record.write(tmp_path / "run.json")
    assert read_record(tmp_path / "run.json") == run.record
    (tmp_path / "run.json").write_text('{"phases": 3}')
    with pytest.raises(WorkloadError, match="not the record of a run"):
        read_record(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("layer", "shape", "forward"),
    [
        (nn.Linear(6, 5), (3, 6), 3 * 30),
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 5, 5), 2 * 25 * 6 * 4 * 9),
        # Each output of a grouped convolution reads the channels of its group.
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 5), 2 * 25 * 6 * 2 * 9),
        (nn.Conv2d(4, 6, 3, stride=2), (2, 4, 5, 5), 2 * 4 * 6 * 4 * 9),
    ],
)
def test_multiply_accumulates_are_counted_per_operation_that_runs(
    layer: nn.Module, shape: tuple[int, ...], forward: int
):
    def counted(frozen: bool, with_input: bool) -> int:
        layer.weight.requires_grad_(not frozen)
        x = torch.rand(shape, requires_grad=with_input)
        with mac_counter() as counter:
            layer(x).sum().backward()
        return counter.macs

    assert counted(frozen=False, with_input=False) == 2 * forward
    assert counted(frozen=False, with_input=True) == 3 * forward
    assert counted(frozen=True, with_input=True) == 2 * forward


def test_a_model_is_scored_in_evaluation_mode_on_the_first_samples_and_left_training():
    modes = []

    class Mode(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            modes.append(self.training)
            return x

    model, run = Mode(), Run()
    task = points()
    expected = accuracy(-task.test[0][:15], task.test[1][:15])
    assert run.score("flipped", model, task, limit=15, forward=lambda model, x: model(-x)) == expected
    assert modes == [False]
    assert model.training


# What it refuses


def test_a_diverging_run_stops_and_says_so():
    with pytest.raises(WorkloadError, match=r"phase only, step \d+: the loss is (nan|inf); training diverged"):
        Run().fit("only", SmallCNN(8), load("digits").task(), Schedule(steps=200, rate=1e6, warmup=1), batch=8)


def test_a_fit_that_cannot_be_says_why():
    with pytest.raises(WorkloadError, match="a batch of 41 is more than the 40 training samples of points"):
        Run().fit("only", line(), points(), Schedule(1, 0.1), batch=41)
    frozen = line().requires_grad_(False)
    with pytest.raises(WorkloadError, match="phase only: every parameter is frozen"):
        Run().fit("only", frozen, points(), Schedule(1, 0.1), batch=8)
    with pytest.raises(WorkloadError, match="the run scored no model"):
        _ = Run().record.result
    with pytest.raises(WorkloadError, match="columns have"):
        Task(
            "ragged",
            (torch.zeros(3), torch.zeros(2)),
            (torch.zeros(1),),
            lambda columns: columns,
            cross_entropy,
            accuracy,
        )  # type: ignore[arg-type, return-value]


# Checkpoints


def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(tmp_path: Path):
    schedule, file = Schedule(steps=150, rate=0.1, warmup=10), tmp_path / "run.npz"

    def trained(**options: object) -> tuple[Run, nn.Module]:
        run, model = Run(**options), line()  # type: ignore[arg-type]  # any of its fields
        run.fit("only", model, points(), schedule, batch=8)
        return run, model

    whole, expected = trained(max_steps=130)
    trained(max_steps=110, checkpoint=file)
    steps: list[int] = []
    resumed, model = trained(max_steps=130, checkpoint=file, progress=lambda _phase, step, *_: steps.append(step))
    assert steps[0] == 101
    assert resumed.record.phase("only").losses == whole.record.phase("only").losses
    assert torch.equal(model.weight, expected.weight)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path):
    file = tmp_path / "run.npz"
    Run(checkpoint=file).fit("only", line(), points(), Schedule(101, 0.1), batch=8)
    with pytest.raises(WorkloadError, match="checkpoint of seed 0, not 1"):
        Run(seed=1, checkpoint=file).fit("only", line(), points(), Schedule(101, 0.1), batch=8)
    with pytest.raises(WorkloadError, match="another model"):
        Run(checkpoint=file).fit("only", nn.Linear(2, 3), points(), Schedule(101, 0.1), batch=8)
    with pytest.raises(WorkloadError, match="one phase, without hooks"):
        Run(checkpoint=file).fit("only", line(), points(), Schedule(101, 0.1), batch=8, hooks=[Hook()])
    file.write_bytes(b"PK nonsense")
    with pytest.raises(WorkloadError, match="not a checkpoint"):
        Run(checkpoint=file).fit("only", line(), points(), Schedule(101, 0.1), batch=8)


def test_an_interrupted_checkpoint_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file, model = tmp_path / "run.npz", SmallCNN()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    save_checkpoint(file, model, optimizer, 0, [1.0])

    def stopped(*_arguments: object, **_arrays: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stopped)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(file, model, optimizer, 0, [1.0, 2.0])
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    assert load_checkpoint(file, model, optimizer, 0) == [1.0]


# The table


NOTED = {"decompose-train", "maestro", "funnel", "basis-convolutions", "welore", "reweighted-filter"} | {
    "collaborative",
    "collaborative-channels",
    "collaborative-ranks",
}
"""Techniques whose ranks or channels come from trained weights: the record of a run has them."""
NO_SUCH_STEP = {"atmc"}
"""Techniques whose step is not that of a network: passes of an attack on half of the samples."""
NO_LARGER = {"autoencoder-linear", "autoencoder-linear-digits", "sign-autoencoder", "sign-autoencoder-digits"} | {
    "few-shot-latents",
    "npc-lv",
    "tensor-factors",
    "tensor-factors-augmented",
    "graph-regression",
    "weak-regression",
}
"""Techniques that have no published network of a larger size."""
NO_SUCH_LAYER = {"lstm-structured-dropout-compacted", "antman"}
"""Techniques with a layer that the rooflines' networks do not have: a cell that reads half of its state, or one of
block products.
"""
SHARES_OF_IMAGES = {"dynamic-resolution"}
"""Techniques in which images decide how much of a batch is seen at which size: those of the full-size network."""
WITHOUT_SHAPES = NO_SUCH_STEP | NO_LARGER | NO_SUCH_LAYER | SHARES_OF_IMAGES


def test_every_row_says_what_it_is_and_fits_its_baseline():
    assert len(WORKLOADS) == len(ROWS)
    for row in ROWS:
        assert row.captured in row.phases, row.name
        # The networks of the papers may take twenty minutes each, the others ten.
        longest = 3600 if row.name == "resnet50-fashion" else 1200 if row.family == "papers" else 600
        assert 0 < row.budget_s <= longest, row.name
        assert (row.shapes is None) == (row.name in WITHOUT_SHAPES), row.name
        if row.baseline is not None:
            assert workload(row.baseline).baseline is None, row.name
            assert (row.model, row.dataset) == (workload(row.baseline).model, workload(row.baseline).dataset), row.name
            assert row.paper, row.name
            assert row.headline, row.name
            assert row.roofline_batch == workload(row.baseline).roofline_batch, row.name
            assert row.seeds == workload(row.baseline).seeds, row.name
            # A row is its baseline's with what differs: these it must not have left as they were.
            for name in ("summary", "family", "technique", "train"):
                assert getattr(row, name) != getattr(workload(row.baseline), name), (row.name, name)
    with pytest.raises(WorkloadError, match="no workload 'gpt'; there are resnet50-fashion, small-cnn-digits"):
        workload("gpt")


@pytest.mark.parametrize("name", sorted(NOTED))
def test_what_training_finds_is_not_made_up_without_a_run(name: str):
    shapes = workload(name).shapes
    assert shapes is not None
    with pytest.raises(WorkloadError, match=r"the record has no note '\S+': .* train the workload anew"):
        shapes(Run())


def test_every_module_of_techniques_stands_in_the_table():
    folder = Path(techniques.__file__).parent
    assert sorted(TECHNIQUES) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


# The plain workloads


def test_the_small_cnn_learns_digits_and_the_same_seed_learns_the_same():
    def trained(**options: object) -> Run:
        run = Run(**options)  # type: ignore[arg-type]  # any of its fields
        workload("small-cnn-digits").train(run)
        return run

    record = trained(seed=0).record
    losses = record.phase("dense").losses
    # Guessing gives a loss of ln 10 = 2.303 and 10%.
    assert losses[0] == pytest.approx(math.log(10), abs=0.3)
    assert sum(losses[-50:]) / 50 < 0.3
    assert record.result.value > 0.93
    assert record.result.tested == 360
    assert trained(seed=0, max_steps=20).record.phase("dense").losses == losses[:20]
    assert trained(seed=1, max_steps=2).record.phase("dense").losses != losses[:2]


@pytest.mark.slow
def test_the_small_cnn_learns_mnist():
    run = Run()
    workload("small-cnn-mnist5k").train(run)
    assert run.record.result.value > 0.95
