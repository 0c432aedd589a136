"""SwiftLearn on a pretrained model: it starts like fine-tuning on all samples, and after two epochs takes fewer."""

import pytest
import torch
from torch import nn

from simhw_workloads.data.text import sentences
from simhw_workloads.selection import Selection
from simhw_workloads.table import workload
from simhw_workloads.techniques import fine_tuning, text
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_fine_tuning_starts_alike_with_and_without_selection():
    """The same weights, samples and draws of dropout."""
    plain = smoke_run("minilm-dense").record.phase("dense")
    warm = smoke_run("swiftlearn-minilm").record.phase("warm-up")
    assert plain.losses[0] == warm.losses[0]
    assert plain.step_macs == warm.step_macs
    assert plain.parameters == plain.trainable == warm.trainable


def test_after_two_epochs_on_all_a_quarter_is_trained_on():
    smoke = smoke_run("swiftlearn-minilm").record
    row = workload("swiftlearn-minilm")
    # As the small BERT's: 64 samples in each of two epochs, a quarter in each of two more, and one look at the others.
    assert [phase.samples for phase in smoke.phases] == [128, 32]
    assert smoke.notes["samples_without_selection"] == smoke_run("minilm-dense").record.samples == 256
    assert row.work is not None
    assert row.work(smoke) == pytest.approx((128 + 32 + 48 / 3) / 256)


def test_at_full_scale_a_tenth_of_the_pretrained_models_samples_is_kept(monkeypatch: pytest.MonkeyPatch):
    """Which model `pretrained_task` gives, test_pretrained.py asks; here it is one of a single weight."""

    class Answers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(6))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.logits * (1 + inputs[:, :1])

    kept = []

    class Kept(Selection):
        def choose(self, before: torch.Tensor, now: torch.Tensor) -> None:
            super().choose(before, now)
            kept.append(self.chosen)

    monkeypatch.setattr(fine_tuning, "pretrained_task", lambda _: (Answers(), sentences(32)))
    monkeypatch.setattr(text, "Selection", Kept)
    run = Run()
    workload("swiftlearn-minilm").train(run)
    assert [phase.batch for phase in run.record.phases] == [16, 16]
    # Two epochs of 1,280, then six of the tenth, of 8 steps each; a look after every two but the last.
    assert [phase.steps for phase in run.record.phases] == [160, 48]
    assert [len(rows) for rows in kept] == [128, 128, 128]
    assert all(int(rows.max()) < 1280 for rows in kept)
    assert run.record.notes["looked_at_again"] == 2 * (1280 - 128)
