"""Reading a zip of ``.npy`` members that nobody vouches for: one member at a time, nothing allocated before it is
checked.

A stored member is memory-mapped where it lies, and an archive is small enough to pickle into a worker process, without
an open file.  `simhw.trace.directory` reads the zip's directory.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.errors import TraceError, quoted, reason
from simhw.files.npy import npy_header
from simhw.trace.directory import DEFLATED, ENCRYPTED, LOCAL_SIGNATURE, STORED, Member, read_directory

LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
# Deflate spends at least two bits on a copy of at most 258 bytes.
DEFLATE_LARGEST_RATIO = 1032
# An honest header of a bfloat16 tensor takes 128 bytes.
NPY_HEADER_LIMIT = 1024
PIECE_BYTES = 1 << 20
# A mapping holds a file descriptor and whole pages: the many small members of a sampled trace are read instead.
SMALLEST_MAPPED_BYTES = 1 << 18
# What a damaged member may take before it is found out: so much, and so many times its length in the file.
FREE_BYTES, FREE_RATIO = 32 << 20, 7


@dataclass(frozen=True)
class Limits:
    """What a trace may unpack to or claim; stored members are bounded by the file itself.

    Attributes
    ----------
    tensor_bytes, trace_bytes : int
        Largest size of one tensor, unpacked or only claimed (a sample's tensors are not in the file), and of all
        members.
    metadata_bytes : int
        Memory that the metadata may take once parsed, beside eight times the file's size.

    The environment variables ``SIMHW_MAX_TENSOR_BYTES``, ``SIMHW_MAX_TRACE_BYTES`` and ``SIMHW_MAX_METADATA_BYTES``
    replace the defaults.
    """

    tensor_bytes: int = 4 << 30
    trace_bytes: int = 64 << 30
    metadata_bytes: int = 48 << 20

    @classmethod
    def from_environment(cls) -> "Limits":
        """The defaults, with what the environment says instead."""
        given: dict[str, int] = {}
        for name in ("tensor_bytes", "trace_bytes", "metadata_bytes"):
            text = os.environ.get(f"SIMHW_MAX_{name.upper()}")
            if text is not None:
                if not text.isdecimal():
                    raise TraceError(f"SIMHW_MAX_{name.upper()}={text!r}: give a number of bytes")
                given[name] = int(text)
        return cls(**given)


class Archive:
    """The directory of a zip file, checked, and its members on demand.

    Raises
    ------
    TraceError
        The file is no zip, is cut off, or its directory cannot be trusted: duplicate, encrypted or overlapping members,
        unknown compression, sizes that are impossible or beyond the limits.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        try:
            with open(path, "rb") as file:
                self._identity = identity_of(os.fstat(file.fileno()))
                self.members = self._directory(file)
        except OSError as error:
            raise self.error(f"cannot be read: {reason(error)}") from error
        # Members whose checksum held once are not summed again.
        self._intact: set[str] = set()

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return self._identity[0]

    @cached_property
    def unpacked_bytes(self) -> int:
        """Size of all members, unpacked."""
        return sum(member.bytes for member in self.members.values())

    def error(self, problem: str) -> TraceError:
        """An error that names the file."""
        return TraceError(f"{self.path.name}: {problem}")

    def _directory(self, file: BinaryIO) -> dict[str, Member]:
        members: dict[str, Member] = {}
        taken: set[int] = set()
        total = 0
        for member in read_directory(file, self.error):
            if member.name in members:
                raise self.error(f"holds member {quoted(member.name)} twice")
            self._check_size(member)
            # Members that share an offset, or overlap, would unpack to more than the file holds.
            if member.offset in taken or member.offset + LOCAL_HEADER.size + member.stored_bytes > member.end:
                raise self._overlap(member)
            taken.add(member.offset)
            total += member.bytes if member.deflated else 0
            members[member.name] = member
        if total > self.limits.trace_bytes:
            raise self.error(
                f"unpacks to {total} bytes, more than {self.limits.trace_bytes} for one trace; set "
                "SIMHW_MAX_TRACE_BYTES to allow more"
            )
        return members

    def _overlap(self, member: Member, where: str = "directory") -> TraceError:
        return self.error(
            f"{where}: member {quoted(member.name)} reaches into what follows it; the file is damaged or forged"
        )

    def _check_size(self, member: Member) -> None:
        if not member.deflated:
            if member.bytes != member.stored_bytes:
                raise self.error(
                    f"member {quoted(member.name)} is stored, but claims {member.bytes} bytes in {member.stored_bytes}"
                )
            return
        if member.bytes > DEFLATE_LARGEST_RATIO * (member.stored_bytes + 1):
            raise self.error(
                f"member {quoted(member.name)} claims {member.bytes} bytes in {member.stored_bytes} compressed ones, "
                f"more than the {DEFLATE_LARGEST_RATIO} to 1 that deflate can reach"
            )
        if member.bytes > self.limits.tensor_bytes:
            raise self.error(
                f"member {quoted(member.name)} unpacks to {member.bytes} bytes, more than {self.limits.tensor_bytes} "
                "for one tensor; "
                "set SIMHW_MAX_TENSOR_BYTES to allow more"
            )

    def member(self, name: str, where: str) -> Member:
        """The member of that name.

        Raises
        ------
        TraceError
            There is none; ``where`` says what it would have been.
        """
        if name not in self.members:
            raise self.error(f"{where}: member {quoted(name)} is missing")
        return self.members[name]

    def _open(self) -> BinaryIO:
        try:
            file = open(self.path, "rb")  # noqa: SIM115  the caller closes it
        except OSError as error:
            raise self.error(f"cannot be read: {reason(error)}") from error
        if identity_of(os.fstat(file.fileno())) != self._identity:
            file.close()
            raise self.error("has changed since it was opened; load it anew")
        return file

    def _data_offset(self, file: BinaryIO, member: Member, where: str) -> int:
        """Where the member's bytes begin, once its local header agrees with the directory."""
        file.seek(member.offset)
        raw = file.read(LOCAL_HEADER.size)
        if len(raw) < LOCAL_HEADER.size or not raw.startswith(LOCAL_SIGNATURE):
            raise self.error(f"{where}: the local header of member {quoted(member.name)} is damaged")
        _, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = LOCAL_HEADER.unpack(raw)
        name = file.read(name_bytes)
        expected = DEFLATED if member.deflated else STORED
        if name != member.name.encode() or method != expected or flags & ENCRYPTED:
            raise self.error(f"{where}: the local header of member {quoted(member.name)} differs from the directory")
        begin: int = member.offset + LOCAL_HEADER.size + name_bytes + extra_bytes
        if begin + member.stored_bytes > member.end:
            raise self._overlap(member, where)
        return begin

    def _damaged(self, member: Member, where: str, problem: str) -> TraceError:
        return self.error(f"{where}: member {quoted(member.name)} is damaged: {problem}")

    def _unpacked(self, file: BinaryIO, member: Member, where: str) -> Iterator[bytes]:
        """The member's bytes in pieces, never more than the directory says; length and checksum are checked
        at the end.
        """
        file.seek(self._data_offset(file, member, where))
        inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.deflated else None
        left, given, crc = member.stored_bytes, 0, 0
        try:
            while given <= member.bytes and not (inflate and inflate.eof):
                packed = inflate.unconsumed_tail if inflate else b""
                if not packed:
                    packed = file.read(min(PIECE_BYTES, left))
                    left -= len(packed)
                # One byte more than is left would show that the stream is longer than it says.
                piece = inflate.decompress(packed, min(PIECE_BYTES, member.bytes - given) + 1) if inflate else packed
                if not piece and not packed:
                    break
                given += len(piece)
                crc = zlib.crc32(piece, crc)
                if given <= member.bytes:
                    yield piece
        except zlib.error as error:
            raise self._damaged(member, where, str(error)) from error
        if given != member.bytes or left or (inflate and (inflate.unused_data or not inflate.eof)):
            raise self._damaged(
                member, where, f"it does not unpack to the {member.bytes} bytes that the directory says"
            )
        if crc != member.crc:
            raise self._damaged(member, where, "its checksum is wrong")
        self._intact.add(member.name)

    def unpacked(self, name: str, where: str) -> Iterator[bytes]:
        """A member's bytes in pieces of at most a megabyte.

        Raises
        ------
        TraceError
            It is missing or damaged.
        """
        member = self.member(name, where)
        with self._open() as file:
            yield from self._unpacked(file, member, where)

    def read(self, name: str, where: str) -> bytes:
        """All bytes of a member, whatever its size: for those whose size was checked; raises as `unpacked` does."""
        return b"".join(self.unpacked(name, where))

    def check_array_size(self, name: str, shape: tuple[int, ...], where: str) -> None:
        """Check by the directory alone that a member can be a uint16 array of this shape.

        Raises
        ------
        TraceError
            It is missing, or its size leaves no honest room for the header.
        """
        member = self.member(name, where)
        if not 0 < member.bytes - 2 * prod(shape) <= NPY_HEADER_LIMIT:
            raise self.error(
                f"{where}: member {name!r} has {member.bytes} bytes, which does not fit shape {shape} of 2 bytes "
                "each and a header"
            )

    def array(self, name: str, shape: tuple[int, ...], where: str) -> BF16Array:
        """A member as uint16 array: mapped where it is large and stored, else read into memory.

        A mapped array is copy-on-write: it can be written to, and the file stays as it is.

        Raises
        ------
        TraceError
            The member is missing, damaged, or not a little-endian C-ordered uint16 array of this shape.
        """
        self.check_array_size(name, shape, where)
        member = self.member(name, where)
        with self._open() as file:
            if not member.deflated and member.bytes >= SMALLEST_MAPPED_BYTES:
                return self._mapped(file, member, shape, where)
            if (
                member.deflated
                and member.name not in self._intact
                and member.bytes > FREE_BYTES + FREE_RATIO * member.stored_bytes
            ):
                # What unpacks to so much more than the file is looked through once before room is made for it.
                for _ in self._unpacked(file, member, where):
                    pass
            pieces = self._unpacked(file, member, where)
            head = b""
            for piece in pieces:
                head += piece
                if len(head) >= min(NPY_HEADER_LIMIT, member.bytes):
                    break
            begin = self._check_header(head, member, shape, where)
            values = np.empty(prod(shape), "<u2")
            target = values.view(np.uint8)
            at = len(head) - begin
            target[:at] = np.frombuffer(head, np.uint8, offset=begin)
            for piece in pieces:
                target[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
        return values.reshape(shape)

    def _mapped(self, file: BinaryIO, member: Member, shape: tuple[int, ...], where: str) -> BF16Array:
        begin = self._data_offset(file, member, where)
        file.seek(begin)
        header_bytes = self._check_header(file.read(min(NPY_HEADER_LIMIT, member.bytes)), member, shape, where)
        first = begin - begin % mmap.ALLOCATIONGRANULARITY
        try:
            view = mmap.mmap(file.fileno(), begin + member.bytes - first, access=mmap.ACCESS_COPY, offset=first)
        except (OSError, ValueError) as error:
            raise self._damaged(member, where, f"it cannot be mapped ({error})") from error
        if member.name not in self._intact:
            # Read, not looked at in the mapping: that would hold all of it before anybody wants it.
            for _ in self._unpacked(file, member, where):
                pass
        values = np.frombuffer(view, "<u2", offset=begin - first + header_bytes).reshape(shape)
        # Another zip tool may have put it on an odd byte, where kernels must not read 16-bit words.
        return values if values.flags.aligned else values.copy()

    def _check_header(self, head: bytes, member: Member, shape: tuple[int, ...], where: str) -> int:
        """Parse the .npy header, compare it with what the metadata says, and give its length in bytes."""
        try:
            header = npy_header(BytesIO(head), NPY_HEADER_LIMIT)
        except ValueError as error:
            raise self.error(f"{where}: member {quoted(member.name)} is not a .npy array: {error}") from error
        dtype = header.dtype
        if dtype != np.dtype("<u2"):
            hint = " (big-endian)" if dtype == np.dtype(">u2") else ""
            raise self.error(
                f"{where}: dtype {dtype.str!r}{hint}; bfloat16 bit patterns are little-endian uint16, '<u2'"
            )
        if header.fortran_order:
            raise self.error(f"{where}: the array is in Fortran order; write it in C order")
        if header.shape != shape:
            raise self.error(f"{where}: the array's header claims shape {quoted(header.shape)}, the metadata {shape}")
        if header.begin + 2 * prod(shape) != member.bytes:
            raise self.error(
                f"{where}: member {quoted(member.name)} has {member.bytes} bytes; its header and shape {shape} need "
                "another number"
            )
        return header.begin


def let_go(values: BF16Array) -> None:
    """Give back the memory of values in a mapping that nobody has written to: asked for again, they are read again."""
    owner: object = values
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):
        begin = values.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
        first = begin - begin % mmap.PAGESIZE
        owner.madvise(mmap.MADV_DONTNEED, first, begin + values.nbytes - first)


def identity_of(status: os.stat_result) -> tuple[int, int, int]:
    """What tells a file from another one and from itself before it was written to."""
    return status.st_size, status.st_mtime_ns, status.st_ino
