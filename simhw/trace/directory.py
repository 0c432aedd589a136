"""The directory of a zip file that nobody vouches for.

Read here rather than by Python's `zipfile`, which takes a kilobyte a member, believes offsets and counts that disagree,
and raises what happens to come up.  Source: PKWARE's APPNOTE, sections 4.3.12 to 4.3.16, 4.5.3.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from simhw.errors import TraceError, quoted

ENTRY = struct.Struct("<4s6H3I5H2I")
ENTRY_SIGNATURE = b"PK\x01\x02"
END = struct.Struct("<4s4H2IH")
END_SIGNATURE = b"PK\x05\x06"
END64 = struct.Struct("<4sQ2H2I4Q")
END64_SIGNATURE = b"PK\x06\x06"
LOCATOR64 = struct.Struct("<4sIQI")
LOCATOR64_SIGNATURE = b"PK\x06\x07"
LOCAL_SIGNATURE = b"PK\x03\x04"
LONGEST_COMMENT = 0xFFFF
# A field that holds this is in the zip64 extra field, or in the zip64 end record.
ELSEWHERE, ELSEWHERE_16 = 0xFFFF_FFFF, 0xFFFF
EXTRA64 = 1
ENCRYPTED, UTF8 = 0x1, 0x800
STORED, DEFLATED = 0, 8


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside the archive, as the directory has it; sizes in bytes, ``end`` is where the next thing begins."""

    name: str
    offset: int
    end: int
    stored_bytes: int
    bytes: int
    crc: int
    deflated: bool


Problem = Callable[[str], TraceError]


def read_directory(file: BinaryIO, problem: Problem) -> list[Member]:
    """The members in the order of the directory, those that are folders left out.

    Parameters
    ----------
    file : binary file
    problem : callable
        Makes the error for a problem: it knows the file's name.

    Raises
    ------
    TraceError
        The file is no zip, is cut off, or its directory disagrees with itself.
    """
    number, size, offset = _end(file, problem)
    file.seek(offset)
    directory = file.read(size)
    raw: list[tuple[str, int, int, int, int, bool]] = []
    at = 0
    while at < size:
        entry, at = _entry(directory, at, problem)
        raw.append(entry)
    if len(raw) != number:
        raise problem(f"is cut off or damaged: its directory has {len(raw)} members, its end record says {number}")
    # Each member's room ends where the next one begins, or the directory.
    begins_at = [*sorted({entry[1] for entry in raw}), offset]
    ends = dict(pairwise(begins_at))
    return [
        Member(name, begin, ends[begin], stored, unpacked, crc, deflated)
        for name, begin, stored, unpacked, crc, deflated in raw
        if not (name.endswith("/") and unpacked == 0)
    ]


def _end(file: BinaryIO, problem: Problem) -> tuple[int, int, int]:
    """Number of members, and size and offset of the directory."""
    file_bytes = file.seek(0, 2)
    start = max(0, file_bytes - END.size - LONGEST_COMMENT)
    file.seek(start)
    tail = file.read(END.size + LONGEST_COMMENT)
    candidates = [
        match.start() for match in re.finditer(re.escape(END_SIGNATURE), tail) if match.start() + END.size <= len(tail)
    ]
    if not candidates:
        file.seek(0)
        begins = file.read(4) == LOCAL_SIGNATURE
        what = (
            "is cut off or damaged: it begins as a zip file but its directory is missing"
            if begins
            else "is not a zip file"
        )
        raise problem(f"{what}; a trace is an .npz file that simhw has written")
    damaged = problem(
        "is cut off or damaged: the record at its end does not fit it; a trace is an .npz file that simhw has written"
    )
    # Its comment ends the file; one that holds the signature itself looks like a second record.
    fitting = [at for at in candidates if at + END.size + END.unpack_from(tail, at)[-1] == len(tail)]
    if not fitting:
        raise damaged
    ends_at = start + fitting[0]
    _, disk, first_disk, here, number, size, offset, _ = END.unpack_from(tail, fitting[0])
    if ELSEWHERE in (size, offset) or ELSEWHERE_16 in (here, number):
        locator_at = ends_at - LOCATOR64.size
        if locator_at < END64.size:
            raise damaged
        file.seek(locator_at)
        signature, _, ends_at, _ = LOCATOR64.unpack(file.read(LOCATOR64.size))
        if signature != LOCATOR64_SIGNATURE or ends_at > locator_at - END64.size:
            raise damaged
        file.seek(ends_at)
        signature, _, _, _, disk, first_disk, here, number, size, offset = END64.unpack(file.read(END64.size))
        if signature != END64_SIGNATURE:
            raise damaged
    if disk or first_disk or here != number or offset + size != ends_at:
        raise damaged
    return number, size, offset


def _entry(directory: bytes, at: int, problem: Problem) -> tuple[tuple[str, int, int, int, int, bool], int]:
    """One member (name, offset, stored and unpacked bytes, checksum, deflated), and where the next entry begins."""
    damaged = "is cut off or damaged: its directory is not one"
    if at + ENTRY.size > len(directory):
        raise problem(damaged)
    (
        signature,
        _,
        _,
        flags,
        method,
        _,
        _,
        crc,
        stored,
        unpacked,
        name_bytes,
        extra_bytes,
        comment_bytes,
        disk,
        _,
        _,
        offset,
    ) = ENTRY.unpack_from(directory, at)
    begin = at + ENTRY.size
    end = begin + name_bytes + extra_bytes + comment_bytes
    if signature != ENTRY_SIGNATURE or disk or end > len(directory):
        raise problem(damaged)
    raw_name = directory[begin : begin + name_bytes]
    try:
        name = raw_name.decode("utf-8" if flags & UTF8 else "cp437")
    except UnicodeDecodeError:
        raise problem(f"holds member {quoted(raw_name)}, which is not a name that a trace has") from None
    if ELSEWHERE in (unpacked, stored, offset):
        extra = directory[begin + name_bytes : begin + name_bytes + extra_bytes]
        unpacked, stored, offset = _zip64(extra, [unpacked, stored, offset], name, problem)
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
        raise problem(f"holds member {quoted(name)}, which is not a name that a trace has")
    if flags & ENCRYPTED:
        raise problem(f"member {quoted(name)} is encrypted; a trace is not")
    if method not in (STORED, DEFLATED):
        raise problem(f"member {quoted(name)} has compression method {method}; known are stored (0) and deflated (8)")
    return (name, offset, stored, unpacked, crc, method == DEFLATED), end


def _zip64(extra: bytes, fields: list[int], name: str, problem: Problem) -> list[int]:
    """Unpacked and stored size and offset, those that do not fit 32 bits taken from the zip64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == EXTRA64:
            values = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            found = [next(values, -1) if field == ELSEWHERE else field for field in fields]
            if -1 not in found:
                return found
        at += 4 + length
    raise problem(f"is cut off or damaged: member {quoted(name)} has no size or place")
