"""The Pareto front of a sweep: the points that no other one beats in everything that is wanted."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

WANTED = {"overall_speedup": 1, "compute_area_mm2": -1, "overall_energy_j": -1}
"""Figures that decide: 1 where more is better, -1 where less is."""
COMPARABLE = ["trace", "batch"]
"""Points that differ in these do other work; each work has its own front."""


def pareto_front(frame: "pd.DataFrame") -> "pd.Series[bool]":
    """Which points no other one of the same trace and batch beats.

    A point beats another one if it is at least as good in speed-up with memories, area and energy with memories, and
    better in one of them.

    Parameters
    ----------
    frame : DataFrame
        As `simhw.sweep` gives it.  Points that lack one of the figures are on no front.

    Returns
    -------
    Series of bool
        With the frame's index.
    """
    import pandas as pd

    found = pd.Series(False, index=frame.index)
    for _, group in frame.dropna(subset=list(WANTED)).groupby(COMPARABLE, dropna=False):
        wanted = np.column_stack([sign * group[name].to_numpy(dtype=np.float64) for name, sign in WANTED.items()])
        found[group.index[_unbeaten(wanted)]] = True
    return found


def _unbeaten(wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Rows that no other row is at least as good as everywhere and better somewhere; more is better."""
    # From the best first figure on, ties by the next ones: a row can only be beaten by one before it.
    order = np.lexsort(tuple(-wanted[:, column] for column in reversed(range(wanted.shape[1]))))
    unbeaten = np.zeros(len(wanted), dtype=bool)
    front = np.empty((0, wanted.shape[1]))
    for row in order:
        point = wanted[row]
        if not np.any((front >= point).all(axis=1) & (front > point).any(axis=1)):
            unbeaten[row] = True
            front = np.vstack([front, point])
    return unbeaten
