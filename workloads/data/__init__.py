"""Data sets by name; nothing is ever downloaded."""

from pathlib import Path

from simhw.errors import WorkloadError
from workloads.data.images import DATA_SETS, Images


def load(name: str, folder: Path | None = None) -> Images:
    """Labelled images of that name.

    Parameters
    ----------
    name : str
    folder : Path, optional
        Where its files lie, if not where a package puts them.

    Raises
    ------
    WorkloadError
        There is no such set, or it cannot be read.
    """
    if name not in DATA_SETS:
        raise WorkloadError(f"no data set {name!r}; there are {', '.join(DATA_SETS)}")
    return DATA_SETS[name](folder)
