"""The script that measures power: what it says of networks and regressions follows from what it was given."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from simhw.machine.machine import load_machine
from tests.places import ROOT

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pe_power", ROOT / "reports" / "pe_power.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pe_power"] = module
    spec.loader.exec_module(module)
    return module


def test_published_power_is_charged_where_pes_wait_like_the_nine_networks(script: ModuleType) -> None:
    waiting, rows = script.network_rows()
    assert len(rows) == 10  # nine, and the one that is not in the mean
    assert load_machine("fpraker").value("energy.published_waiting") == pytest.approx(waiting, abs=5e-4)
    for _, share, by_tile, by_pe, _ in rows:
        assert (float(share) > waiting) == (float(by_pe) > float(by_tile))


def test_lanes_explain_what_is_made_of_them_alone(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    fires, waits = rng.integers(0, 9, (2, 500))
    busy, begins, ends = rng.random((3, 500)) < 0.5
    of_lanes = script.Cycles(1.0, 3.0 + 2.0 * fires - waits, busy, begins, ends, fires, waits)
    assert script.explained(of_lanes, with_ends=False) == pytest.approx(1)
    of_ends = script.Cycles(1.0, 3.0 + 2.0 * begins - ends, busy, begins, ends, fires, waits)
    assert script.explained(of_ends, with_ends=False) < 0.1
    assert script.explained(of_ends, with_ends=True) == pytest.approx(1)
    # A mean of all cycles is that of run and waiting cycles by their shares, clock included.
    share = of_lanes.share_waiting
    assert of_lanes.mean == pytest.approx((1 - share) * of_lanes.run + share * of_lanes.waiting)
