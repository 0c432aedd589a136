"""Reading a ``.npy`` file that nobody vouches for: its header is checked before anything is allocated, nothing is
unpickled, and nothing is given to Python's compiler, as NumPy does with a header.  Source: NEP 1.
"""

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from simhw.errors import SimhwError, quoted, reason

HEADER_BYTES = 4096
"""A header of an array of numbers takes 128 bytes."""
MOST_AXES = 32
_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}
"""Bytes of the header's length, by version of the format."""
# Python 2 wrote an L after a large number.  No two blanks in a row may match in several ways: that takes long.
_SHAPE = rb"\(\s*(?:-?\d{1,40}L?\s*,\s*)*(?:-?\d{1,40}L?\s*)?\)"
_ENTRY = rb"""\s*["'](descr|fortran_order|shape)["']\s*:\s*(["'][^"']*["']|True|False|""" + _SHAPE + rb")\s*"
_ENTRIES = re.compile(_ENTRY)
_HEADER = re.compile(rb"\{" + rb",".join([_ENTRY] * 3) + rb"(?:,\s*)?\}")
_SIZE = re.compile(rb"-?\d+")
_TYPE = re.compile(r"[<>|=]?[a-zA-Z]\d{0,2}")


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a ``.npy`` file claims; an axis may be negative.  Values begin at `begin` [bytes]."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    begin: int


def npy_header(file: BinaryIO, most_bytes: int = HEADER_BYTES) -> NpyHeader:
    """The header of a ``.npy`` file that begins where the file does.

    Raises
    ------
    ValueError
        It is none, or one of more than `most_bytes` [bytes], or of no plain type.
    """
    magic = file.read(8)
    if len(magic) < 8 or not magic.startswith(_MAGIC):
        raise ValueError("it does not begin as one")
    version = magic[6], magic[7]
    if version not in _LENGTH_BYTES:
        raise ValueError(f"unknown version {version}")
    length_bytes = _LENGTH_BYTES[version]
    length = int.from_bytes(file.read(length_bytes), "little")
    if length > most_bytes:
        raise ValueError(f"its header claims {length:,} bytes, more than {most_bytes:,}")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("its header is cut off")
    shape, fortran_order, dtype = _stated(text.strip())
    return NpyHeader(shape, fortran_order, dtype, len(magic) + length_bytes + length)


# A trace holds many arrays of few shapes, and each machine reads them anew.
@lru_cache(maxsize=256)
def _stated(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and type that a header's text states; raises as `npy_header` does."""
    entries: dict[bytes, bytes] = dict(_ENTRIES.findall(text)) if _HEADER.fullmatch(text) else {}
    order, shape = entries.get(b"fortran_order", b""), entries.get(b"shape", b"")
    name = entries.get(b"descr", b"").strip(b"\"'").decode("latin1")
    if not _TYPE.fullmatch(name) or order not in (b"True", b"False") or not shape.startswith(b"("):
        raise ValueError(f"its header is {quoted(text)[1:]}")
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise ValueError(f"there is no type {quoted(name)}") from None
    sizes = tuple(int(size) for size in _SIZE.findall(shape))
    return sizes, order == b"True", dtype


@dataclass(frozen=True)
class NpyFile:
    """An array of numbers in a ``.npy`` file whose header fits the file; its values are mapped when asked for."""

    path: Path
    header: NpyHeader

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""
        return self.header.dtype

    def values(self) -> npt.NDArray[Any]:
        """The values, mapped where they lie."""
        order: Literal["F", "C"] = "F" if self.header.fortran_order else "C"
        return np.memmap(self.path, self.dtype, "r", self.header.begin, self.shape, order)


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
            header = npy_header(file)
    except OSError as problem:
        raise error(f"{where}: cannot be read: {reason(problem)}") from None
    except ValueError as problem:
        raise error(f"{where}: no .npy file of numbers: {problem}; write it with numpy.save") from None
    shape, dtype = header.shape, header.dtype
    if dtype.kind not in "fiu" or len(shape) > MOST_AXES or not all(size > 0 for size in shape):
        raise error(
            f"{where}: {quoted(str(dtype))[1:-1]} {quoted(shape)}: give an array of numbers without an empty axis"
        )
    needed = prod(shape) * dtype.itemsize
    if needed > limit_bytes:
        raise error(f"{where}: {quoted(shape)} takes {needed:,} bytes, over the limit of {limit_bytes:,}")
    if header.begin + needed != length:
        raise error(
            f"{where}: {length - header.begin:,} bytes of values, but {quoted(shape)} of {dtype} takes {needed:,}; "
            "cut off?"
        )
    return NpyFile(Path(path), header)
