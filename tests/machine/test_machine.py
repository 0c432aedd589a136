"""Machines: the published sums that follow from the bundled ones, overrides and hashes."""

import math
import re
import shutil
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest
import yaml

from simhw.errors import MachineError
from simhw.machine.dotted import leaf_names
from simhw.machine.machine import baseline_of, load_machine, parse_machine
from simhw.machine.names import machine_names
from tests.machine_files import write

BUNDLED = machine_names()


# Bundled machines


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_machine_names_itself_and_a_baseline_that_exists(name):
    machine = load_machine(name)
    assert machine.name == name
    assert machine.label == name
    assert machine.values.description
    baseline = machine.values.baseline
    assert baseline is None or load_machine(baseline).values.baseline is None


@pytest.mark.parametrize("name", BUNDLED)
def test_tile_has_the_size_of_its_file(name):
    machine = load_machine(name)
    tile, values = machine.tile, machine.values
    assert {tile.tile_x, tile.tile_y} == {values.tile.rows, values.tile.cols}
    assert tile.lanes == values.pe.lanes


def macs_per_cycle(name: str) -> int:
    values = load_machine(name).values
    return values.tiles * values.tile.rows * values.tile.cols * values.pe.lanes


def test_baselines_do_4096_macs_a_cycle():  # spec pages fpraker.md, section 4, and tensordash.md, section 3
    assert macs_per_cycle("bitparallel") == macs_per_cycle("tensordash-dense") == macs_per_cycle("tensordash") == 4096
    assert macs_per_cycle("fpraker") / macs_per_cycle("bitparallel") == 4.5  # lane ratio


def compute_power_mw(name: str) -> float:
    values = load_machine(name).values
    return values.tiles * sum(values.tile_power_mw.values())


def test_published_areas_and_powers_of_fpraker_follow_from_the_files():
    # Spec page fpraker.md, section 4: 36 x 317,068 = 11.41 mm^2 and 8 x 1,421,579 = 11.37 mm^2; 3.942 W / 3.800 W =
    # 1.0374.
    fpraker, baseline = load_machine("fpraker"), load_machine("bitparallel")
    assert fpraker.tile_area_um2 == 317_068
    assert round(fpraker.compute_area_mm2, 2) == 11.41
    assert round(baseline.compute_area_mm2, 2) == 11.37
    assert compute_power_mw("fpraker") == 3942
    assert compute_power_mw("bitparallel") == 3800
    assert round(compute_power_mw("fpraker") / compute_power_mw("bitparallel"), 4) == 1.0374


def test_published_fp32_areas_and_powers_of_tensordash_follow_from_the_files():
    # Spec page tensordash.md, section 3: 33.44 / 30.80 mm^2 with the listed parts 30.41 + 0.38 + 0.91 + 1.73 = 33.43
    # and 30.41 + 0.38 = 30.79, so a hundredth is the table's own rounding; 14,205 / 13,957 mW to the milliwatt.
    area, dense_area = (load_machine(name).compute_area_mm2 for name in ("tensordash-fp32", "tensordash-dense-fp32"))
    assert area == pytest.approx(33.44, abs=0.0101)
    assert dense_area == pytest.approx(30.80, abs=0.0101)
    assert round(area / dense_area, 2) == 1.09
    power, dense_power = compute_power_mw("tensordash-fp32"), compute_power_mw("tensordash-dense-fp32")
    assert power == pytest.approx(14_205, abs=0.5)
    assert dense_power == pytest.approx(13_957, abs=0.5)
    assert round(power / dense_power, 2) == 1.02


def test_bfloat16_ratios_of_tensordash_follow_from_the_files():  # spec page tensordash.md, section 3: 1.13 / 1.05
    tensordash, dense = load_machine("tensordash"), load_machine("tensordash-dense")
    assert round(tensordash.compute_area_mm2 / dense.compute_area_mm2, 2) == 1.13
    assert round(compute_power_mw("tensordash") / compute_power_mw("tensordash-dense"), 2) == 1.05


# Overrides


def test_override_replaces_the_value_and_its_provenance():
    machine = load_machine("fpraker", **{"tile.rows": 4, "pe.oob_threshold": 9})
    assert machine.values.tile.rows == 4
    assert machine.values.pe.threshold == 9
    assert machine.overrides == {"tile.rows": 4, "pe.oob_threshold": 9}
    assert machine.label == "fpraker:tile.rows=4,pe.oob_threshold=9"
    assert machine.provenance["tile.rows"].source == "set by the user"
    assert machine.provenance["tile.cols"].source != "set by the user"


