"""Dynamic resolution: a hard choice that learns, a batch norm for each resolution, and a target for the arithmetic."""

from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw_workloads.count import mac_counter
from simhw_workloads.data import load
from simhw_workloads.data.jittered import SIZE, jittered
from simhw_workloads.models.dynamic_resolution import RESOLUTIONS, DynamicResolution, FeatureNorm, ResolutionNorm
from simhw_workloads.signature import forward_macs
from simhw_workloads.table import workload
from simhw_workloads.task import Batch
from simhw_workloads.techniques.dynamic_resolution import (
    TARGET,
    Budget,
    choose,
    costs_of,
    learn_all,
    task_of,
)
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run

NUMBERS = (0, 2, 1, 1, 2, 0, 2, 2)
"""Resolutions of eight images, by number: two, two and four."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Told(nn.Module):
    """A gate that was told where the images of a batch go: its scores leave nothing to chance."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__()
        self.told = 1000.0 * functional.one_hot(torch.tensor(numbers), len(RESOLUTIONS))

    def forward(self, x: Tensor) -> Tensor:
        return self.told


def model(numbers: Sequence[int] = ()) -> DynamicResolution:
    torch.manual_seed(0)
    net = DynamicResolution()
    if numbers:
        net.gate = Told(numbers)
    return net


