"""What a replay writes down of a tile pass of TensorDash, cycle by cycle."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class TensorDashRecord(NamedTuple):
    """A TensorDash tile pass, by cycle and scheduler (one per row of X, or per PE, row by row, with two-sided
    schedules).

    Attributes
    ----------
    position : (cycles,) int64
        Step of the reduction that is step 0 of the window.
    window : (cycles, schedulers) uint64
        Z before the lanes choose: bit 16 s + i is the pair at step s, lane i.
    choice : (cycles, schedulers, 16) int8
        The pair that each lane takes, as the number of its bit in Z; -1 for none.
    drained : (cycles, schedulers) int8
        Leading steps that are empty after that.
    advance : (cycles,) int8
        AS, the steps that all rows drop.
    """

    position: npt.NDArray[np.int64]
    window: npt.NDArray[np.uint64]
    choice: npt.NDArray[np.int8]
    drained: npt.NDArray[np.int8]
    advance: npt.NDArray[np.int8]


def tensordash_record(schedulers: int, lanes: int, cycles: int) -> TensorDashRecord:
    """An empty record."""
    return TensorDashRecord(
        position=np.zeros(cycles, np.int64),
        window=np.zeros((cycles, schedulers), np.uint64),
        choice=np.full((cycles, schedulers, lanes), -1, np.int8),
        drained=np.zeros((cycles, schedulers), np.int8),
        advance=np.zeros(cycles, np.int8),
    )
