"""Labelled images by name.  Nothing is ever downloaded.

Texts, clips, scenes and folders of photographs have modules of their own.
"""

from pathlib import Path

from simhw.errors import WorkloadError
from simhw_workloads.data.cifar import cifar10, cifar100
from simhw_workloads.data.images import DATA_SETS, Images

_SETS = DATA_SETS | {"cifar10": cifar10, "cifar100": cifar100}


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
    if name not in _SETS:
        raise WorkloadError(f"no data set {name!r}; there are {', '.join(_SETS)}")
    return _SETS[name](folder)
