"""The store of a sweep: one SQLite file that pandas reads, to which one process writes.

Table ``points`` has what the sweep asks for, ``outcomes`` what became of each by its hash, and ``totals`` the figures:
a row per operation, and one for the total.  The view ``sweep`` joins them, a row per point, with the figures of the
total.

An outcome is one transaction, so a process that is killed leaves a store that lacks what was running, and nothing else.
SQLite's rollback journal is used, not its write-ahead log, which must not lie on a network file system.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from simhw.errors import SimhwError, quoted, reason
from simhw.sources import made_by
from simhw.sweeps.points import Points
from simhw.sweeps.work import Outcome, columns

if TYPE_CHECKING:
    import pandas as pd

APPLICATION_ID = 0x53494D48
"""``SIMH``: what tells a store from any other database."""
SUFFIXES = (".db", ".sqlite")


@dataclass(frozen=True)
class About:
    """Which simhw and which sweep file a store was written for; empty texts for a new one."""

    made_by: str = ""
    description: str = ""


class Store:
    """A store that this process writes to, alone.

    Parameters
    ----------
    path : str or path
        Made where there is none.

    Raises
    ------
    SimhwError
        It is something else, of another make, cannot be written, or another process writes to it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = _locked(self.path)
        try:
            self._connection = _connected(self.path, writable=True)
            self._set_up()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to it."""
        self._connection.close()
        with suppress(OSError):
            os.unlink(self._lock.name)
        self._lock.close()

    @property
    def about(self) -> About:
        """What it was written for until now."""
        with _told(self.path):
            return _about(self._connection)

    def hashes(self) -> set[str]:
        """Of all points that there is a result of, whatever sweep asked for it."""
        with _told(self.path):
            return {row[0] for row in self._connection.execute("SELECT hash FROM outcomes WHERE error IS NULL")}

    def plan(self, points: Points, description: str) -> None:
        """Put these points in place of those that the store has; outcomes stay."""
        names = points.columns
        with self._transaction():
            self._connection.execute("DROP VIEW IF EXISTS sweep")
            self._connection.execute("DROP TABLE IF EXISTS points")
            self._connection.execute(
                f"CREATE TABLE points (number INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, {_named(names)})"
            )
            self._connection.executemany(
                f"INSERT INTO points VALUES ({_marks(2 + len(names))})",
                (
                    (number, point.hash, *(point.row.get(name) for name in names))
                    for number, point in enumerate(points.found, start=1)
                ),
            )
            self._connection.execute(_view(names))
            self._connection.executemany(
                "INSERT OR REPLACE INTO about VALUES (?, ?)", [("made_by", made_by()), ("description", description)]
            )

    def keep(self, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes, all or none, over what was kept of these points."""
        with self._transaction():
            for outcome in outcomes:
                self._connection.execute("DELETE FROM totals WHERE hash = ?", (outcome.hash,))
                self._connection.execute(
                    "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?)",
                    (outcome.hash, outcome.error, "\n".join(outcome.cautions), outcome.seconds, outcome.made_by),
                )
                self._connection.executemany(
                    f"INSERT INTO totals VALUES ({_marks(2 + len(columns()))})",
                    (
                        (outcome.hash, operation, *(row[name] for name in columns()))
                        for operation, row in outcome.totals.items()
                    ),
                )

    def frame(self) -> "pd.DataFrame":
        """A row per point; see `read_store`."""
        with _told(self.path):
            return _frame(self._connection)

    def _set_up(self) -> None:
        """Make the tables where the file is new.

        Raises
        ------
        SimhwError
            It has others.
        """
        with _told(self.path):
            if not self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                with self._transaction():
                    self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self._connection.execute("CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT)")
                    self._connection.execute(
                        "CREATE TABLE outcomes (hash TEXT PRIMARY KEY, error TEXT, cautions TEXT, seconds REAL, "
                        "made_by TEXT)"
                    )
                    self._connection.execute(
                        f"CREATE TABLE totals (hash TEXT, operation TEXT, {_named(columns())}, "
                        "PRIMARY KEY (hash, operation))"
                    )
            _check(self._connection, self.path)
            found = [row[1] for row in self._connection.execute("PRAGMA table_info(totals)")]
        if found != ["hash", "operation", *columns()]:
            raise SimhwError(
                f"{self.path}: a store of {self.about.made_by or 'another simhw'}, whose figures are others; give "
                "another name for this sweep's store"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of a block or nothing of it."""
        with _told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise


def read_store(path: str | os.PathLike[str]) -> "pd.DataFrame":
    """A row per point of a store, while it is written to as well; the same as pandas reads of the view ``sweep``.

    Raises
    ------
    SimhwError
        There is no such file, or it is no store.
    """
    with _read(path) as connection:
        return _frame(connection)


def read_about(path: str | os.PathLike[str]) -> About:
    """What a store was written for, while it is written to as well.

    Raises
    ------
    SimhwError
        There is no such file, or it is no store.
    """
    with _read(path) as connection:
        return _about(connection)


@contextmanager
def _read(path: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    """A connection to a store that is there."""
    where = Path(path)
    if not where.is_file():
        raise SimhwError(f"{quoted(str(path))[1:-1]}: no such store; `simhw sweep FILE` makes one")
    with closing(_connected(where, writable=False)) as connection, _told(where):
        _check(connection, where)
        yield connection


def _about(connection: sqlite3.Connection) -> About:
    found = {str(key): str(value) for key, value in connection.execute("SELECT key, value FROM about")}
    return About(found.get("made_by", ""), found.get("description", ""))


def _frame(connection: sqlite3.Connection) -> "pd.DataFrame":
    import pandas as pd

    cursor = connection.execute("SELECT * FROM sweep ORDER BY number")
    names = [column[0] for column in cursor.description]
    frame = pd.DataFrame(cursor.fetchall(), columns=names)
    # A figure that no point has is a number still.
    figures = [name for name in (*columns(), "compute_area_mm2") if name != "bound_by"]
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in figures})


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise SimhwError(f"{path}: a database, but no store of a sweep; give another name")


def _connected(path: Path, writable: bool) -> sqlite3.Connection:
    """A connection without transactions of its own, to a file that may come from a stranger."""
    with _told(path):
        # Who reads may have to roll back what a killed process left, for which SQLite writes.
        mode = "rwc" if writable else "rw" if os.access(path, os.W_OK) else "ro"
        address = f"{path.resolve().as_uri()}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=60.0)
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection


def _locked(path: Path) -> TextIO:
    """A lock beside the store that the system gives back however this process ends.

    Raises
    ------
    SimhwError
        Another process has it, or there can be no file.
    """
    import fcntl

    lock = path.with_name(path.name + ".lock")
    try:
        file = open(lock, "w")  # noqa: SIM115 - held as long as the store
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise SimhwError(f"{quoted(str(path))[1:-1]}: cannot be written: {reason(error)}") from None
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who had it may have removed the file after this process had opened it.
        if os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
            return file
    file.close()
    raise SimhwError(f"{path}: another sweep is writing to it; wait for its end, or give another store")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite says into an error that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise SimhwError(f"{path}: {error}; give the store of a sweep, or a name for a new one") from None


def _view(names: Sequence[str]) -> str:
    """What joins points, outcomes and the figures of the total."""
    own, figures = _named(names, "points"), _named(columns(), "totals")
    return (
        f"CREATE VIEW sweep AS SELECT points.number, points.hash, {own}, "
        "CASE WHEN outcomes.hash IS NULL THEN 'missing' WHEN outcomes.error IS NULL THEN 'done' ELSE 'failed' END "
        f"AS status, {figures}, outcomes.error, outcomes.cautions FROM points "
        "LEFT JOIN outcomes ON outcomes.hash = points.hash "
        "LEFT JOIN totals ON totals.hash = points.hash AND totals.operation = 'total' ORDER BY points.number"
    )


def _named(names: Iterable[str], table: str = "") -> str:
    """Columns; names of a machine's values may hold anything that a file's keys may."""
    prefix = f"{table}." if table else ""
    return ", ".join(prefix + '"' + name.replace('"', '""') + '"' for name in names)


def _marks(number: int) -> str:
    return ", ".join("?" * number)


def canonical(description: Any) -> str:
    """A description as one text, so that two of them can be compared."""
    return json.dumps(description.model_dump(mode="json", by_alias=True), sort_keys=True)
