"""Estimates: a total with its sampling variance; exact where everything was simulated."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

CONFIDENCE = 0.95
"""Of the intervals that half-widths are of."""


@dataclass(frozen=True)
class Estimate:
    """A total and its sampling variance, with the degrees of freedom that the variance was estimated with."""

    value: float
    variance: float = 0.0
    degrees: float = inf

    @property
    def half_width(self) -> float:
        """Half the width of the 95% confidence interval."""
        if self.variance == 0:
            return 0.0
        # Student's quantile, as scipy.stats has it; that package takes half a second more to load.
        from scipy.special import stdtrit

        return float(stdtrit(self.degrees, (1 + CONFIDENCE) / 2) * sqrt(self.variance))

    @property
    def relative_half_width(self) -> float:
        return self.half_width / self.value if self.value else 0.0

    def times(self, factor: float) -> "Estimate":
        """The total multiplied by something certain."""
        return Estimate(self.value * factor, self.variance * factor**2, self.degrees)

    @staticmethod
    def total(parts: Sequence["Estimate"]) -> "Estimate":
        """The sum of independent estimates."""
        variance = sum(part.variance for part in parts)
        spread = sum(part.variance**2 / part.degrees for part in parts)
        return Estimate(sum(part.value for part in parts), variance, variance**2 / spread if spread else inf)
