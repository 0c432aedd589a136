"""The recipe of ResNet-9: sharpness-aware steps, centralised gradients, averaged weights, augmentation, mirrored
evaluation.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

from simhw_workloads.gradients import sharpness_aware
from simhw_workloads.hooks import FlipAndShift, GradientCentralisation, MovingAverage
from simhw_workloads.models.resnet9 import haet_resnet9
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Batch, Task, accuracy, cross_entropy
from simhw_workloads.techniques.resnet9 import with_mirror_image
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def images(samples: int = 24) -> Task:
    x, y = torch.randn(samples, 1, 8, 8), torch.arange(samples) % 3
    return Task("noise", (x, y), (x, y), lambda columns: (columns[0], columns[1]), cross_entropy, accuracy)


def test_sharpness_aware_gradients_are_those_at_the_weights_that_are_moved_uphill():
    model, x, y = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)), torch.randn(6, 5), torch.arange(6) % 3
    moved, rho = copy.deepcopy(model), 0.1
    cross_entropy(moved(x), y).backward()
    norm = torch.cat([parameter.grad.flatten() for parameter in moved.parameters()]).norm()
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter += rho * parameter.grad / norm
    moved.zero_grad()
    cross_entropy(moved(x), y).backward()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = sharpness_aware(rho)(model, lambda: cross_entropy(model(x), y))
    assert loss.item() == cross_entropy(model(x), y).item()
    for parameter, weight, expected in zip(model.parameters(), before, moved.parameters(), strict=True):
        torch.testing.assert_close(parameter, weight, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(parameter.grad, expected.grad)


def test_the_second_pass_leaves_running_statistics_and_frozen_weights_alone():
    model = haet_resnet9(0.0625, 3, 1, ghost=4)
    once, task = copy.deepcopy(model), images()
    batch = task.rows(torch.arange(8))
    once.train()(batch.inputs)
    whitening = model.stem[0].weight.clone()
    sharpness_aware()(model.train(), lambda: cross_entropy(model(batch.inputs), batch.targets))
    for (name, buffer), expected in zip(model.named_buffers(), once.buffers(), strict=True):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(buffer, expected)
    assert all(module.momentum == 0.1 for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert torch.equal(model.stem[0].weight, whitening)
    assert model.stem[0].weight.grad is None


def test_centralised_gradients_have_no_mean_for_any_output():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))
    model(torch.randn(5, 2, 3, 3)).square().sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    GradientCentralisation().gradients(model)
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        if parameter.dim() == 1:
            assert torch.equal(parameter.grad, gradient)
            continue
        assert parameter.grad.flatten(1).mean(1).abs().max() < 1e-5 * gradient.abs().max()
        # What is taken off is the same for all weights of an output.
        assert (gradient - parameter.grad).flatten(1).std(1).max() < 1e-5 * gradient.abs().max()


def test_the_average_of_the_weights_takes_their_place_at_the_end():
    weights: list[Tensor] = []

    class Watch(MovingAverage):
        def stepped(self, model: nn.Module, step: int) -> None:
            weights.append(model[1].weight.detach().clone())
            super().stepped(model, step)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    average = model[1].weight.detach().clone()
    Run().fit("only", model, images(), Schedule(4, 0.1), batch=6, hooks=[Watch(0.7)])
    for weight in weights:
        average = 0.7 * average + 0.3 * weight
    torch.testing.assert_close(model[1].weight.detach(), average)


def test_augmented_images_are_the_images_mirrored_or_not_and_shifted():
    batch = images().rows(torch.arange(24))
    made = FlipAndShift(2, seed=5).batch(nn.Identity(), batch)
    assert torch.equal(made.targets, batch.targets)
    darkest, mirrored = float(batch.inputs.min()), 0
    for before, after in zip(batch.inputs, made.inputs, strict=True):
        found = []
        for flip in (False, True):
            padded = nn.functional.pad(before.flip(2) if flip else before, (2, 2, 2, 2), value=darkest)
            found += [
                flip
                for row in range(5)
                for column in range(5)
                if torch.equal(after, padded[:, row : row + 8, column : column + 8])
            ]
        assert len(found) == 1
        mirrored += found[0]
    assert 6 <= mirrored <= 18
    assert torch.equal(FlipAndShift(2, seed=5).batch(nn.Identity(), batch).inputs, made.inputs)
    nothing = FlipAndShift(0, seed=5).batch(
        nn.Identity(), Batch(batch.inputs[:, :, :, :1], batch.targets, batch.indices)
    )
    assert torch.equal(nothing.inputs, batch.inputs[:, :, :, :1])


def test_mirrored_evaluation_answers_alike_to_an_image_and_its_mirror_image():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(with_mirror_image(model, x), with_mirror_image(model, x.flip(3)))
    torch.testing.assert_close(with_mirror_image(model, x), (model(x) + model(x.flip(3))) / 2)


def test_the_recipe_s_step_runs_every_layer_twice_and_never_computes_the_whitening_s_gradient():
    plain, recipe = smoke_run("resnet9-plain").trace, smoke_run("resnet9-haet").trace
    names = [layer.name for layer in recipe.layers]
    assert {name for name in names if name.endswith("#2")} == {f"{name}#2" for name in names if not name.endswith("#2")}
    assert all(layer.operations == ("forward",) for layer in recipe.layers if layer.name.startswith("stem.0"))
    # Plainly trained, the first layer has a weight gradient.
    assert plain.layers[0].operations == ("forward", "weight_grad")
