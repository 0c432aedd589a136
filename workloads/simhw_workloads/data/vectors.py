"""Vectors to be compressed: sparse Gaussian ones, which theory speaks of, and real digits in whitened coordinates."""

from functools import cache

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.data import load
from simhw_workloads.task import Task


def sparse_gaussian(size: int, density: float, train: int, test: int) -> Task:
    """Vectors to be restored.  A value is normal with variance 1 / density, or else zero: its mean square is 1.

    Source: arXiv 2402.05013, where x is Bernoulli(p) times N(0, 1 / p).

    Parameters
    ----------
    size : int
        Values of a vector.
    density : float
        Share of values that are not zero, 0 < density <= 1.
    train, test : int
        Vectors; they are drawn with a fixed seed.

    Returns
    -------
    Task
        Inputs and targets (B, size) float32, the same.

    Raises
    ------
    WorkloadError
        The density is no share.
    """
    if not 0 < density <= 1:
        raise WorkloadError(f"a density of {density}: give 0 < density <= 1")
    random = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Tensor:
        there = torch.rand(count, size, generator=random) < density
        values: Tensor = there * torch.randn(count, size, generator=random) / density**0.5
        return values

    return restoration(f"sparse Gaussian vectors, {density:.0%} not zero", drawn(train), drawn(test))


def whitened_digits(size: int, source: str = "mnist5k") -> Task:
    """Images as vectors of `size` uncorrelated coordinates of variance 1: the largest principal components, whitened.

    Mean, components and variances are those of the training images, so held-out ones are white only roughly.

    Returns
    -------
    Task
        Inputs and targets (B, size) float32, the same.

    Raises
    ------
    WorkloadError
        There is no such data set, or its images vary in fewer directions.
    """
    train, test = _whitened(size, source)
    return restoration(f"{load(source).name}, {size} whitened coordinates", train, test)


@cache
def _whitened(size: int, source: str) -> tuple[Tensor, Tensor]:
    images = load(source)
    train, test = (pixels.flatten(1).double() / 255 for pixels in (images.train_pixels, images.test_pixels))
    mean = train.mean(0)
    variances, directions = torch.linalg.eigh((train - mean).T @ (train - mean) / len(train))
    kept, scale = directions[:, -size:], variances[-size:]
    if len(scale) < size or float(scale.min()) <= 1e-9 * float(scale.max()):
        raise WorkloadError(f"{images.name}: its images do not vary in {size} directions; give fewer")
    white = kept / scale.sqrt()
    return ((train - mean) @ white).float(), ((test - mean) @ white).float()


def restoration(name: str, train: Tensor, test: Tensor) -> Task:
    """Vectors (N, size) that a model gives back as well as it can."""
    return Task(
        name,
        (train,),
        (test,),
        prepare=lambda columns: (columns[0], columns[0]),
        loss=nn.functional.mse_loss,
        score=lambda outputs, targets: float(nn.functional.mse_loss(outputs, targets)),
        metric="mean squared error",
        higher_is_better=False,
    )
