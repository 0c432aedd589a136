"""Intervals of estimates, and how little of SciPy they load."""

import subprocess
import sys


def test_the_quantile_is_scipys_without_its_package() -> None:
    script = """
import sys
from simhw.results.estimate import Estimate
found = Estimate(1.0, 4.0, 7.3).half_width
assert "scipy.special" not in sys.modules and "numpy.f2py" not in sys.modules
import scipy.special
from simhw.results.estimate import _student_quantile
assert _student_quantile() is scipy.special.stdtrit, "the package is whole, with the functions that were loaded before"
assert scipy.special.logsumexp([0.0]) == 0 and scipy.special.softmax([1.0]) == 1
assert found == 2 * scipy.special.stdtrit(7.3, 0.975)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
