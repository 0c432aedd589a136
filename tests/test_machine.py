"""Machine files: provenance of every constant, the published sums, overrides, hashes, and files that cannot be used."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from simhw.errors import MachineError
from simhw.machine import baseline_of, load_machine, parse_machine
from simhw.machine_file import MAX_FILE_BYTES, leaf_names, machine_names, parse_overrides

NO_CONSTANTS = {"name", "description", "baseline", "extends", "pe.kind", "gated_power"}
"""Leaves that say what a machine is called and refers to, and state nothing about hardware."""
BUNDLED = machine_names()


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# Bundled machines


def test_bundled_machines():
    assert BUNDLED == ["bitparallel", "fpraker", "tensordash", "tensordash-dense", "tensordash-dense-fp32", "tensordash-fp32"]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_constant_of_a_bundled_machine_has_a_source_and_a_confidence(name):
    machine = load_machine(name)
    leaves = set(leaf_names(machine.values.model_dump())) - NO_CONSTANTS
    assert len(leaves) >= 12
    assert set(machine.provenance) == leaves
    for key in leaves:
        provenance = machine.provenance[key]
        assert len(provenance.source.strip()) >= 6, key
        assert provenance.source != "None", key
        assert 0 < provenance.confidence <= 1, key


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
    # Spec page fpraker.md, section 4: 36 x 317,068 = 11.41 mm^2 and 8 x 1,421,579 = 11.37 mm^2; 3.942 W / 3.800 W = 1.0374.
    fpraker, baseline = load_machine("fpraker"), load_machine("bitparallel")
    assert fpraker.tile_area_um2 == 317_068
    assert round(fpraker.compute_area_mm2, 2) == 11.41
    assert round(baseline.compute_area_mm2, 2) == 11.37
    assert compute_power_mw("fpraker") == 3942
    assert compute_power_mw("bitparallel") == 3800
    assert round(compute_power_mw("fpraker") / compute_power_mw("bitparallel"), 4) == 1.0374


def test_published_fp32_areas_and_powers_of_tensordash_follow_from_the_files():
    # Spec page tensordash.md, section 3: 33.44 / 30.80 mm^2 with the listed parts 30.41 + 0.38 + 0.91 + 1.73 = 33.43 and 30.41 + 0.38 =
    # 30.79, so a hundredth is the table's own rounding; 14,205 / 13,957 mW to the milliwatt.
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
    assert load_machine("fpraker").values.pe.threshold == 12
    assert load_machine("fpraker", accumulator_fraction_bits=9).values.pe.threshold == 9
    assert load_machine("fpraker", accumulator_fraction_bits=9, oob_threshold=12).values.pe.threshold == 12


def test_last_part_of_a_name_will_do_where_it_is_the_only_one():
    assert load_machine("fpraker", rows=4).overrides == {"tile.rows": 4}
    assert load_machine("fpraker", **{"wrong.rows": 4}).overrides == {"tile.rows": 4}
    with pytest.raises(MachineError, match=r"no value 'pe_array' to override; there are tile_area_um2.pe_array, tile_power_mw.pe_array"):
        load_machine("fpraker", pe_array=1)


@pytest.mark.parametrize(
    ("override", "says"),
    [
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


@pytest.mark.parametrize(("text", "says"), [("fpraker:a=1,b", "'b' is not of the form key=value"), ("fpraker:tiles=[1", "not valid YAML")])
def test_bad_command_line_overrides(text, says):
    with pytest.raises(MachineError, match=says):
        parse_machine(text)


def test_values_of_overrides_are_read_as_yaml():
    parsed = parse_overrides(["a=4", "b=off", "c=on", "d=null", "e=600e6", "f=1_000", "g=true", "h=0.5", "i=x=y", "j=2024-01-01"])
    assert parsed == {"a": 4, "b": "off", "c": "on", "d": None, "e": 600e6, "f": 1000, "g": True, "h": 0.5, "i": "x=y", "j": "2024-01-01"}


# Files of the user's own


def test_file_states_only_what_differs(tmp_path):
    path = write(tmp_path, "extends: fpraker\nname: wide\npe:\n  oob_threshold: {value: 9, source: my thesis, confidence: 0.9}\n")
    machine = load_machine(path)
    assert (machine.name, machine.values.pe.threshold, machine.values.tiles) == ("wide", 9, 36)
    assert machine.provenance["pe.oob_threshold"].source == "my thesis"
    assert machine.provenance["tiles"] == load_machine("fpraker").provenance["tiles"]


def test_file_may_leave_provenance_out(tmp_path):
    assert load_machine(write(tmp_path, "extends: fpraker\ntiles: 18\n")).values.tiles == 18


def test_off_is_a_word_and_600e6_a_number(tmp_path):
    text = "extends: fpraker\nclock_hz: {value: 600e6, source: mine, confidence: 1}\npe:\n  chunk: off\n"
    values = load_machine(write(tmp_path, text)).values
    assert values.clock_hz == 600_000_000
    assert values.pe.chunk == "off"
    assert load_machine(write(tmp_path, "extends: tensordash\npe: {gate: on}\n")).values.pe.gate == "on"


@pytest.mark.parametrize("clock", ["600e6", "600E6", "6.e8", "6.0e+8", "6000000000e-1", "600_000e3", "600_000_000", "600000000.0"])
def test_every_way_to_write_a_clock(tmp_path, clock):
    assert load_machine(write(tmp_path, f"extends: fpraker\nclock_hz: {clock}\n")).values.clock_hz == 600e6


def test_chain_of_files(tmp_path):
    write(tmp_path, "extends: fpraker\ntiles: 10\nclock_hz: 1e9\n", "one.yaml")
    path = write(tmp_path, f"extends: {tmp_path}/one.yaml\ntiles: 20\n", "two.yaml")
    values = load_machine(path).values
    assert (values.tiles, values.clock_hz) == (20, 1e9)


def test_files_that_extend_each_other_in_a_circle(tmp_path):
    write(tmp_path, f"extends: {tmp_path}/two.yaml\n", "one.yaml")
    write(tmp_path, f"extends: {tmp_path}/one.yaml\n", "two.yaml")
    with pytest.raises(MachineError, match="extend each other in a circle"):
        load_machine(tmp_path / "one.yaml")
    with pytest.raises(MachineError, match="extend each other in a circle"):
        load_machine(write(tmp_path, f"extends: {tmp_path}/self.yaml\n", "self.yaml"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a machine file is a mapping"),
        ("[1, 2]", "a machine file is a mapping"),
        ("fpraker", "a machine file is a mapping"),
        ("tiles: [1", "not valid YAML"),
        ("\0", "not valid YAML"),
        ("extends: fpraker\n? [1, 2]\n: 3\n", "not valid YAML"),
        ("extends: nowhere\n", "no machine 'nowhere'.*fpraker"),
        ("extends: [a]\n", "no machine"),
        ("extends: ../../etc/passwd\n", "no machine"),
        ("name: x\n", "pe.kind is None; known are bitparallel, fpraker, tensordash"),
        ("pe: [1]\n", "pe.kind is None"),
        ("pe: {kind: fpraker}\n", "Field required"),
        ("extends: fpraker\nspeed: 3\n", "speed: Extra inputs are not permitted"),
        ("extends: fpraker\n1: 3\n", "1: Extra inputs are not permitted"),
        ("extends: fpraker\npe: {window: 3}\n", "pe.window: Extra inputs are not permitted"),
        ("extends: fpraker\ntile: {depth: 3}\n", "tile.depth: Extra inputs are not permitted"),
        ("extends: fpraker\nlowering: {scheduled: a}\n", "lowering.scheduled: Extra inputs are not permitted"),
        ("extends: bitparallel\nlowering: {serial: a}\n", "lowering.serial: Extra inputs are not permitted"),
        ("extends: fpraker\ntile: 3\n", "tile: "),
        ("extends: fpraker\ntiles: many\n", "tiles: .*given 'many'"),
        ("extends: fpraker\nclock_hz: fast\n", "clock_hz: .*given 'fast'"),
        ("extends: fpraker\nclock_hz: .nan\n", "clock_hz: "),
        ("extends: fpraker\npe: {chunk: 32}\n", "pe.chunk: "),
        ("extends: fpraker\npe: {chunk: true}\n", "pe.chunk: "),
        ("extends: fpraker\ngated_power: [leakage]\n", "gated_power names .'leakage'., which tile_power_mw does not have"),
        ("extends: fpraker\ntiles: {value: 3}\n", "tiles needs exactly value, source and confidence"),
        ("extends: fpraker\ntiles: {value: 3, source: x, confidence: 1, unit: m}\n", "tiles needs exactly value, source and confidence"),
        ("extends: fpraker\ntiles: {value: 3, source: x, confidence: 2}\n", "confidence of tiles must lie between 0 and 1"),
        ("extends: fpraker\ntiles: {value: 3, source: x, confidence: high}\n", "confidence of tiles must lie between 0 and 1"),
        ("extends: fpraker\ntiles: {value: 3, source: x, confidence: .nan}\n", "confidence of tiles must lie between 0 and 1"),
    ],
)
def test_file_that_cannot_be_used_is_one_clear_line(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(MachineError, match=says) as raised:
        load_machine(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/new:os.system ['touch {marker}']",
        "!!python/object:simhw.machine.Machine {{}}",
        "!!python/name:os.system",
        "!!python/module:os",
        "!include {marker}",
    ],
)
def test_tags_construct_nothing(tmp_path, tag):
    marker = tmp_path / "constructed"
    path = write(tmp_path, f"extends: fpraker\ntiles: {tag.format(marker=marker)}\n")
    with pytest.raises(MachineError, match="not valid YAML: could not determine a constructor"):
        load_machine(path)
    with pytest.raises(MachineError, match="not valid YAML"):
        parse_overrides([f"tiles={tag.format(marker=marker)}"])
    assert not marker.exists()


def test_file_too_large_is_not_read(tmp_path):
    path = write(tmp_path, "# " + "x" * MAX_FILE_BYTES)
    with pytest.raises(MachineError, match="over 1,000,000 bytes; that is no machine file"):
        load_machine(path)


@pytest.mark.parametrize("name", ["nope", "fpraker.yaml", "", ".", "../machines/fpraker", "fpraker\n", "bit parallel"])
def test_unknown_machines_are_told_the_known_ones(name):
    with pytest.raises(MachineError, match=r"no machine .*bitparallel, fpraker, tensordash"):
        load_machine(name)


def test_folder_and_other_suffix_are_no_machines(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    for path in (tmp_path / "folder.yaml", write(tmp_path, "extends: fpraker\n", "machine.txt")):
        with pytest.raises(MachineError, match="no machine"):
            load_machine(path)


def test_file_of_the_users_own_beside_a_bundled_name(tmp_path, monkeypatch):
    # A name is a bundled machine; a file is given with its suffix.
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "extends: fpraker\nname: mine\ntiles: 2\n", "fpraker.yaml")
    assert load_machine("fpraker").values.tiles == 36
    assert load_machine("fpraker.yaml").values.tiles == 2


# Hostile files: refused in a line like any other, and before they cost time or memory

LISTS = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12))
MAPS = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(8))}}}\n" for i in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 8)}]}}\n" for i in range(1, 12))
HOSTILE = {
    "list bomb": "extends: fpraker\n" + LISTS + "tiles: *a11\n",
    "list bomb as a value": "extends: fpraker\n" + LISTS + "tiles: {value: *a11, source: x, confidence: 1}\n",
    "map bomb": MAPS,
    "merge bomb": MERGES,
    "map within itself": "extends: fpraker\na: &a {b: *a}\n",
    "deep list": "[" * 20_000,
    "deep map": "a: " + "{a: " * 5_000,
    "integer of 100,000 digits": "extends: fpraker\ntiles: " + "9" * 100_000 + "\n",
    "section below a value": "extends: fpraker\ntiles: {pe: {lanes: 3}}\n",
    "infinite clock": "extends: fpraker\nclock_hz: .inf\n",
    "area that is no number": "extends: fpraker\ntile_area_um2: {pe_array: .nan}\n",
    "negative power": "extends: fpraker\ntile_power_mw: {pe_array: -1}\n",
    "truth for a number": "extends: fpraker\ntiles: true\n",
    "no source": "extends: fpraker\ntiles: {value: 3, source: , confidence: 1}\n",
    "key twice": "extends: fpraker\ntiles: 3\ntiles: 4\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_one_short_line(tmp_path, name):
    path = write(tmp_path, HOSTILE[name])
    with pytest.raises(MachineError) as raised:
        load_machine(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < len(str(path)) + 500


def test_machine_name_longer_than_any_file_name():
    for name in ("a" * 5000, "a" * 5000 + ".yaml"):
        with pytest.raises(MachineError, match="no machine"):
            load_machine(name)


# Content hash

OTHER_VALUES = {
    "conversion": "truncate", "pe.encoder": "binary", "pe.shift_window": 4, "pe.oob_threshold": 12, "pe.oob": "column",
    "pe.accumulator_fraction_bits": 13, "pe.rounding": "cycle", "pe.chunk": 64, "tile.rows": 4, "tile.cols": 4, "tile.sync": "term",
    "tile.run_ahead": 2, "tile.exponent_sharing": 1, "lowering.serial": "w", "lowering.padding": "skip", "lowering.lane_padding": "pack",
    "lowering.fc_windows": "image", "tiles": 35, "clock_hz": 500e6, "tile_area_um2.pe_array": 1, "tile_area_um2.term_encoders": 1,
    "tile_power_mw.pe_array": 1, "tile_power_mw.term_encoders": 1, "baseline": "tensordash-dense", "name": "other",
}  # fmt: skip
ONLY_VALUE = {"pe.kind", "pe.lanes", "description"}


def test_every_leaf_is_looked_at_by_the_hash_test():
    machine = load_machine("fpraker")
    leaves = set(leaf_names(machine.values.model_dump())) - {"gated_power"}
    assert leaves == set(OTHER_VALUES) | ONLY_VALUE


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_hash_changes_with_every_value(key):
    machine = load_machine("fpraker")
    changed = load_machine("fpraker", **{key: OTHER_VALUES[key]})
    assert changed.content_hash != machine.content_hash


def test_hash_does_not_change_with_description_provenance_or_spelling(tmp_path):
    machine = load_machine("fpraker")
    assert load_machine("fpraker", description="something else").content_hash == machine.content_hash
    assert load_machine("fpraker", tiles=36).content_hash == machine.content_hash
    assert replace(machine, provenance={}).content_hash == machine.content_hash
    extended = load_machine(write(tmp_path, "extends: fpraker\ndescription: x\nclock_hz: {value: 600e6, source: mine, confidence: 0.1}\n"))
    assert extended.content_hash == machine.content_hash


def test_hashes_of_bundled_machines_differ_and_hold_between_loads():
    hashes = [load_machine(name).content_hash for name in BUNDLED]
    assert len(set(hashes)) == len(BUNDLED)
    assert hashes == [load_machine(name).content_hash for name in BUNDLED]
    assert all(len(value) == 16 for value in hashes)


def test_copy_of_a_bundled_file_is_the_same_machine(tmp_path):
    from importlib.resources import as_file, files

    with as_file(files("simhw").joinpath("machines", "fpraker.yaml")) as path:
        copy = shutil.copy(path, tmp_path / "copy.yaml")
        assert isinstance(yaml.safe_load(Path(copy).read_text()), dict)
    assert load_machine(copy).content_hash == load_machine("fpraker").content_hash


def test_a_machines_own_baseline_is_lowered_as_the_machine_is():
    assert baseline_of(load_machine("bitparallel")) is None
    assert baseline_of(load_machine("fpraker")).content_hash == load_machine("bitparallel").content_hash
    baseline = baseline_of(load_machine("fpraker", padding="skip", lane_padding="pack"))
    assert baseline.overrides == {"lowering.padding": "skip", "lowering.lane_padding": "pack"}
