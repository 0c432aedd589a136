"""`simhw machine`: lists, constants with their sources, and the arithmetic of area and power."""

from pathlib import Path

import pytest

from simhw.cli import main
from simhw.machine.constants import unit_of
from simhw.machine.dotted import leaf_names
from simhw.machine.machine import load_machine
from simhw.machine.names import machine_names


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["machine", *arguments]) == 0
    return capsys.readouterr().out


def row(text: str, first: str) -> list[str]:
    (found,) = [line.split() for line in text.splitlines() if line.split()[:1] == [first]]
    return found


def test_list_has_every_machine_and_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "list")
    for name in machine_names():
        assert load_machine(name).values.description in text
    # The spec: 36 tiles of 317,068 um^2 and 109.5 mW; 8 of 1,421,579 um^2 and 475 mW.
    assert row(text, "fpraker")[1:7] == [
        "36",
        "18,432",
        "600",
        f"{36 * 0.317068:.2f}",
        f"{36 * 0.1095:.3f}",
        "bitparallel",
    ]
    assert row(text, "bitparallel")[1:7] == ["8", "4,096", "600", f"{8 * 1.421579:.2f}", "3.800", "-"]


@pytest.mark.parametrize("name", machine_names())
def test_show_has_every_constant_with_source_and_confidence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "show", name)
    machine = load_machine(name)
    assert machine.content_hash in text
    for constant in leaf_names(machine.values.model_dump()):
        if constant not in ("name", "description", "baseline"):
            # A list has a row for each of its items.
            lines = [line for line in text.splitlines() if line.split()[:1] == [constant]]
            assert lines
            if constant in machine.provenance:
                source = machine.provenance[constant]
                assert all(f" {source.confidence:.0%} " in line and source.source in line for line in lines)


def test_show_has_a_row_for_each_item_of_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "show", "fpraker")
    found = [line.split()[1] for line in text.splitlines() if line.split()[:1] == ["tile_costs_of"]]
    assert found == load_machine("fpraker").values.tile_costs_of
    # Room for the longest of 17 items, not for all of them.
    assert max(map(len, text.splitlines())) < 400


def test_show_does_the_arithmetic_of_area_and_power(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "show", "fpraker")
    assert "36 tiles x 64 PEs x 8 lanes = 18,432; 4.5x bitparallel" in text
    assert (
        "36 tiles x (pe_array 304,118 + term_encoders 12,950 = 317,068) um^2 = 11.414 mm^2; 1.004x bitparallel" in text
    )
    assert "36 tiles x (pe_array 104 + term_encoders 5.5 = 109.5) mW = 3.942 W; 1.037x bitparallel" in text
    assert "8 tiles x (pe_array 475) mW = 3.800 W\n" in output(capsys, "show", "bitparallel")


def test_show_marks_overrides_and_their_hash(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "show", "fpraker-literal:oob_threshold=9,tile.rows=4")
    assert row(text, "pe.oob_threshold")[1:4] == ["9", "(file:", "null)"]
    assert row(text, "tile.rows")[1:4] == ["4", "(file:", "8)"]
    assert "set by the user" in text
    changed = load_machine("fpraker-literal", oob_threshold=9, **{"tile.rows": 4})
    assert changed.content_hash in text
    assert changed.content_hash != load_machine("fpraker-literal").content_hash
    scales = changed.tile_costs.scales
    assert row(text, "tile")[2:] == [
        "those", "of", "the", "file,", "pe_array", "x", f"{scales['pe_array'].factor:.4g}",
        f"(+-{scales['pe_array'].error:.1%}),", "for", "pe.oob_threshold,", "tile.rows",
    ]  # fmt: skip
    assert "Caution" not in text
    assert "Caution" in output(capsys, "show", "fpraker-literal:pe.oob=off")
    assert "tile costs  those of the file\n" in output(capsys, "show", "fpraker-literal")


def test_units_come_from_names() -> None:
    assert [unit_of(name) for name in ("clock_hz", "tile_area_um2.pe_array", "tile_power_mw.cores", "pe.lanes")] == [
        "Hz",
        "um^2",
        "mW",
        "",
    ]


def test_yaml_prints_a_file_that_makes_the_same_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in machine_names():
        Path("mine.yaml").write_text(output(capsys, "show", "--yaml", name), encoding="utf-8")
        assert load_machine("mine.yaml").content_hash == load_machine(name).content_hash
        assert load_machine("mine.yaml").provenance == load_machine(name).provenance
    # A file is shown as well as a name.
    assert "tensordash-fp32" in output(capsys, "show", "mine.yaml")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["show", "nope"], "no machine 'nope'"),
        (["show", "fpraker:nope=1"], "no value 'nope'"),
        (["show", "--yaml", "nope"], "no machine 'nope'"),
        (["show", "--yaml", "fpraker:tile.rows=4"], "leave the overrides out"),
    ],
)
def test_bad_machines_are_one_line_and_exit_code_2(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["machine", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("simhw: ")
    assert word in line


def test_list_has_every_device_and_its_peaks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "list"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.split()}
    # Spec page roofline.md, section 1: 15.7 and 125 TFLOP/s; 256 (262 derived); 11.1 and 22 at 680 MHz.
    # fp32, tf32, bf16, fp16, int8 and GB/s; the H200's at its highest clock.
    assert rows["v100"][1:7] == ["15.67", "-", "-", "125.3", "62.67", "900"]
    assert rows["ascend910"][2:7] == ["-", "-", "262.1", "524.3", "1,200"]
    assert rows["ascend310"][2:7] == ["-", "-", "11.14", "22.28", "51.2"]
    assert rows["h200"][1:7] == ["66.91", "535.3", "1071", "-", "-", "4,800"]


def test_show_has_every_constant_of_a_device_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "show", "v100:sms=40"]) == 0
    text = capsys.readouterr().out
    assert "v100:hardware.sms=40" in text
    (line,) = [line for line in text.splitlines() if line.strip().startswith("hardware.sms ")]
    assert "40 (file: 80)" in line
    assert "set by the user" in line
    assert main(["machine", "show", "--yaml", "v100-pcie"]) == 0
    assert "extends: devices/v100" in capsys.readouterr().out
