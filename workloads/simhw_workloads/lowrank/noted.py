"""Ranks and channels that training finds: its record notes them, and the full-size network takes the same shares.

No one trains the full-size network here, so what its weights would ask for is not known.  Each of its layers gets the
share of its full rank that the narrow network's layer of the same name was left with.
"""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from simhw_workloads.lowrank.ranks import scaled_ranks
from simhw_workloads.record import Record
from simhw_workloads.train import Run

WHOLE = "whole"
"""The note of a layer that has no rank, since it was not taken apart."""


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
    """Note the rank of each layer, of which full one; `WHOLE` where a layer has none.

    Parameters
    ----------
    run : Run
    ranks : mapping of path to rank
    full : mapping of path to rank
        Of all layers that might have been taken apart.
    """
    run.note(**{_note(path): f"{ranks[path]} of {whole}" if path in ranks else WHOLE for path, whole in full.items()})


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
    notes = {name: _note(roles[name] if roles else name) for name in full}
    return noted_counts(record, {name: note for name, note in notes.items() if record.noted(note) != WHOLE}, full)


def noted_counts(record: Record, notes: Mapping[str, str], full: Mapping[str, int]) -> dict[str, int]:
    """Counts that a run noted, as the same shares of another network's counts.

    Parameters
    ----------
    record : Record
    notes : mapping of layer name to note
        Such as "3 of 8".
    full : mapping of layer name to count

    Raises
    ------
    WorkloadError
        The record has no such note.
    """
    shares = {name: record.share(note) for name, note in notes.items()}
    chosen, own = ({name: share[side] for name, share in shares.items()} for side in (0, 1))
    return scaled_ranks(chosen, own, full)


def _note(path: str) -> str:
    return f"rank.{path}"
