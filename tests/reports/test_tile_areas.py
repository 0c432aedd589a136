"""The fit of tile areas: what the machine files hold is what the syntheses give, and how well that holds."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from simhw.machine.files import read_machine
from simhw.machine.machine import load_machine
from tests.places import ROOT


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tile_areas", ROOT / "reports" / "tile_areas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tile_areas"] = module
    spec.loader.exec_module(module)
    return module


def test_every_point_was_synthesised(script: ModuleType) -> None:
    wanted = {(name, script.written(each)) for name, unit in script.UNITS.items() for each in unit.points}
    assert script.areas().keys() == wanted
    assert len(wanted) >= 100


def test_a_synthesis_that_is_left_out_is_predicted_to_five_percent(script: ModuleType) -> None:
    for parts in script.FILES.values():
        for units in parts.values():
            found = script.fit(units)
            assert found.error < 0.05  # of all that a machine can have
            if found.error:
                assert np.sqrt(np.nanmean(found.left_out**2)) < 0.03
                assert np.nanmax(np.abs(found.left_out)) < 0.09  # other numbers of lanes, too
            assert (found.areas >= 0).all()
            assert np.abs(found.errors).max() < 0.07


def test_leaving_out_is_leaving_out(script: ModuleType) -> None:
    """The error of one point, with the others fitted by hand."""
    found = script.fit(("set_buffer",))
    kept = np.arange(len(found.measured)) != 5
    least = script._least(found.numbers[kept], found.measured[kept])
    assert found.left_out[5] == pytest.approx(found.numbers[5] @ least / found.measured[5] - 1)
    assert np.abs(found.left_out[5]) > np.abs(found.errors[5])


def test_machine_files_hold_the_fit(script: ModuleType) -> None:
    for name, parts in script.FILES.items():
        model = read_machine(f"parts/{name}")[0]["tile_area_model"]
        for part, units in parts.items():
            found = script.fit(units)
            assert model[part]["error"] == pytest.approx(found.error, abs=1e-4)
            held = [model[part]["areas"][quantity] for quantity in found.names]
            assert held == pytest.approx(found.areas.tolist(), rel=1e-4)


def test_the_fit_of_the_published_pe_is_near_its_synthesis(script: ModuleType) -> None:
    found = script.fit(("fpraker_pe",))
    own = load_machine("fpraker").values.pe
    (name, first), *_ = found.points
    assert name == "fpraker_pe"
    assert all(getattr(own, each) == value for each, value in first.items())
    assert abs(found.errors[0]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "chosen"),
    [("fpraker_pe", {"lanes": 8, "chunk": "off"}), ("scheduler_and_multiplexers", {"width": 16}), ("set_buffer", {})],
)
def test_synthesis_gives_the_areas_of_the_table_again(script: ModuleType, unit: str, chosen: dict[str, Any]) -> None:
    pytest.importorskip("pyosys")
    parameters = next(each for each in script.UNITS[unit].points if chosen.items() <= each.items())
    # Which of several equal circuits is found first changes an area by some percent, for a line of hardware elsewhere.
    assert script.synthesised(unit, parameters) == pytest.approx(
        script.areas()[unit, script.written(parameters)], rel=0.03
    )
