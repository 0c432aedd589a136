"""Reading a ``.npy`` file that nobody vouches for: its header is checked before anything is allocated, and nothing is
unpickled.
"""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simhw.errors import SimhwError, quoted, reason

HEADER_BYTES = 4096
"""A header of an array of numbers takes 128 bytes; the limit also bounds what numpy parses."""
MOST_AXES = 32


@dataclass(frozen=True)
class NpyFile:
    """An array of numbers in a ``.npy`` file whose header fits the file; its values are mapped when asked for."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def values(self) -> npt.NDArray[Any]:
        """The values, mapped where they lie."""
        mapped: npt.NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False, max_header_size=HEADER_BYTES)
        return mapped


def npy_file(path: str | os.PathLike[str], limit_bytes: int, error: type[SimhwError]) -> NpyFile:
    """The header of a ``.npy`` file, held against the file's length.

    Raises
    ------
    SimhwError
        Of the type given: there is no such file, it is no array of numbers, an axis is empty, it is cut off or has more
        than its header says, or takes more than `limit_bytes`.
    """
    where = str(path)
    try:
        # A pipe would make us wait, and a folder cannot be read.
        if not os.path.isfile(path):
            raise error(f"{where}: no such file; give a .npy file")
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
                version
            )
            if read is None:
                raise ValueError(f"version {version[0]}.{version[1]} of the format")
            shape, _, dtype = read(file, max_header_size=HEADER_BYTES)
            begin = file.tell()
    except OSError as problem:
        raise error(f"{where}: cannot be read: {reason(problem)}") from None
    except (ValueError, TypeError, MemoryError, RecursionError) as problem:
        raise error(f"{where}: no .npy file of numbers: {problem}; write it with numpy.save") from None
    if dtype.kind not in "fiu" or len(shape) > MOST_AXES or not all(type(size) is int and size > 0 for size in shape):
        raise error(
            f"{where}: {quoted(str(dtype))[1:-1]} {quoted(shape)}: give an array of numbers without an empty axis"
        )
    needed = prod(shape) * dtype.itemsize
    if needed > limit_bytes:
        raise error(f"{where}: {quoted(shape)} takes {needed:,} bytes, over the limit of {limit_bytes:,}")
    if begin + needed != length:
        raise error(
            f"{where}: {length - begin:,} bytes of values, but {quoted(shape)} of {dtype} takes {needed:,}; cut off?"
        )
    return NpyFile(Path(path), shape, dtype)
