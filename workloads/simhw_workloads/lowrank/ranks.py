"""Which layers of a model are decomposed, and at which rank.

Published ranks come from a compression; others from a device's model, which knows full-size layers.  A narrow model
that trains on a CPU takes the full-size network's choice: the same layers, and of each the same share of its vanilla
rank.  Ranks that come from trained weights go the other way (`simhw_workloads.lowrank.noted`).
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from simhw.roofline.compression.choice import choose
from simhw.roofline.compression.decompose import compression_ranks, decomposable
from simhw.roofline.compression.ranks import LayerTimer, rank_choices
from simhw.roofline.device import load_device
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.devices import device_run
from simhw_workloads.lowrank.chain import as_matrix

BATCH = 64
"""Samples of the step that a device is asked about."""


def vanilla_ranks(model: nn.Module, example: Tensor, compression: float = 2.0) -> dict[str, int]:
    """The ranks of a compression, for all layers that the published tables decompose.

    Parameters
    ----------
    model : Module
    example : Tensor
        Inputs of any number of samples.
    compression : float
        A layer's weights before over those after.
    """
    return compression_ranks(decomposable(network_of(model, example)), compression)


def energy_ranks(model: nn.Module, paths: Mapping[str, int] | list[str], share: float) -> dict[str, int]:
    """The smallest rank that holds a share of the squared singular values; layers are left out that it would not make
    smaller.

    Of a kernel wider than 1x1 the larger rank of its two channel unfoldings.  Source: arXiv 1909.05675.
    """
    found = {}
    for path in paths:
        weight = model.get_submodule(path).weight
        assert isinstance(weight, Tensor)
        outputs, inputs = weight.shape[:2]
        unfoldings = (
            [weight.flatten(1)] if weight[0, 0].numel() == 1 else [weight.flatten(1), weight.transpose(0, 1).flatten(1)]
        )
        rank = min(max(_rank_of(as_matrix(each), share) for each in unfoldings), outputs, inputs)
        taps = weight[0, 0].numel()
        after = rank * (outputs + inputs) + (rank * rank * taps if taps > 1 else 0)
        if after < weight.numel():
            found[path] = rank
    return found


def _rank_of(matrix: np.ndarray, share: float) -> int:
    values = np.linalg.svd(matrix, compute_uv=False) ** 2
    return int(np.searchsorted(np.cumsum(values), share * values.sum()) + 1)


def optimised_ranks(network: Network, device: str) -> dict[str, int]:
    """Rank optimisation of a full-size network: the cheap side of the largest step; layers are left out that are faster
    whole.
    """
    found = rank_choices(network, _timer(device))
    return {each.layer.name: each.rank for each in found if each.rank is not None}


def targeted_ranks(network: Network, device: str, removed: float = 0.4) -> dict[str, int]:
    """Only layers where the device gains, at ranks that gain, removing at most this share of the network's
    parameters.
    """
    return dict(choose(network, _timer(device), budget=removed).ranks)


def scaled_ranks(chosen: Mapping[str, int], own: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """A network's chosen ranks, as the same shares of another's ranks: vanilla ones, or full ones.

    Parameters
    ----------
    chosen, own : mapping of layer name to rank
        Chosen for the network, and those that they are shares of.
    other : mapping of layer name to rank
        The other network's, of the layers that were chosen at least.
    """
    return {name: max(1, round(other[name] * rank / own[name])) for name, rank in chosen.items()}


def _timer(device: str) -> LayerTimer:
    loaded = load_device(device)
    return LayerTimer(loaded, device_run(loaded, BATCH))
