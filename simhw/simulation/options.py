"""How a step is to be simulated: how much of it, on how many threads, and what is checked."""

from dataclasses import dataclass
from math import inf

import numpy as np

from simhw.errors import SimhwError, quoted
from simhw.simulation.engine import MOST_WORKERS


@dataclass(frozen=True)
class SimulationOptions:
    """See `simhw.simulation.api.simulate` for what each means.

    Raises
    ------
    SimhwError
        A value is of another kind or out of its range.
    """

    sample: float | None = None
    seed: int = 0
    progress: bool = True
    check: bool = False
    workers: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        sample = self.sample
        if sample is not None and not (isinstance(sample, float | int | np.number) and 0 < sample <= 1):
            raise SimhwError(f"sample {quoted(sample)}: give a fraction above 0 and at most 1")
        self._keep("seed", _integer("seed", self.seed, 0))
        if self.workers is not None:
            self._keep("workers", _integer("workers", self.workers, 1, MOST_WORKERS))
        if self.batch is not None:
            self._keep("batch", _integer("batch", self.batch, 1))

    def _keep(self, name: str, value: int) -> None:
        """NumPy's integers as Python's, which do not overflow."""
        object.__setattr__(self, name, value)


def _integer(name: str, value: object, least: int, most: float = inf) -> int:
    """A whole number from `least` to `most`."""
    if not isinstance(value, int | np.integer) or not least <= value <= most:
        raise SimhwError(
            f"{name} {quoted(value)}: give an integer of at least {least}{f' and at most {most}' if most < inf else ''}"
        )
    return int(value)
