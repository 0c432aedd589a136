"""`simhw machine iso-area`: tile counts of equal area, with their arithmetic."""

from pathlib import Path

import pytest

from simhw.cli import main
from simhw.machine.constants import unit_of
from simhw.machine.machine import load_machine, parse_machine
from tests.cli_runs import fails
from tests.machine_files import write


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["machine", "iso-area", *arguments]) == 0
    return capsys.readouterr().out


def table(text: str) -> dict[int, list[str]]:
    """The words of each machine row, by tile count."""
    rows = [line.split() for line in text.splitlines()]
    return {
        int(row[1].replace(",", "")): row
        for row in rows
        if row[:1] == ["machine"] and row[1].replace(",", "").isdigit()
    }


def fact(text: str, name: str) -> str:
    (found,) = [line[len(name) :].strip() for line in text.splitlines() if line.startswith(f"{name} ")]
    return found


def test_fpraker_gets_36_tiles_for_8_of_its_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--baseline", "bf16", "--pe", "fpraker")
    # Spec page fpraker.md, section 4.
    assert "pe_array 304,118 + term_encoders 12,950 = 317,068" in text
    assert fact(text, "area to fill") == "8 x 1.421579 = 11.372632 mm^2"
    assert fact(text, "division") == "11.372632 / 0.317068 = 35.868 tiles"
    rows = table(text)
    assert sorted(rows) == [35, 36, 37]
    assert rows[35][2:6] == ["11.097", "-0.275", "(-2.42%)", "yes"]
    assert rows[36][2:] == ["11.414", "+0.042", "(+0.37%)", "yes", "chosen,", "in", "the", "machine's", "file"]
    assert rows[37][2:6] == ["11.732", "+0.359", "(+3.16%)", "no"]
    assert fact(text, "tiles").startswith("36, the closest to 35.868")
    # Lane ratio 4.5; at most 2.25 since a set takes two cycles or more.
    assert fact(text, "lanes").endswith(": 4.5x")
    assert fact(text, "peak").startswith("4.5x with one cycle a set")
    assert fact(text, "peak").endswith("at most 4.5 / 2 = 2.25x")


def test_override_it_prints_gives_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--baseline", "bitparallel:tiles=16", "--pe", "fpraker:pe.oob=off,tiles=3")
    # Twice the area: 71.74, and 72 take 0.37% more again.
    assert fact(text, "to use it") == "--pe fpraker:pe.oob=off,tiles=72"
    assert parse_machine("fpraker:pe.oob=off,tiles=72").values.tiles == 72
    assert "in the machine's file" in " ".join(table(text)[36])  # of the file, not what was overridden
    assert "Caution: the tile area of fpraker is that of the file; it does not follow pe.oob." in text
    assert "Caution" not in output(capsys, "--pe", "fpraker:tiles=3")


