"""How long a file from a stranger may be before any of it is read."""

from pathlib import Path

from simhw.errors import WorkloadError


def check_length(path: Path, limit_bytes: int) -> int:
    """The length of a file in bytes.

    Raises
    ------
    WorkloadError
        It is longer than `limit_bytes`.
    OSError
        There is no such file.
    """
    size = path.stat().st_size
    if size > limit_bytes:
        raise WorkloadError(f"{path}: {size} bytes; no file of this set has more than {limit_bytes >> 20} MiB")
    return size
