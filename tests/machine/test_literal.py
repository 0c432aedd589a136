"""`fpraker-literal`, the strict reading of FPRaker's recalled rules, whichever reading `fpraker` is."""

import pytest
import yaml

from simhw import load_machine, simulate_layer
from simhw.machine.dotted import leaf_names
from simhw.machine.files import machine_text
from simhw.reproduce.readings import load_readings
from simhw.trace.operation import Operation
from tests.machine.test_costs_of import layer

STRICT = {
    "baseline_compression": "same",
    "pe.shift_window": 3,
    "pe.window_on": "offset",
    "pe.oob_threshold": None,
    "pe.oob": "pe",
    "pe.accumulator_fraction_bits": 12,
    "pe.chunk": "off",
    "tile.sync": "set",
    "tile.run_ahead": 1,
    "tile.buffers.a": 1,
    "tile.buffers.b": 1,
    "tile.empty_sets": "floor",
}
"""Spec page fpraker.md, section 2, where it says something; else the decision that the machine file argues."""


def test_strict_values() -> None:
    machine = load_machine("fpraker-literal")
    assert {name: machine.value(name) for name in STRICT} == STRICT
    assert machine.values.pe.threshold == 12


def test_its_file_states_each_value_in_which_readings_differ() -> None:
    stated = {
        name.removesuffix(".value")
        for name in leaf_names(yaml.safe_load(machine_text("fpraker-literal")))
        if name.endswith(".value")
    }
    differ = {name for reading in load_readings().readings for name in reading.overrides}
    assert stated == {*STRICT, "tile_costs_of"}
    assert differ <= stated


@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
def test_it_is_fpraker_with_the_strict_values(operation: Operation) -> None:
    # Each reading is taken for the published one, so that its costs are those of its own tile.
    published = load_machine("fpraker-literal").values.tile_costs_of
    literal, other = load_machine("fpraker-literal"), load_machine("fpraker", **STRICT, tile_costs_of=published)
    own = {"name", "description", "tile_costs_of"}
    assert literal.values.model_dump(exclude=own) == other.values.model_dump(exclude=own)
    assert simulate_layer(layer(), operation, literal) == simulate_layer(layer(), operation, other)