def test_threshold_follows_the_accumulator_unless_it_is_set():
    assert load_machine("fpraker-literal").values.pe.threshold == 12
    assert load_machine("fpraker-literal", accumulator_fraction_bits=9).values.pe.threshold == 9
    assert load_machine("fpraker-literal", accumulator_fraction_bits=9, oob_threshold=12).values.pe.threshold == 12


def test_last_part_of_a_name_will_do_where_it_is_the_only_one():
    assert load_machine("fpraker", rows=4).overrides == {"tile.rows": 4}
    with pytest.raises(
        MachineError, match=r"no value 'pe_array' to override; there are tile_area_um2.pe_array, tile_power_mw.pe_array"
    ):
        load_machine("fpraker", pe_array=1)


@pytest.mark.parametrize(
    ("key", "offered"),
    [
        ("tile.columns", "memory.container.columns, tile.cols"),
        ("memory.rows", "tile.rows"),
        ("wrong.rows", "tile.rows"),
        (
            "banks",
            "memory.dram.banks, memory.buffers.a.banks, memory.buffers.w.banks, memory.buffers.g.banks, "
            "memory.scratchpads.banks",
        ),
        ("tresholds", "pe.oob_threshold"),
        ("buffers.a.banks", "memory.buffers.a.banks"),
    ],
)
def test_name_that_is_no_values_is_told_at_most_five_close_ones(key, offered):
    with pytest.raises(MachineError, match=f"no value '{key}' to override; there are .*{offered}") as raised:
        load_machine("fpraker", **{key: 7})
    assert len(raised.value.args[0].split("there are ")[1].split("; ")[0].split(", ")) <= 5
    assert len(str(raised.value)) <= 390


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ({"pe.kind": {}}, "pe.kind is {}; known are"),
        ({"pe.kind": []}, r"pe.kind is \[\]; known are"),
        ({"tiles": 10**5000}, "tiles: "),
        ({"clock_hz": 10**5000}, "clock_hz: "),
        ({"x" * 70_000: 1}, "no value 'xxxx"),
        ({"": 1}, "no value ''"),
        ({".": 1}, "no value '.'"),
        ({"tile.rwos": 4}, "no value 'tile.rwos' to override; there are .*tile.rows"),
        ({"tile": 4}, "no value 'tile'"),
        ({"tile.rows": "four"}, "tile.rows: .*given 'four'"),
        ({"tile.rows": 4.5}, "tile.rows: .*given 4.5"),
        ({"tile.rows": None}, "tile.rows: .*given None"),
        ({"tile.rows": {"a": 1}}, "tile.rows: "),
        ({"tiles": 0}, "tiles: .*given 0"),
        ({"tiles": 10**30}, "tiles: "),
        ({"clock_hz": -1}, "clock_hz: .*greater than 0"),
        ({"clock_hz": math.nan}, "clock_hz: "),
        ({"pe.encoder": "csd"}, "pe.encoder: .*'naf', 'booth4' or 'binary'.*given 'csd'"),
        ({"pe.kind": "tensordash"}, "fpraker: "),
        ({"pe.kind": "systolic"}, "pe.kind is 'systolic'; known are bitparallel, fpraker, tensordash"),
        ({"lowering.serial": "b"}, "lowering.serial: "),
    ],
)
def test_override_that_cannot_be_used_is_one_clear_line(override, says):
    with pytest.raises(MachineError, match=says) as raised:
        load_machine("fpraker", **override)
    assert "\n" not in str(raised.value)
    assert "fpraker" in str(raised.value)


def test_machine_on_the_command_line():
    assert parse_machine("fpraker").overrides == {}
    machine = parse_machine("fpraker:pe.oob_threshold=9,chunk=off,sync=term,clock_hz=600e6")
    assert machine.values.pe.oob_threshold == 9
    assert machine.values.pe.chunk == "off"
    assert machine.values.tile.sync == "term"
    assert machine.values.clock_hz == 600e6


def test_command_line_path_with_a_colon(tmp_path):
    folder = tmp_path / "a:b"
    folder.mkdir()
    path = write(folder, "extends: fpraker\n")
    assert parse_machine(str(path)).values.tiles == 36
    assert parse_machine(f"{path}:tiles=4").values.tiles == 4


@pytest.mark.parametrize(
    ("text", "says"), [("fpraker:a=1,b", "'b' is not of the form key=value"), ("fpraker:tiles=[1", "not valid YAML")]
)
def test_bad_command_line_overrides(text, says):
    with pytest.raises(MachineError, match=says):
        parse_machine(text)


# Content hash

