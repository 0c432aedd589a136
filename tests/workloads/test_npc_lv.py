"""NPC-LV: code lengths are bounds of a VAE that never sees a label, and images are near where one code serves both."""

import math
from dataclasses import replace

import pytest
import torch

from simhw_workloads.compression_distance import (
    code_lengths,
    distances,
    few_of_each,
    nearest_of_classes,
    normalised_distance,
)
from simhw_workloads.data import load
from simhw_workloads.models.vae import Vae
from simhw_workloads.table import workload
from simhw_workloads.techniques import npc_lv
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_bound_is_what_pixels_take_and_the_divergence_of_the_latents():
    model, x, noise = Vae(6, 5, 3), torch.randint(2, (4, 6)).float(), torch.randn(4, 3)
    mean, log_variance = model.posterior(x)
    drawn = torch.distributions.Normal(mean, (log_variance / 2).exp())
    pixels = torch.distributions.Bernoulli(logits=model.decoder(mean + noise * drawn.scale))
    divergence = torch.distributions.kl_divergence(drawn, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(model.nats(x, noise), divergence - pixels.log_prob(x).sum(1), atol=1e-5)
    for parameter in model.parameters():
        parameter.data.zero_()
    # Without weights each pixel is a fair coin, and the latents are their prior.
    assert torch.allclose(model.nats(x, noise), torch.full((4,), 6 * math.log(2)))


def test_distances_are_the_formula_on_pairs_one_by_one():
    model, images, shown = Vae(6, 5, 3), torch.randint(2, (4, 6)).float(), torch.randint(2, (3, 6)).float()
    noise = torch.randn(2, 3)

    @torch.no_grad()
    def length(x: torch.Tensor) -> float:
        return float(sum(model.nats(x[None], draw[None]) for draw in noise)) / 2

    found = distances(model, images, shown, noise)
    for i, x in enumerate(images):
        for j, y in enumerate(shown):
            short, long = sorted((length(x), length(y)))
            assert found[i, j].item() == pytest.approx((length((x + y) / 2) - short) / long, abs=1e-5)
    # An image with itself: the code for both is that for one.
    assert torch.allclose(distances(model, images, images, noise).diagonal(), torch.zeros(4), atol=1e-6)
    assert float(normalised_distance(*torch.tensor([5.0, 4.0, 8.0]))) == 1 / 8


def test_the_nearest_labelled_image_names_the_class():
    far = torch.tensor([[3.0, 1.0, 2.0, 4.0], [0.5, 2.0, 1.0, 0.1]])
    answers = nearest_of_classes(far, torch.tensor([0, 1, 0, 2]), 3)
    assert answers.tolist() == [[-2.0, -1.0, -4.0], [-0.5, -2.0, pytest.approx(-0.1)]]
    rows = few_of_each(torch.tensor([0, 1] * 20), 3, seed=5)
    assert (rows % 2).tolist() == [0, 0, 0, 1, 1, 1]
    assert len(set(rows.tolist())) == 6
    assert rows.tolist() != few_of_each(torch.tensor([0, 1] * 20), 3, seed=6).tolist()


def test_training_knows_no_labels(monkeypatch: pytest.MonkeyPatch):
    real = load("digits")
    losses = []
    for labels in (real.train_labels, real.train_labels.flip(0)):
        monkeypatch.setattr(npc_lv, "load", lambda *_, labels=labels: replace(real, train_labels=labels))
        run = Run(scale="smoke", max_steps=20)
        workload("npc-lv").train(run)
        losses.append(run.record.phase("vae").losses)
    assert losses[0] == losses[1]


def test_a_trained_model_compresses_digits_and_not_noise():
    smoke = smoke_run("npc-lv")
    digits = (load("digits").test_pixels > 127).float().flatten(1)
    noise = torch.randn(4, smoke.model.latents)
    with torch.no_grad():
        scattered = digits.gather(1, torch.rand_like(digits).argsort(1))  # as many pixels, elsewhere
        lengths = [float(code_lengths(smoke.model, images, noise).mean()) for images in (digits, scattered)]
    # A pixel that is a fair coin takes ln 2: 44 nats for 64.
    assert lengths[0] < 0.55 * 64 * math.log(2) < lengths[1]


def test_five_labels_of_a_class_are_enough_to_classify_by_length_of_code():
    record = smoke_run("npc-lv").record
    assert record.result.phase == "code, 5 labels"
    assert record.result.value == record.notes["code_5"] > 0.5  # a guess: 0.1
    assert record.notes["cnn_5"] > 0.5


def test_the_comparison_alone_is_the_techniques():
    """The model is that of neighbours by latents, to the bit, and so is the step that is captured."""
    plain, technique = smoke_run("few-shot-latents"), smoke_run("npc-lv")
    assert plain.record.phase("vae").losses == technique.record.phase("vae").losses
    assert plain.record.notes["latents_5"] == technique.record.notes["latents_5"] == plain.record.result.value
    assert {layer.name for layer in plain.trace.layers} == {layer.name for layer in technique.trace.layers}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_at_full_scale_length_of_code_is_better_than_pixels_where_labels_are_few(seed: int):
    run = Run(seed=seed)
    workload("npc-lv").train(run)
    assert run.record.notes["code_5"] > run.record.notes["pixels_5"]
    assert run.record.notes["nats"] < 110
