"""Files of data sets that the user has.  Each is read whole, unless it is longer than any file of its kind."""

from pathlib import Path

from simhw.errors import WorkloadError
from simhw.files.reading import read_bytes, read_text

LONGEST_BYTES = 1 << 28
"""CIFAR-100's training images have 154 MB.  MNLI's training text has 80 MB, of which Python's words take ten times as
much.
"""


def data_bytes(path: Path, what: str) -> bytes:
    """The content of a file that holds `what`.

    Raises
    ------
    WorkloadError
        The file is missing, cannot be read, or is longer than `LONGEST_BYTES`.
    """
    return read_bytes(path, LONGEST_BYTES, WorkloadError, what)


def data_text(path: Path, what: str, longest_bytes: int = LONGEST_BYTES) -> str:
    """The text of a file that holds `what`.

    Raises
    ------
    WorkloadError
        The file is missing, cannot be read, is longer than `longest_bytes`, or is not UTF-8.
    """
    return read_text(path, longest_bytes, WorkloadError, what)
