"""Which layers of a model are decomposed, and at which rank.

Published ranks come from a compression; others from a device's model, which knows full-size layers.  A narrow model
that trains on a CPU takes the full-size network's choice: the same layers, and of each the same share of its vanilla
rank.  Ranks that come from trained weights go the other way: the record notes them, and the full-size network takes the
same share of each layer's full rank.
"""

import re
from collections.abc import Collection, Mapping

import numpy as np
from torch import Tensor, nn

from simhw.errors import WorkloadError, quoted
from simhw.roofline.compression.choice import choose
from simhw.roofline.compression.decompose import compression_ranks, decomposable
from simhw.roofline.compression.ranks import LayerTimer, rank_choices
from simhw.roofline.device import load_device
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.devices import device_run
from simhw_workloads.lowrank.chain import as_matrix
from simhw_workloads.record import Record
from simhw_workloads.train import Run

BATCH = 64
"""Samples of the step that a device is asked about."""
_NOTE, _WHOLE = "rank.", "whole"


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


def full_ranks(model: nn.Module, paths: Collection[str], *, pairs: bool = False) -> dict[str, int]:
    """The rank at which a layer's factors can hold any weights.

    Parameters
    ----------
    model : Module
        Its parameters may be on the meta device.
    paths : collection of str
        Linear layers and convolutions.
    pairs : bool
        A convolution's first factor has its kernel (`simhw_workloads.lowrank.chain.paired`); otherwise all ranks are
        counts of channels.
    """
    found = {}
    for path in paths:
        weight = model.get_submodule(path).weight
        assert isinstance(weight, Tensor)
        found[path] = min(weight.flatten(1).shape if pairs else weight.shape[:2])
    return found


def note_ranks(run: Run, ranks: Mapping[str, int], full: Mapping[str, int]) -> None:
    """Note the rank of each layer, of which full one; "whole" where a layer has none.

    Parameters
    ----------
    run : Run
    ranks : mapping of path to rank
    full : mapping of path to rank
        Of all layers that might have been taken apart.
    """
    run.note(
        **{f"{_NOTE}{path}": f"{ranks[path]} of {whole}" if path in ranks else _WHOLE for path, whole in full.items()}
    )


def noted_ranks(record: Record, full: Mapping[str, int], roles: Mapping[str, str] | None = None) -> dict[str, int]:
    """The ranks that a run noted, as the same shares of another network's full ranks; whole layers are left out.

    Parameters
    ----------
    record : Record
    full : mapping of layer name to rank
        Of all layers of the other network that may be taken apart.
    roles : mapping of layer name to path, optional
        The noted layer that each of them takes its share from, where names or depth differ; that of its name otherwise.

    Raises
    ------
    WorkloadError
        The record does not note the rank of such a layer.
    """
    chosen, own = {}, {}
    for name in full:
        path = roles[name] if roles else name
        told = record.notes.get(_NOTE + path)
        if told is None:
            raise WorkloadError(
                f"the record of the run does not note the rank of {quoted(path)}, which training finds: the full-size "
                "network has the ranks of a run; train the technique, or train it anew"
            )
        if told == _WHOLE:
            continue
        counts = re.fullmatch(r"([1-9][0-9]{0,8}) of ([1-9][0-9]{0,8})", str(told))
        if counts is None or int(counts[1]) > int(counts[2]):
            raise WorkloadError(f"the run's note {quoted(_NOTE + path)} is {quoted(told)}, not a rank such as '3 of 8'")
        chosen[name], own[name] = int(counts[1]), int(counts[2])
    return scaled_ranks(chosen, own, full)


def _timer(device: str) -> LayerTimer:
    loaded = load_device(device)
    return LayerTimer(loaded, device_run(loaded, BATCH))
