"""The H200 as it is shipped, and its measured kernels, for the tests of what was fitted to them."""

from functools import cache

import pytest

from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.kernels import Timed, read_kernels
from simhw.roofline.device import load_device
from simhw.roofline.gpu.values import GpuValues
from tests.places import SHARED

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the measured kernels are not beside the checkout")


@cache
def h200() -> GpuValues:
    values = load_device("h200").values
    assert isinstance(values, GpuValues)
    return values


@cache
def scored(what: str) -> list[Timed]:
    """The half of a file that no fit saw."""
    return halves(read_kernels(DATA, "h200", what))[1]