OTHER_VALUES = {
    "conversion": "truncate", "pe.encoder": "binary", "pe.shift_window": 4, "pe.oob_threshold": 12, "pe.oob": "column",
    "pe.accumulator_fraction_bits": 13, "pe.rounding": "cycle", "pe.chunk": 64, "tile.rows": 4, "tile.cols": 4,
    "tile.sync": "term",
    "tile.run_ahead": 2, "tile.buffers.a": 2, "tile.buffers.b": 2, "tile.exponent_sharing": 1,
    "tile.empty_sets": "skip", "pe.window_on": "position", "lowering.serial": "w", "lowering.padding": "skip",
    "lowering.lane_padding": "pack",
    "lowering.fc_windows": "image", "tiles": 35, "clock_hz": 500e6, "tile_area_um2.pe_array": 1,
    "tile_area_um2.term_encoders": 1,
    "tile_power_mw.pe_array": 1, "tile_power_mw.term_encoders": 1, "baseline": "tensordash-dense", "name": "other",
    "memory.model": "ideal", "memory.blocking": "gpoc:1x4x2x1", "memory.compression": "zero",
    "energy.compute": "lane_cycle",
    "energy.cells": "lop", "energy.dram.model": "flat", "tile_costs_of": ["tile.rows=4"],
    "sram_costs_of": ["memory.steps=64"],
}  # fmt: skip
SURROUNDINGS = ("memory.", "energy.", "sram.", "memory_area_mm2.", "tile_area_model.")
ONLY_VALUE = {"pe.kind", "pe.lanes", "description"}
OF_THE_BASELINE = {"baseline_compression"}


def surrounding_numbers() -> dict[str, float]:
    """Every number of the memories and their costs and of the model of the tile's area, doubled."""
    values = load_machine("fpraker").values.model_dump()
    names = [name for name in leaf_names(values) if name.startswith(SURROUNDINGS) and name not in OTHER_VALUES]
    return {name: 2 * reduce(dict.__getitem__, name.split("."), values) or 1.0 for name in names}


SURROUNDING_NUMBERS = surrounding_numbers()


def test_every_leaf_is_looked_at_by_the_hash_test():
    machine = load_machine("fpraker")
    leaves = set(leaf_names(machine.values.model_dump())) - {"gated_power"}
    assert leaves == set(OTHER_VALUES) | set(SURROUNDING_NUMBERS) | ONLY_VALUE | OF_THE_BASELINE


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_hash_changes_with_every_value(key):
    machine = load_machine("fpraker-literal")
    changed = load_machine("fpraker-literal", **{key: OTHER_VALUES[key]})
    assert changed.content_hash != machine.content_hash


def test_hash_changes_with_every_number_of_the_memories_and_their_costs():
    assert len(SURROUNDING_NUMBERS) > 100
    hashes = {load_machine("fpraker", **{key: value}).content_hash for key, value in SURROUNDING_NUMBERS.items()}
    assert len(hashes - {load_machine("fpraker").content_hash}) == len(SURROUNDING_NUMBERS)


def test_baseline_shares_the_overridden_memories_of_its_machine():
    machine = load_machine("fpraker", **{"memory.dram.channel_bits": 32, "energy.cells": "lop", "tile.rows": 4})
    baseline = baseline_of(machine)
    assert baseline.overrides == {
        "memory.dram.channel_bits": 32,
        "energy.cells": "lop",
        "memory.compression": "none",  # of fpraker's baseline, whatever is overridden
    }


@pytest.mark.parametrize(
    ("machine", "compression", "of_the_baseline"),
    [
        ("fpraker", None, "none"),
        ("fpraker", "same", "bdc"),
        ("fpraker", "zero", "zero"),
        ("fpraker:memory.compression=zero", None, "none"),
        ("fpraker:memory.compression=zero", "same", "zero"),
        ("fpraker:baseline_compression=bdc", None, "bdc"),
        ("fpraker:baseline_compression=bdc", "none", "none"),
        ("fpraker-literal", None, "bdc"),
        ("fpraker-literal:memory.compression=none", None, "none"),
        ("tensordash", None, "zero"),
        ("tensordash", "none", "none"),
        ("tensordash:memory.compression=none", None, "none"),
        ("tensordash-fp32", None, "zero"),
    ],
)
def test_a_baselines_compression_is_that_of_the_file_or_the_one_that_is_asked_for(
    machine, compression, of_the_baseline
):
    baseline = baseline_of(parse_machine(machine), compression)
    own = load_machine(baseline.name)
    assert baseline.values.memory.compression == of_the_baseline
    # Its name and hash tell, where it is not what the baseline's own file says.
    differs = of_the_baseline != own.values.memory.compression
    assert baseline.overrides == ({"memory.compression": of_the_baseline} if differs else {})
    assert (baseline.content_hash != own.content_hash) == differs


