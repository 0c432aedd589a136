"""Estimates: a total with its sampling variance; exact where everything was simulated."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, module_from_spec
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
        return float(_student_quantile()(self.degrees, (1 + CONFIDENCE) / 2) * sqrt(self.variance))

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


@cache
def _student_quantile() -> Callable[[float, float], float]:
    """SciPy's quantile of Student's distribution: its degrees of freedom, and the probability below it.

    The compiled functions of `scipy.special` load in 4 ms.  The package brings what wraps them for other arrays than
    NumPy's, with a compiler of Fortran: 0.11 s of every run.  So they are loaded into a package that stays empty, and
    whoever imports `scipy.special` still gets the whole of it.
    """
    name = "scipy.special"
    spec = None if name in sys.modules else find_spec(name)
    if spec is not None:
        sys.modules[name] = module_from_spec(spec)
        try:
            from scipy.special._ufuncs import stdtrit
        except ImportError:
            # Another SciPy keeps them elsewhere.
            pass
        else:
            return stdtrit  # type: ignore[no-any-return]
        finally:
            del sys.modules[name]
    from scipy.special import stdtrit

    return stdtrit  # type: ignore[no-any-return]