def images(count: int = len(NUMBERS)) -> Tensor:
    return torch.randn(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def rows(number: int) -> list[int]:
    return [row for row, each in enumerate(NUMBERS) if each == number]


def test_digits_have_many_sizes_and_places_and_their_own_images() -> None:
    digits = load("digits")
    many = jittered(digits)
    assert many.train_pixels.shape == (len(digits.train_pixels), 1, SIZE, SIZE)
    assert torch.equal(many.train_labels, digits.train_labels)
    assert torch.equal(many.train_pixels, jittered(digits).train_pixels)
    # How high their ink is, and where it begins.
    inked = [canvas.any(1).nonzero()[:, 0] for canvas in many.train_pixels[:200, 0]]
    heights = [int(each[-1] - each[0]) + 1 for each in inked]
    assert min(heights) < 12
    assert 26 < max(heights) <= 30
    assert len({int(each[0]) for each in inked}) > 15


@pytest.mark.parametrize("training", [True, False])
def test_each_image_is_answered_at_its_resolution(training: bool) -> None:
    net = model(NUMBERS).train(training)
    answers = net(images())
    for number in range(len(RESOLUTIONS)):
        assert torch.equal(answers[rows(number)], net.at(images()[rows(number)], number))


def test_a_step_takes_the_arithmetic_of_the_resolutions_that_were_chosen() -> None:
    net = model(NUMBERS)
    costs, _ = costs_of(model())
    with mac_counter() as counter:
        net(images())
    assert counter.macs == 2 * costs[0] + 2 * costs[1] + 4 * costs[2]


def test_arithmetic_falls_with_the_square_of_the_resolution() -> None:
    (largest, middle, smallest), gate = costs_of(model())
    # The linear layers take 256 x 64 + 64 x 10 at any resolution.
    linear = 256 * 64 + 64 * 10
    assert (middle - linear) * 16 == (largest - linear) * 9
    assert (smallest - linear) * 4 == largest - linear
    # The gate sees 16 x 16: 64 places of 9 products to 8 channels, 16 places of 72 to 16, and three scores.
    assert gate == 64 * 9 * 8 + 16 * 72 * 16 + 16 * 3


def test_a_resolutions_batch_norm_has_the_statistics_of_its_own_images() -> None:
    net, alone = model(NUMBERS).train(), model().train()
    net(images())
    for number in range(len(RESOLUTIONS)):
        alone.at(images()[rows(number)], number)
    for one, other in zip(net.classifier.modules(), alone.classifier.modules(), strict=True):
        if isinstance(one, ResolutionNorm) and isinstance(other, ResolutionNorm):
            means = [norm.running_mean for norm in one.norms]
            for mean, expected in zip(means, (norm.running_mean for norm in other.norms), strict=True):
                assert torch.equal(mean, expected)
            assert not torch.equal(means[0], means[1])


def test_an_image_learns_through_its_own_resolutions_batch_norm_and_the_weights_of_all() -> None:
    net = model((1,) * 8)
    net(images()).square().sum().backward()
    norms = [module for module in net.modules() if isinstance(module, ResolutionNorm)]
    assert len(norms) == 3
    for norm in norms:
        assert [int(each.num_batches_tracked) for each in norm.norms] == [0, 1, 0]
        assert [each.weight.grad is not None for each in norm.norms] == [False, True, False]
    convolutions = [each for each in net.classifier.modules() if isinstance(each, nn.Conv2d)]
    assert len(convolutions) == 3
    assert all(each.weight.grad is not None for each in convolutions)


def test_the_choice_is_hard_and_its_gradient_that_of_the_softmax() -> None:
    net = model()
    choice = net.chosen(images(64))
    assert torch.equal(choice.detach().amax(1), torch.ones(64))
    assert int(choice.detach().count_nonzero()) == 64
    choice[:, 0].sum().backward()
    last = net.gate[-1]  # type: ignore[index]  # a sequence
    assert last.bias.grad[0] > 0
    assert last.bias.grad[1:].max() < 0


def test_choices_are_drawn_with_the_gates_probabilities() -> None:
    net = model((0,) * 4000)
    # e to 1 to 1.
    net.gate.told /= 1000
    shares = net.chosen(images(4000)).detach().mean(0)
    torch.testing.assert_close(shares, torch.tensor([torch.e, 1, 1]) / (torch.e + 2), atol=0.03, rtol=0)
    # In evaluation nothing is drawn.
    assert net.eval().chosen(images(4000)).mean(0).tolist() == [1, 0, 0]


def test_the_gate_learns_from_how_good_its_choice_was() -> None:
    net = model()
    net(images()).square().sum().backward()
    assert net.gate[0].weight.grad.abs().max() > 0  # type: ignore[index]  # a sequence


def test_one_image_alone_can_be_trained_on() -> None:
    assert model().train()(images(1)).isfinite().all()
    norm, x = FeatureNorm(3), torch.randn(5, 3)
    norm(x)
    assert torch.equal(norm(x[:1]), deepcopy(norm).eval()(x[:1]))


def test_all_resolutions_are_answered_in_the_first_phase() -> None:
    net = model().eval()
    net.every = True
    answers = net(images())
    assert answers.shape == (len(NUMBERS), 3, 10)
    for number in range(3):
        assert torch.equal(answers[:, number], net.at(images(), number))


def test_only_arithmetic_beyond_the_target_is_penalised() -> None:
    net, hook = model(), Budget([40, 20, 10], target=20.0, strength=0.5)
    batch = Batch(images(2), torch.zeros(2), torch.arange(2))
    # Mean costs 25 and 15.
    net.choice = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    assert float(hook.loss(net, net.choice, batch)) == pytest.approx(0.5 * 5 / 30)
    net.choice = torch.tensor([[0, 1.0, 0], [0, 0, 1]])
    assert float(hook.loss(net, net.choice, batch)) == 0


@pytest.mark.parametrize("target", [1.0, 0.6, 0.4])
def test_a_gate_that_likes_the_largest_resolution_gives_it_up_until_the_target_is_met(target: float) -> None:
    """The penalty alone moves a gate that says the same of all images."""
    net, (costs, _) = model(NUMBERS * 8), costs_of(model())
    scores = nn.Parameter(torch.tensor([2.0, 0, 0]))
    hook, optimizer = Budget(costs, target * max(costs)), torch.optim.SGD([scores], lr=1.0)
    shown = images(64)
    for _ in range(60):
        optimizer.zero_grad()
        net.gate.told = scores.expand(64, 3)
        net.choice = net.chosen(shown)
        hook.loss(net, net.choice, Batch(shown, shown, torch.arange(64))).backward()
        optimizer.step()
    mean = float(scores.detach().softmax(0) @ torch.tensor(costs).float()) / max(costs)
    # Its first scores send 0.79 to the whole and 0.11 to each of the others, which takes 0.874 of the arithmetic.  The
    # mean of a batch lies off that of the gate by 0.04, and every batch beyond the target moves it on.
    assert mean == pytest.approx(0.874, abs=0.001) if target == 1 else target - 0.15 < mean < target


def test_the_captured_step_has_convolutions_of_several_shapes_for_parts_of_the_batch() -> None:
    """The gate is hardly trained at smoke scale: each of its choices for 32 images is drawn about evenly."""
    smoke = smoke_run("dynamic-resolution")
    passes = [layer for layer in smoke.trace.layers if layer.name.startswith("classifier.features.0")]
    heights = [layer.shapes["a"][2] for layer in passes]
    assert len(set(heights)) == len(heights) > 1
    assert set(heights) <= set(RESOLUTIONS)
    assert sum(layer.shapes["a"][0] for layer in passes) == smoke.trace.metadata.batch == 32
    # Its forward pass is what the resolutions of its images take, and the gate.
    costs, gate = costs_of(model())
    taken = sum(layer.shapes["a"][0] * costs[RESOLUTIONS.index(layer.shapes["a"][2])] for layer in passes)
    assert sum(forward_macs(layer) for layer in smoke.trace.layers) == taken + 32 * gate
    # The first phase runs every image at all resolutions.  The first layer's input has no gradient.
    assert 2 * sum(costs) < smoke.record.phases[0].step_macs / 32 < 3 * sum(costs)


def test_the_record_says_what_an_image_takes() -> None:
    notes = smoke_run("dynamic-resolution").record.notes
    costs, gate = costs_of(model())
    shares = [notes[f"share_at_{size}"] for size in RESOLUTIONS]
    assert sum(shares) == pytest.approx(1)
    taken = sum(share * cost for share, cost in zip(shares, costs, strict=True))
    assert notes["macs_per_image"] == pytest.approx(gate + taken)
    assert notes["target_macs"] == round(TARGET * costs[0])


def ink_heights(pixels: Tensor) -> Tensor:
    """Rows from the first to the last with ink, of (N, 1, SIZE, SIZE)."""
    rows = pixels[:, 0].any(2).int()
    return (SIZE - rows.argmax(1) - rows.flip(1).argmax(1)).float()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_at_full_scale_arithmetic_falls_with_the_target(seed: int) -> None:
    """All start from the same first phase.  The fixed resolution is trained for as many steps as both phases have."""
    run, fixed, macs, scores, small = Run(seed=seed), Run(seed=seed), [], [], []
    task = task_of(run)
    learnt, heights = learn_all(run, task), ink_heights(task.test[0])
    for target in (1.0, TARGET, 0.3):
        net = deepcopy(learnt)
        scores.append(choose(run, net, task, target))
        macs.append(run.record.notes["macs_per_image"] / run.record.notes["macs_at_full_resolution"])
        whole = net.eval().chosen(task.rows(torch.arange(task.tests), train=False).inputs)[:, 0].bool()
        small.append(heights[whole].mean() - heights.mean())
    workload("fixed-resolution").train(fixed)
    # Shown where the test fails, and with -s.
    print(f"seed {seed}: arithmetic {macs}, scores {scores}, {fixed.record.result.value} at the fixed resolution")
    assert macs[0] > macs[1] > macs[2]
    assert macs[1] < 0.7
    assert scores[1] > fixed.record.result.value - 0.02
    assert scores[0] > scores[2] + 0.01
    # Small digits need the whole resolution: those that get it are lower than the mean by more than two pixels.
    assert max(small[:2]) < -2