def test_ideal_memories_leave_a_baselines_compression_alone():
    baseline = baseline_of(load_machine("fpraker", **{"memory.model": "ideal"}))
    assert baseline.overrides == {"memory.model": "ideal"}


@pytest.mark.parametrize(
    ("machine", "compression", "says"),
    [
        ("fpraker", "gzip", "baseline compression 'gzip': give one of same, none, bdc, zero"),
        ("bitparallel", "none", "baseline compression none: bitparallel names no baseline; leave it out"),
        ("fpraker:memory.model=ideal", "none", "memories of fpraker:memory.model=ideal are ideal"),
    ],
)
def test_a_compression_that_would_change_nothing_is_refused(machine, compression, says):
    with pytest.raises(MachineError, match=re.escape(says)):
        baseline_of(parse_machine(machine), compression)


def test_range_of_a_constant_follows_its_uncertainty_and_that_of_a_section_adds_up():
    machine = load_machine("fpraker")
    read = machine.range("sram.buffer_a.lstp.read_pj")
    assert (read.low, read.mid, read.high) == (587.2 / 1.3, 587.2, 587.2 * 1.3)
    assert machine.range("tile_power_mw").mid == 109.5
    exact = load_machine("fpraker", **{"sram.buffer_a.lstp.read_pj": 500.0}).range("sram.buffer_a.lstp.read_pj")
    assert exact.low == exact.high == 500.0  # what the user sets is certain


def test_costs_of_the_chosen_cells_must_be_there(tmp_path):
    text = "extends: bitparallel\nsram: {scratchpad: {lstp: 5}}\n"
    with pytest.raises(MachineError, match=r"sram\.scratchpad"):
        load_machine(write(tmp_path, text))


def test_hash_does_not_change_with_description_provenance_or_spelling(tmp_path):
    machine = load_machine("fpraker")
    assert load_machine("fpraker", description="something else").content_hash == machine.content_hash
    assert load_machine("fpraker", tiles=36).content_hash == machine.content_hash
    assert replace(machine, provenance={}).content_hash == machine.content_hash
    extended = load_machine(
        write(tmp_path, "extends: fpraker\ndescription: x\nclock_hz: {value: 600e6, source: mine, confidence: 0.1}\n")
    )
    assert extended.content_hash == machine.content_hash


def test_hashes_of_bundled_machines_differ_and_hold_between_loads():
    hashes = [load_machine(name).content_hash for name in BUNDLED]
    assert len(set(hashes)) == len(BUNDLED)
    assert hashes == [load_machine(name).content_hash for name in BUNDLED]
    assert all(len(value) == 16 for value in hashes)


def test_copy_of_a_bundled_file_is_the_same_machine(tmp_path):
    from importlib.resources import as_file, files

    with as_file(files("simhw").joinpath("machine", "library", "fpraker.yaml")) as path:
        copy = shutil.copy(path, tmp_path / "copy.yaml")
        assert isinstance(yaml.safe_load(Path(copy).read_text()), dict)
    assert load_machine(copy).content_hash == load_machine("fpraker").content_hash


def test_a_machines_own_baseline_is_lowered_as_the_machine_is():
    assert baseline_of(load_machine("bitparallel")) is None
    assert baseline_of(load_machine("fpraker-literal")).content_hash == load_machine("bitparallel").content_hash
    baseline = baseline_of(load_machine("fpraker-literal", padding="skip", lane_padding="pack"))
    assert baseline.overrides == {"lowering.padding": "skip", "lowering.lane_padding": "pack"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ({"memory.buffers.g.banks": 4_000_000}, "less than or equal to 1048576"),
        ({"memory.buffers.g.banks": 2**31}, "memory.buffers.g.banks: .*less than or equal to 1048576"),
        ({"memory.transposers.count": 2**21}, "less than or equal to 1048576"),
        ({"memory.dram.banks": 257}, "less than or equal to 256"),
        ({"memory.dram.queue_depth": 1025}, "less than or equal to 1024"),
        ({"pe.shift_window": 2**16 + 1}, "less than or equal to 65536"),
        ({"tile_power_mw.pe_array": 1e13}, "less than or equal to 1000000000000"),
        ({"clock_hz": 1e-300}, "greater than 0.1"),
        ({"clock_hz": 1e300}, "less than or equal to"),
        ({"name": "x" * 201}, "at most 200 characters"),
        ({"name": ""}, "at least 1 character"),
    ],
)
def test_sizes_are_bounded_by_a_stated_limit(override, says):
    with pytest.raises(MachineError, match=says):
        load_machine("fpraker", **override)
