"""The search for constants that fit measured times."""

from collections.abc import Mapping
from typing import Any

import pytest

from simhw.roofline.calibration.pytorch.descent import descend

SIZES = (1.0, 3.0, 10.0, 40.0, 200.0)


def times(values: Mapping[str, Any]) -> list[float]:
    """A launch and a rate."""
    return [values["kernel"]["launch_s"] + size / values["kernel"]["rate"] for size in SIZES]


def found(measured: list[float], **highest: float) -> dict[str, float]:
    values = {"kernel": {"launch_s": 0.0, "rate": 0.0, "other": 7.0}}
    searched = {
        "kernel.launch_s": (0.1, 1.0, highest.get("launch_s", 10.0)),
        "kernel.rate": (1.0, 5.0, highest.get("rate", 100.0)),
    }
    descend(values, searched, times, measured)
    return values["kernel"]


def test_constants_behind_the_times_are_found_and_others_stay() -> None:
    fitted = found(times({"kernel": {"launch_s": 2.0, "rate": 12.0}}))
    assert fitted["launch_s"] == pytest.approx(2.0, rel=0.05)
    assert fitted["rate"] == pytest.approx(12.0, rel=0.05)
    assert fitted["other"] == 7.0


def test_a_row_far_off_does_not_move_the_others() -> None:
    measured = times({"kernel": {"launch_s": 2.0, "rate": 12.0}})
    measured[2] *= 20
    assert found(measured)["launch_s"] == pytest.approx(2.0, rel=0.1)


def test_search_stays_within_its_range() -> None:
    measured = times({"kernel": {"launch_s": 2.0, "rate": 12.0}})
    assert found(measured, rate=8.0)["rate"] <= 8.0
