"""Writing files whole or not at all, and tables and pictures in the format that a file's name asks for."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simhw.errors import SimhwError, reason

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
PAGE_SUFFIXES = (".html",)
_numbers = count()


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder that takes the place of ``path`` when the block ends well.

    When the block raises, an interrupt included, the temporary file is removed and ``path`` stays as it was.

    Raises
    ------
    SimhwError
        The file cannot be written there.
    """
    target = _target(path)
    try:
        temporary = _temporary(target)
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            # A failure to clean up must not hide the first one.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SimhwError(f"{target}: cannot be written: {reason(error)}") from error


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder that takes the place of ``path`` when the block ends well; that is not there, or empty.

    When the block raises, an interrupt included, the temporary folder is removed.

    Raises
    ------
    SimhwError
        The folder has something in it, or cannot be written there.
    """
    target = _target(path)
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise SimhwError(f"{target}: is there already; name a folder that is empty or not there")
        temporary = _temporary(target)
        try:
            temporary.mkdir()
            yield temporary
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise SimhwError(f"{target}: cannot be written: {reason(error)}") from error


def _target(path: str | os.PathLike[str]) -> Path:
    if "\0" in os.fspath(path):
        raise SimhwError(f"{path}: cannot be written: a name of a file has no NUL character")
    return Path(path)


def _temporary(target: Path) -> Path:
    # Short, so that it fits wherever the target does.  The suffix stays at the end: pandas and matplotlib choose their
    # format by it.
    return target.with_name(
        f".{os.getpid():x}-{next(_numbers)}.part{target.suffix if len(target.suffix) <= 16 else ''}"
    )


def check_target(path: str | os.PathLike[str], suffixes: tuple[str, ...] = ()) -> None:
    """Find out before any long work that a file could not be written after it.

    Raises
    ------
    SimhwError
        Another suffix than those allowed, a folder in its place, no folder to put it in, or one that cannot be written
        to.
    """
    if suffixes:
        check_suffix(path, suffixes)
    target = _target(path)
    try:
        if target.is_dir():
            raise SimhwError(f"{path}: is a folder; give the name of a file")
        if not target.parent.is_dir():
            raise SimhwError(f"{path}: there is no folder {target.parent}; make it first")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise SimhwError(f"{path}: the folder {target.parent} cannot be written to")
        # Permissions do not tell all: a file system may be read-only, or have a limit on names.
        with suppress(FileNotFoundError):
            target.lstat()
        temporary = _temporary(target)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise SimhwError(f"{path}: cannot be written: {reason(error)}") from error


def check_targets(*asked: tuple[str | None, tuple[str, ...]]) -> None:
    """`check_target` of each file and its suffixes; None is a file that was not asked for."""
    for path, suffixes in asked:
        if path is not None:
            check_target(path, suffixes)


def check_suffix(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> str:
    """The path's suffix in lower case, once it is one of those allowed; call it before any long work.

    Raises
    ------
    SimhwError
        The suffix is not one of them; the message lists them.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        raise SimhwError(f"{path}: the name must end in one of {', '.join(suffixes)}")
    return suffix


def _write_csv(frame: "pd.DataFrame", path: Path) -> None:
    frame.to_csv(path, index=False)


def _write_json(frame: "pd.DataFrame", path: Path) -> None:
    """A list of records; pandas' own JSON keeps ten decimals, of which a time in seconds has few to spare."""
    records = [{name: _json_value(value) for name, value in record.items()} for record in frame.to_dict("records")]
    path.write_text(json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _json_value(value: Any) -> Any:
    """A cell for JSON, which has no NaN, no infinity and no missing value but null."""
    import pandas as pd

    return None if value is pd.NA or (isinstance(value, float) and not isfinite(value)) else value


def _write_parquet(frame: "pd.DataFrame", path: Path) -> None:
    frame.to_parquet(path, index=False)


_TABLES: "dict[str, Callable[[pd.DataFrame, Path], None]]" = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".parquet": _write_parquet,
}
TABLE_SUFFIXES = tuple(_TABLES)


def write_frame(frame: "pd.DataFrame", path: str | os.PathLike[str]) -> None:
    """Write a table as CSV, JSON (a list of records) or Parquet, by the suffix of ``path``.

    Raises
    ------
    SimhwError
        Another suffix, or a place that cannot be written.
    """
    write = _TABLES[check_suffix(path, TABLE_SUFFIXES)]
    with replacing(path) as temporary:
        write(frame, temporary)


def write_figure(figure: "Figure", path: str | os.PathLike[str], dots_per_inch: int = 150) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix of ``path``.

    Raises
    ------
    SimhwError
        Another suffix, or a place that cannot be written.
    """
    check_suffix(path, PICTURE_SUFFIXES)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dots_per_inch)
