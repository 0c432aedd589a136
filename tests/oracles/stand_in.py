"""Stand-ins of samples, one duration at a time: what a stratum's passes are taken to last from those of some cells."""

import numpy as np
import numpy.typing as npt

from simhw.simulation.sampling import StratumTally


def stand_in(drawn: npt.NDArray[np.int64], tally: StratumTally) -> npt.NDArray[np.int64]:
    """As many durations as the stratum has passes: those drawn, and the missing ones evenly between them in size; where
    more were drawn, as many between them as it has.
    """
    missing = tally.passes - len(drawn)
    if missing <= 0 and tally.complete:
        return drawn
    number, kept = (missing, drawn.tolist()) if missing >= 0 else (tally.passes, [])
    ascending, between = sorted(drawn.tolist()), []
    for index in range(number):
        step = (index + 0.5) * (len(ascending) / number) - 0.5
        step = min(max(step, 0.0), len(ascending) - 1.0)
        below = min(int(step), max(len(ascending) - 2, 0))
        rise = ascending[min(below + 1, len(ascending) - 1)] - ascending[below]
        between.append(round(rise * (step - below) + ascending[below]))  # halves to even, as `np.rint`
    return np.array([*kept, *between], np.int64)
