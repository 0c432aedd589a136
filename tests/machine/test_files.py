"""Machine files: provenance of every constant, what a file may leave out, and files that cannot be used."""

import os
import time

import pytest
import yaml

from simhw.errors import MachineError
from simhw.files.plain_yaml import parse_yaml
from simhw.machine.dotted import leaf_names
from simhw.machine.files import MAX_FILE_BYTES
from simhw.machine.machine import load_machine, parse_machine
from simhw.machine.names import machine_names
from simhw.machine.overrides import parse_overrides
from simhw.machine.provenance import Provenance
from simhw.roofline.device import load_device
from tests.machine_files import write

NO_CONSTANTS = {"name", "description", "baseline", "extends", "pe.kind", "gated_power"}
"""Leaves that say what a machine is called and refers to, and state nothing about hardware."""
BUNDLED = machine_names()


# Bundled machines


def test_bundled_machines():
    assert BUNDLED == [
        "bf16",
        "bitparallel",
        "fpraker",
        "fpraker-literal",
        "tensordash",
        "tensordash-dense",
        "tensordash-dense-fp32",
        "tensordash-fp32",
    ]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_constant_of_a_bundled_machine_has_a_source_and_a_confidence(name):
    machine = load_machine(name)
    leaves = set(leaf_names(machine.values.model_dump())) - NO_CONSTANTS
    if machine.values.baseline is None:
        leaves -= {"baseline_compression"}
    assert len(leaves) >= 12
    assert set(machine.provenance) == leaves
    for key in leaves:
        provenance = machine.provenance[key]
        assert len(provenance.source.strip()) >= 6, key
        assert provenance.source != "None", key
        assert 0 < provenance.confidence <= 1, key


def test_values_of_overrides_are_read_as_yaml():
    parsed = parse_overrides(
        ["a=4", "b=off", "c=on", "d=null", "e=600e6", "f=1_000", "g=true", "h=0.5", "i=x=y", "j=2024-01-01"]
    )
    assert parsed == {
        "a": 4,
        "b": "off",
        "c": "on",
        "d": None,
        "e": 600e6,
        "f": 1000,
        "g": True,
        "h": 0.5,
        "i": "x=y",
        "j": "2024-01-01",
    }


# Files of the user's own


def test_file_states_only_what_differs(tmp_path):
    path = write(
        tmp_path, "extends: fpraker\nname: wide\npe:\n  oob_threshold: {value: 9, source: my thesis, confidence: 0.9}\n"
    )
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


@pytest.mark.parametrize(
    "clock", ["600e6", "600E6", "6.e8", "6.0e+8", "6000000000e-1", "600_000e3", "600_000_000", "600000000.0"]
)
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
        (
            "extends: fpraker\ngated_power: [leakage]\n",
            "gated_power names .'leakage'., which tile_power_mw does not have",
        ),
        ("extends: fpraker\ntiles: {value: 3}\n", "tiles needs exactly value, source and confidence"),
        (
            "extends: fpraker\ntiles: {value: 3, source: x, confidence: 1, unit: m}\n",
            "tiles needs exactly value, source and confidence",
        ),
        (
            "extends: fpraker\ntiles: {value: 3, source: x, confidence: 2}\n",
            "confidence of tiles must lie between 0 and 1",
        ),
        (
            "extends: fpraker\ntiles: {value: 3, source: x, confidence: high}\n",
            "confidence of tiles must lie between 0 and 1",
        ),
        (
            "extends: fpraker\ntiles: {value: 3, source: x, confidence: .nan}\n",
            "confidence of tiles must lie between 0 and 1",
        ),
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
        "!!python/object:simhw.machine.machine.Machine {{}}",
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
    with pytest.raises(MachineError, match="over 1,000,000 bytes; that is not a machine file"):
        load_machine(path)


@pytest.mark.parametrize("name", ["nope", "fpraker.yaml", "", ".", "../machines/fpraker", "fpraker\n", "bit parallel"])
def test_unknown_machines_are_told_the_known_ones(name):
    with pytest.raises(MachineError, match=r"no machine .*bitparallel, fpraker, fpraker-literal, tensordash"):
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

LISTS = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12)
)
MAPS = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(8))}}}\n" for i in range(1, 12)
)
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


def test_uncertainty_is_kept_beside_the_source(tmp_path):
    path = write(tmp_path, 'extends: fpraker\ntiles: {value: 30, source: "mine", confidence: 0.5, uncertainty: 0.25}\n')
    assert load_machine(path).provenance["tiles"] == Provenance("mine", 0.5, 0.25)


@pytest.mark.parametrize("uncertainty", ["-0.1", "many", "1001"])
def test_uncertainty_out_of_range_is_refused(tmp_path, uncertainty):
    path = write(
        tmp_path,
        f'extends: fpraker\ntiles: {{value: 30, source: "mine", confidence: 0.5, uncertainty: {uncertainty}}}\n',
    )
    with pytest.raises(MachineError, match="uncertainty of tiles must lie between 0 and"):
        load_machine(path)


def test_file_may_extend_several_and_the_last_prevails(tmp_path):
    first = write(tmp_path, 'tiles: {value: 7, source: "first", confidence: 0.5}\nname: first\n', "first.yaml")
    path = write(tmp_path, f"extends: [fpraker, {first}]\ndescription: both\n", "both.yaml")
    machine = load_machine(path)
    assert (machine.values.tiles, machine.name, machine.provenance["tiles"].source) == (7, "first", "first")
    assert machine.values.memory is not None


def test_shared_part_is_no_machine_of_its_own():
    with pytest.raises(MachineError, match=r"pe\.kind is None"):
        load_machine("parts/lpddr4")
    with pytest.raises(MachineError, match=r"no machine 'parts/\.\./fpraker'"):
        load_machine("parts/../fpraker")