def test_a_variant_gets_the_tiles_of_its_own_area(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--pe", "fpraker:pe.shift_window=6")
    machine = parse_machine("fpraker:pe.shift_window=6")
    tiles = round(8 * 1_421_579 / machine.tile_area_um2)
    assert tiles < 36
    assert fact(text, "to use it") == f"--pe fpraker:pe.shift_window=6,tiles={tiles}"
    scale = machine.tile_costs.scales["pe_array"]
    assert fact(text, "machine's area") == (
        f"those of the file, pe_array x {scale.factor:.4g} (+-{scale.error:.1%}), for pe.shift_window"
    )
    assert "Caution" not in text


def test_baseline_is_by_default_that_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--pe", "tensordash")
    # 16 / 1.13 = 14.16 tiles.
    assert fact(text, "division").endswith("= 14.159 tiles")
    assert sorted(table(text)) == [13, 14, 15, 16]
    assert "+13.00%" in " ".join(table(text)[16])
    # As many lanes and clocks a tile: 14 / 16; three steps drain in a cycle at best.
    assert fact(text, "lanes").endswith(": 0.875x")
    assert fact(text, "peak").endswith("= 2.625x")


def test_tolerance_is_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    assert fact(output(capsys, "--pe", "fpraker", "--tolerance", "0"), "to use it") == "--pe fpraker:tiles=35"
    assert fact(output(capsys, "--pe", "fpraker", "--tolerance", "0.005"), "to use it") == "--pe fpraker:tiles=36"


def test_chip_counts_scratchpads_with_their_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--pe", "fpraker", "--area", "chip")
    # 24 scratchpads a tile, of both machines; the buffers and transposers of both are the same and cancel.
    own = 24 * load_machine("fpraker", cells="lstp").values.sram["scratchpad"]["lstp"].area_mm2
    tiles = 8 * (1.421579 + own) / (0.317068 + own)
    assert fact(text, "division").endswith(f"= {tiles:.3f} tiles")
    assert fact(text, "to use it") == f"--pe fpraker:tiles={round(tiles)}"


def test_speed_takes_clocks_in(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "--pe", "fpraker:clock_hz=300000000")
    assert fact(text, "peak").startswith("2.25x at 300 against 600 MHz")
    # A baseline whose time depends on values bounds nothing.
    assert "\npeak " not in output(capsys, "--pe", "bf16", "--baseline", "fpraker")


def test_file_of_the_users_is_a_machine_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "extends: fpraker\nname: mine\ntiles: {value: 20, source: mine, confidence: 1.0}\n")
    text = output(capsys, "--pe", str(path))
    assert fact(text, "to use it") == f"--pe {path}:tiles=36"
    assert "in the machine's file" in " ".join(table(text)[20])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--pe", "nope"], "no machine 'nope'"),
        (["--pe", "bf16"], "names no baseline of its own; give one with --baseline"),
        (["--pe", "fpraker", "--tolerance", "-0.01"], "tolerance -0.01: give a share of at least 0"),
        (["--pe", "fpraker", "--tolerance", "nan"], "tolerance nan"),
        (["--pe", "bf16", "--baseline", "fpraker:tiles=1"], "no tile fits"),
        (["--pe", "fpraker", "--baseline", "bf16:tile_area_um2.pe_array=0"], "its tiles have no area"),
        (["--pe", "bf16:tile_area_um2.pe_array=1", "--baseline", "fpraker"], "65536"),
        (
            ["--pe", "fpraker", "--area", "chip", "--baseline", "fpraker:memory_area_mm2.buffer_a=1,tiles=1"],
            "no tile fits",
        ),
    ],
)
def test_what_cannot_be_solved_is_one_line_and_exit_code_2(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert word in fails(capsys, "machine", "iso-area", *arguments)


def test_show_has_the_area_of_the_chip(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "show", "fpraker:cells=lstp"]) == 0
    text = capsys.readouterr().out
    memories = 344 + 334 + 93.6 + 36 * 24 * 0.01733 + 18 * 0.005558
    compute = 36 * 0.317068
    line = fact(text, "chip")
    assert line.startswith(
        f"compute {compute:.3f} + memories {memories:.3f} = {compute + memories:.3f} mm^2; compute is 1.43%; "
    )
    assert line.endswith("x bitparallel")
    assert any(
        row.split() == ["buffer_a", "9", "38.22", "344.000", "43.10%", "memory_area_mm2,", "published"]
        for row in text.splitlines()
    )
    assert any(
        row.split()[:6] == ["scratchpad", "864", "0.01733", "14.973", "1.88%", "sram,"] for row in text.splitlines()
    )


def test_show_says_what_areas_do_not_follow(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "show", "fpraker:memory.buffers.a.bank_bytes=1024"]) == 0
    assert "scaled by CACTI's ratios for memory.buffers.a.bank_bytes." in capsys.readouterr().out


def test_machine_without_sram_costs_still_shows_and_compares_its_compute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(tmp_path, "extends: fpraker\nname: mine\nenergy: null\n"))
    assert main(["machine", "show", path]) == 0
    assert fact(capsys.readouterr().out, "chip").startswith(
        "unknown: mine: no area of scratchpad: state memory_area_mm2.scratchpads"
    )
    assert fact(output(capsys, "--pe", path), "to use it") == f"--pe {path}:tiles=36"
    assert "no area of scratchpad" in fails(capsys, "machine", "iso-area", "--pe", path, "--area", "chip")


def test_units_of_memories_and_their_costs_come_from_names() -> None:
    units = {
        "sram.buffer_a.hp.read_pj": "pJ",
        "sram.buffer_a.hp.area_mm2": "mm^2",
        "sram.buffer_a.hp.leakage_mw": "mW",
        "memory_area_mm2.buffer_a": "mm^2",
        "memory.buffers.a.bank_bytes": "B",
        "memory.buffers.a.banks": "",
        "memory.dram.controller_latency_ns": "ns",
        "memory.dram.t_rcd": "ns",
        "energy.dram.read_io_pj_per_byte": "pJ/B",
    }
    assert {name: unit_of(name) for name in units} == units
