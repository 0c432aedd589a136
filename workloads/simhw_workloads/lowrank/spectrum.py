"""Ranks from how a pretrained matrix's singular values fall, by one threshold for the whole model; the rest is frozen.

Where gradients settle in a subspace of low rank in pretraining, weights get singular values that fall steeply: such a
matrix loses little at a low rank, and learns on in it.  Where gradients do not, singular values fall slowly: such a
matrix stays whole, and is frozen.  The values of each matrix are scaled to 0 ... 1; those below the threshold go.
Source: WeLore, arXiv 2407.11239 and its code; spec page techniques.md, 2.13.
"""

from collections.abc import Mapping

import numpy as np
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import as_matrix
from simhw_workloads.lowrank.surgery import factor

LOW_RANK = 0.5
"""The share of its rank that a matrix must lose to become low-rank; a pair of fewer has no fewer weights."""
_HALVINGS = 40


def scaled_values(layer: nn.Linear) -> np.ndarray:
    """The singular values of a layer's weights, scaled so that the smallest is 0 and the largest 1, falling."""
    values = np.linalg.svd(as_matrix(layer.weight), compute_uv=False)
    span = values[0] - values[-1]
    scaled: np.ndarray = (values - values[-1]) / span if span else np.ones_like(values)
    return scaled


def threshold(values: Mapping[str, np.ndarray], removed: float) -> float:
    """The one threshold below which that share of all matrices' scaled singular values lies.

    Parameters
    ----------
    values : mapping of path to (rank,) array
        Of `scaled_values`.
    removed : float
        Between 0 and 1.

    Raises
    ------
    WorkloadError
        There are no values, or the share is none.
    """
    if not values or not 0 < removed < 1:
        raise WorkloadError(
            f"{removed:g} of the ranks of {len(values)} matrices: give a share between 0 and 1, of some"
        )
    every = np.concatenate(list(values.values()))
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if (every < middle).mean() < removed else (low, middle)
    return high


def ranks_below(values: Mapping[str, np.ndarray], tau: float) -> dict[str, int]:
    """Per matrix the singular values that are not below the threshold; at least one."""
    return {path: max(1, int((each >= tau).sum())) for path, each in values.items()}


def split_model(model: nn.Module, paths: list[str], removed: float) -> tuple[dict[str, int], list[str]]:
    """Put pairs in the place of the layers that lose much of their rank, and freeze all else.

    Parameters
    ----------
    model : Module
        Changed in place.  Nothing but the pairs' factors learns.
    paths : list of str
        Linear layers.
    removed : float
        Share of all their ranks.

    Returns
    -------
    dict of path to rank, list of path
        The pairs, and the layers that stay whole.

    Raises
    ------
    WorkloadError
        No layer loses enough.
    """
    values = {}
    for path in paths:
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        values[path] = scaled_values(layer)
    ranks = ranks_below(values, threshold(values, removed))
    low = {path: rank for path, rank in ranks.items() if 1 - rank / len(values[path]) >= LOW_RANK}
    if not low:
        raise WorkloadError(f"no layer loses {LOW_RANK:g} of its rank where {removed:g} of all ranks go")
    factor(model, low)
    model.requires_grad_(False)
    for path in low:
        for part in model.get_submodule(path).children():
            assert isinstance(part, nn.Linear)
            part.weight.requires_grad_(True)
    return low, [path for path in paths if path not in low]
