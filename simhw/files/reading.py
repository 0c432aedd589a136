"""Reading text files that nobody vouches for: whatever is wrong with one becomes an error that names it.

Zip archives have a room of their own, `simhw.trace.archive`.
"""

import csv
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from simhw.errors import SimhwError, quoted, reason

# What Python keeps of a value among others, of a list, of a mapping and an entry of it, and (a half for each quote) of
# a text.
_JSON_BYTES = {",": 32, "[": 96, "{": 240, ":": 60, '"': 20}
_PIECE_BYTES = 1 << 20
MAX_CELLS = 128
"""Cells of a row of a CSV file, and delimiters in all: quoted names of C++ kernels hold dozens."""
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")


def read_bytes(path: str | os.PathLike[str], limit_bytes: int, error: type[SimhwError], what: str) -> bytes:
    """The content of a file that holds `what` ("a machine file").

    Raises
    ------
    SimhwError
        Of the type given: there is no such file, it cannot be read, or it is longer than `limit_bytes`.
    """
    try:
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            # A pipe has no length before it is read.  A buffer is made for all that is asked for, so no more than a
            # piece is.
            pieces, left = [], 0 if length > limit_bytes else limit_bytes + 1
            while left and (piece := file.read(min(left, max(length + 1, _PIECE_BYTES)))):
                pieces.append(piece)
                left -= len(piece)
    except (OSError, ValueError) as problem:  # ValueError: a NUL byte in the name
        raise error(f"{quoted(str(path))[1:-1]}: cannot be read: {reason(problem)}; give {what}") from None
    if left == 0:
        raise error(f"{path}: over {limit_bytes:,} bytes; that is not {what}")
    return b"".join(pieces)


def decoded(content: bytes, where: str, error: type[SimhwError]) -> str:
    """The text of a file's bytes, without a byte-order mark.

    Raises
    ------
    SimhwError
        Of the type given: they are not UTF-8; says in which line.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        byte = content[problem.start]
        raise error(f"{where}: line {line}: byte {byte:#04x} is not UTF-8; save the file as UTF-8") from None


def read_text(path: str | os.PathLike[str], limit_bytes: int, error: type[SimhwError], what: str) -> str:
    """The text of a UTF-8 file that holds `what`; raises as `read_bytes` and `decoded` do."""
    return decoded(read_bytes(path, limit_bytes, error, what), str(Path(path)), error)


def check_json_size(text: str, where: str, error: type[SimhwError]) -> None:
    """Count what a JSON document would become in memory, before it is parsed: ``[],`` takes 40 times its three bytes.

    Raises
    ------
    SimhwError
        Of the type given: more than 48 MiB and seven times its length.
    """
    needed = sum(bytes_each * text.count(mark) for mark, bytes_each in _JSON_BYTES.items())
    if needed > (48 << 20) + 7 * len(text):
        raise error(
            f"{where}: so many small values that they would take {needed >> 20} MiB of memory; that is not a file of "
            "this kind"
        )


def parse_json(text: str, where: str, error: type[SimhwError]) -> Any:
    """A JSON document.

    Raises
    ------
    SimhwError
        Of the type given: it is no JSON, nested too deeply, would fill the memory, or has a number that is none (NaN,
        Infinity) or of absurd length.
    """
    check_json_size(text, where, error)

    def not_a_number(name: str) -> Any:
        raise ValueError(f"{name} is not a number")

    try:
        return json.loads(text, parse_constant=not_a_number)
    except ValueError as problem:
        raise error(f"{where}: not JSON: {problem}") from None
    except RecursionError:
        raise error(f"{where}: not JSON that simhw wrote: nested too deeply") from None


def csv_rows(text: str, where: str, error: type[SimhwError], delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV text that hold anything: the number of their line, and their cells without blanks around.

    Rows are made one at a time, so that a file needs little more memory than what the caller keeps of it.

    Raises
    ------
    SimhwError
        Of the type given: a quoted cell is never closed, or a cell or a row is too long; says in which row.
    """
    lines = (match[1] + "\n" for match in _LINE.finditer(text))
    reader = csv.reader(_bounded(lines, where, error, delimiter), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            if any("\n" in cell for cell in cells):
                raise error(
                    f"{where}: row {reader.line_num}: a quoted cell is not closed in its line; close the quotes"
                )
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as problem:
        raise error(f"{where}: row {reader.line_num}: not CSV: {problem}") from None


def check_header(header: Sequence[str], where: str, error: type[SimhwError]) -> None:
    """Raise an error of the type given where a table has a column twice: one of the two would be read, in silence."""
    for column in header:
        if header.count(column) > 1:
            raise error(
                f"{where}: the header names {quoted(column)} {header.count(column)} times; give every column its own "
                "name"
            )


def parse_whole(cell: str) -> int | None:
    """The whole number that a cell is; None where it is anything but digits, or over 13 of them."""
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) <= 13 else None


def _bounded(lines: Iterator[str], where: str, error: type[SimhwError], delimiter: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if line.count(delimiter) >= MAX_CELLS:
            raise error(f"{where}: row {number}: over {MAX_CELLS:,} cells; give a table with a row per line")
        yield line
