"""Small sweeps, and what their stores hold."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simhw.cli import main

SWEEP = """\
traces: some
machines: [fpraker, tensordash]
grid:
  pe.oob_threshold: [6, 9]
list:
  - {memory: ideal}
  - {batch: 4}
"""
"""Six points on `some.npz`: tensordash has no such threshold, so that each of its points is there once."""


def written(text: str = SWEEP, name: str = "sweep.yaml") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def rows(store: str | Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a store holds but how long it took."""
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = {
            "points": connection.execute("SELECT * FROM points ORDER BY number").fetchall(),
            "outcomes": connection.execute(
                "SELECT hash, error, cautions, made_by FROM outcomes ORDER BY hash"
            ).fetchall(),
            "totals": connection.execute("SELECT * FROM totals ORDER BY hash, operation").fetchall(),
            "sweep": connection.execute("SELECT * FROM sweep").fetchall(),
        }
    connection.close()
    return found


def grown(points: int, memory: str = "ideal") -> Mapping[str, Any]:
    """A sweep of so many points of the bundled small CNN, each quick; thrice as long with memories modelled."""
    return {
        "traces": "small_cnn",
        "machines": "fpraker",
        "grid": {"memory": memory, "clock_hz": [600_000_000 + number for number in range(points)]},
    }


def sweep(*arguments: str) -> int:
    return main(["sweep", *arguments])
