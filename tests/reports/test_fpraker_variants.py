"""The study of FPRaker's variants: its tables are of the machines and of the area model as they are now."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import simhw
from simhw.bfloat16 import from_float32
from simhw.machine.machine import load_machine
from tests.places import ROOT

REMADE = "make it anew: python reports/fpraker_variants.py run STORES, synthesise, write"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fpraker_variants", ROOT / "reports" / "fpraker_variants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fpraker_variants"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(script: ModuleType) -> Any:
    return script.Results()


def test_areas_and_tiles_are_those_of_the_model(script: ModuleType, results: Any) -> None:
    """Of every fifth variant and of all finalists, so that another fit is seen."""
    rows = [
        row
        for place, row in enumerate(results.speeds.to_dict("records"))
        if place % 5 == 0 or (row["machine"], script.values_of(row)) in results.designs.values()
    ]
    assert len(rows) > 60
    for row in rows:
        machine = load_machine(row["machine"], **script.values_of(row), tiles=int(row["tiles"]))
        assert machine.tile_area_um2 == pytest.approx(float(row["tile_um2"]), abs=0.1), REMADE
        filled = script.filled(machine)
        one_less = filled * (machine.values.tiles - 1) / machine.values.tiles
        assert filled <= 1.01
        assert abs(filled - 1) < abs(one_less - 1)


def test_the_best_variant_is_simulated_to_what_the_table_says(script: ModuleType, results: Any) -> None:
    machine, values = results.designs["no less exact"]
    (row,) = (
        row
        for row in results.speeds.to_dict("records")
        if row["machine"] == machine and script.values_of(row) == values
    )
    trace = "lstm_structured_dropout"
    built = load_machine(machine, **values, tiles=int(row["tiles"]), **{"memory.model": "ideal"})
    total = simhw.simulate(simhw.load_trace(trace), built, sample=1, batch=script.BATCH, progress=False).total
    assert round(total.speedup, 4) == float(row[f"speedup_{trace}"]), REMADE
    assert round(total.busy, 4) == float(row[f"busy_{trace}"])
    assert total.baseline_busy == pytest.approx(1, abs=1e-3)  # as the study takes it


def test_the_best_one_is_the_best_of_those_as_exact(script: ModuleType, results: Any) -> None:
    machine, values = results.designs["no less exact"]
    _, published = results.designs["published"]
    best = results.speed(machine, values)
    faster = [
        script.values_of(row)
        for row in results.speeds.to_dict("records")
        if row["machine"] == machine and row["pe.chunk"] != "off" and float(row["speedup"]) > best
    ]
    assert len(faster) > 20
    assert not any(script.no_worse(results.errors, each, published) for each in faster)
    assert script.no_worse(results.errors, values, published)
    assert best > results.speed("fpraker", published)


def test_the_page_is_that_of_the_tables(script: ModuleType, results: Any) -> None:
    assert script.page(results) == (ROOT / "reports" / "fpraker_variants.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in (script.SPEEDS, script.FINALISTS, script.ERRORS, script.TILES)) < 300_000


def test_the_error_of_a_sum_by_hand(script: ModuleType) -> None:
    """A product more than T places below the first is dropped: 1 + 2**-9 gives 1 with T = 7, and is exact with 12."""
    x = from_float32(np.array([[1.0, 2.0**-9] + 6 * [0.0]], np.float32))
    y = from_float32(np.ones((1, 8), np.float32))
    for threshold, given in ((7, 1.0), (12, 1.0)):  # the output has eight bits
        machine = load_machine("fpraker", **{"pe.oob_threshold": threshold})
        assert script.sums(machine, x, y) == given
    x = from_float32(np.array([[1.0, 2.0**-9, -1.0, 0, 0, 0, 0, 0]], np.float32))
    assert script.sums(load_machine("fpraker"), x, y) == 0
    assert script.sums(load_machine("fpraker", **{"pe.oob_threshold": 12}), x, y) == 2.0**-9
    assert script.distance([np.array([[0.0, 3.0]])], [np.array([[4.0, 3.0]])]) == pytest.approx(4 / 5)


def test_neighbours_differ_in_one_step(script: ModuleType) -> None:
    published = script.variant("fpraker")
    found = list(script.neighbours(published))
    assert {**published, "pe.shift_window": 2} in found
    assert {**published, "tile.buffers.a": 2} in found
    assert {**published, "tile.exponent_sharing": 1} in found
    waiting = script.variant("fpraker", {"tile.sync": "set"})
    assert waiting in found
    assert "tile.buffers.a" not in waiting
    assert published in list(script.neighbours(waiting))
    assert all(each["pe.oob_threshold"] == published["pe.oob_threshold"] for each in found)
