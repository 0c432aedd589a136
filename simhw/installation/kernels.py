"""The folder of compiled kernels: where it is, and how much lies there."""

from dataclasses import dataclass
from pathlib import Path

from simhw.kernel_cache import cache_folder


@dataclass(frozen=True)
class KernelCache:
    """Compiled kernels on disk.

    Attributes
    ----------
    folder : str or None
        Of this version's kernels; None where none can be written, so that they compile anew in each process.
    files, size_bytes : int
        What lies there.
    stale_bytes : int
        In folders of other versions beside it, which nothing removes.
    """

    folder: str | None
    files: int
    size_bytes: int
    stale_bytes: int


def kernel_cache() -> KernelCache:
    """What lies in the folder that kernels of this process come from and go to."""
    folder = cache_folder()
    if folder is None:
        return KernelCache(None, 0, 0, 0)
    own = _sizes(Path(folder))
    beside = _sizes(Path(folder).parent)
    return KernelCache(folder, len(own), sum(own), sum(beside) - sum(own))


def _sizes(folder: Path) -> list[int]:
    """Bytes of every file in a folder and those below; one that another process has just removed is left out."""
    sizes = []
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                sizes.append(path.stat().st_size)
        except OSError:
            continue
    return sizes