# Numbers as people write them (YAML 1.2's core schema, with underscores)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("064", 64), ("010", 10), ("08", 8), ("-012", -12), ("+5", 5), ("1_000", 1000), ("600_000_000", 600_000_000),
        ("0o17", 15), ("0x10", 16), ("1e3", 1000.0), ("600e6", 600e6), ("6.e8", 600e6), (".5", 0.5), ("007.50", 7.5),
        ("1_0.5", 10.5),
        (".inf", float("inf")), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("1:30", "1:30"), ("190:20:30", "190:20:30"), ("2024-01-01", "2024-01-01"), ("yes", "yes"), ("off", "off"),
        ("n", "n"),
        ("1__0", "1__0"), ("1_", "1_"), ("0b11", "0b11"), ("0o8", "0o8"), ("'064'", "064"), ('"1e3"', "1e3"),
        ("1,000", "1,000"),
        ("nan", "nan"), ("=", "="), ("٣", "٣"),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text, value):
    read = parse_yaml(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    ["9" * 41, "9" * 100_000, "1e999", "-1e400", '"\\ud800"', "!!int 5", "1: 2\n1: 3", "? [1]\n: 2", "1\n---\n2"],
)
def test_what_is_no_plain_yaml_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


def test_leading_zeros_and_colons_in_machines_devices_and_overrides(tmp_path):
    assert load_machine(write(tmp_path, "extends: fpraker\ntiles: 010\n")).values.tiles == 10
    assert load_device("v100", **parse_overrides(["hardware.sms=070"])).values.hardware.sms == 70
    assert parse_machine("fpraker:pe.oob_threshold=010").values.pe.threshold == 10
    with pytest.raises(MachineError, match="tiles: Input should be a valid integer, given '1:30'"):
        load_machine(write(tmp_path, "extends: fpraker\ntiles: 1:30\n"))


# Files that extend others


def test_each_file_is_read_once_however_often_it_is_extended(tmp_path):
    # 8 files, each extending the next eight-fold: 2,396,745 readings without memory.
    write(tmp_path, "extends: fpraker\n", "a7.yaml")
    for level in range(6, -1, -1):
        write(tmp_path, f"extends: [{', '.join([f'{tmp_path}/a{level + 1}.yaml'] * 8)}]\n", f"a{level}.yaml")
    start = time.perf_counter()
    assert load_machine(tmp_path / "a0.yaml").values.tiles == 36
    assert time.perf_counter() - start < 2


def test_numbers_of_files_and_values_are_bounded(tmp_path):
    with pytest.raises(MachineError, match="or a list of up to 8"):
        load_machine(write(tmp_path, f"extends: [{', '.join(['fpraker'] * 9)}]\n"))
    for number in range(20):
        write(tmp_path, f"extends: {tmp_path}/c{number + 1}.yaml\n", f"c{number}.yaml")
    with pytest.raises(MachineError, match="more than 16 deep"):
        load_machine(tmp_path / "c0.yaml")
    leaves = [write(tmp_path, "tiles: 3\n", f"{name}.yaml") for name in range(40)]
    middle = [
        write(tmp_path, f"extends: [{', '.join(map(str, leaves[first : first + 8]))}]\n", f"m{first}.yaml")
        for first in range(0, 40, 8)
    ]
    with pytest.raises(MachineError, match="extends over 32 files"):
        load_machine(write(tmp_path, f"extends: [{', '.join(map(str, middle))}]\n"))
    with pytest.raises(MachineError, match="over 4,096 values"):
        load_machine(write(tmp_path, "sram:\n" + "".join(f"  k{number}: 1\n" for number in range(5000))))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: fpraker\npe: {kind: {}}\n", "pe.kind is {}; known are"),
        ("extends: fpraker\npe: {kind: {value: {}, source: x, confidence: 1}}\n", "pe.kind is {}; known are"),
        ("extends: {a: b}\n", "extends is {'a': 'b'}; give a machine file's name or path"),
        ("extends: [5]\n", r"extends is \[5\]; give"),
        ("extends: fpraker\ntiles: 3\n'tiles': 4\n", "tiles stands there 2 times"),
        ("extends: fpraker\ntile.rows: 2\ntile: {rows: 4}\n", "tile.rows stands there 2 times"),
        (f"extends: fpraker\n{'é' * 300}: 3\n", "Extra inputs are not permitted"),
        (f"extends: {'x' * 300}.yaml\n", "no machine 'xxx"),
    ],
)
def test_structure_that_cannot_be_used_is_one_short_line(tmp_path, text, says):
    with pytest.raises(MachineError, match=says) as raised:
        load_machine(write(tmp_path, text))
    assert len(str(raised.value)) <= 390


def test_empty_section_changes_nothing(tmp_path):
    assert (
        load_machine(write(tmp_path, "extends: fpraker\ntile: {}\n")).content_hash
        == load_machine("fpraker").content_hash
    )


def test_file_that_is_not_utf8_and_one_that_may_not_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("extends: fpraker\nname: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(MachineError, match="line 2: byte 0xe9 is not UTF-8"):
        load_machine(tmp_path / "latin.yaml")
    (tmp_path / "bom.yaml").write_bytes("extends: fpraker\ntiles: 3\n".encode("utf-8-sig"))
    assert load_machine(tmp_path / "bom.yaml").values.tiles == 3
    path = write(tmp_path, "extends: fpraker\n", "locked.yaml")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read any file")
    with pytest.raises(MachineError, match="cannot be read: Permission denied"):
        load_machine(path)
