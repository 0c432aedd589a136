"""Signals of a tile pass, as a waveform shows them; each PE's room tells which it has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Path = tuple[str, ...]
NOTHING = -(1 << 20)
"""No pending term, no base, no exponent: below every one of them, and a register's own mark of a zero."""
BUSY_STATES = ("useful", "idle")
"""States of lanes that do useful work or not, as the counters are called."""


@dataclass(frozen=True, eq=False)
class Signals:
    """Signals of one kind.

    Attributes
    ----------
    paths : sequence of sequences of paths
        Where each signal stands, ("tile", "pe_0_0", "emax"); several places show the same signal.
    values : (cycles, signals) integers
        NOTHING where a signal has no value.
    bits : int
        Width; negative values are two's complement.
    texts : sequence of str
        Where not empty, what the values stand for, which the signals then show.
    """

    paths: Sequence[Sequence[Path]]
    values: npt.NDArray[np.integer]
    bits: int = 1
    texts: Sequence[str] = ()


def lane_paths(row: int, column: int, lanes: int, name: str) -> list[list[Path]]:
    """The places of a signal of each lane of a PE."""
    return [[("tile", f"pe_{row}_{column}", f"lane_{lane}", name)] for lane in range(lanes)]
