"""Cars and how far they drive on a gallon: the 392 complete rows of UCI Auto MPG, inside mlxtend."""

from functools import cache

import torch
from torch import Tensor

from simhw.errors import WorkloadError

NAME = "Auto MPG (mlxtend)"
_FEATURES = 7
"""Cylinders, displacement, horsepower, weight, acceleration, year, origin; mlxtend's eighth column, a car's name, is
empty.
"""


@cache
def cars() -> tuple[Tensor, Tensor]:
    """Features (392, 7) and miles per gallon (392,) of cars, float64, each of mean 0 and variance 1.

    Raises
    ------
    WorkloadError
        mlxtend is not installed.
    """
    try:
        from mlxtend.data import autompg_data
    except ImportError:
        raise WorkloadError(f"{NAME} comes with mlxtend: pip install 'simhw[workloads]'") from None
    features, miles = (torch.from_numpy(column) for column in autompg_data())
    return _standard(features[:, :_FEATURES]), _standard(miles)


def _standard(values: Tensor) -> Tensor:
    return (values - values.mean(0)) / values.std(0, correction=0)
