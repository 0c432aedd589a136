"""`simhw rtl area`: the tile of a machine in cells, beside its baselines."""

import json

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed: pip install 'simhw[rtl]'")
pytest.importorskip("pyosys", reason="Yosys is not installed: pip install 'simhw[rtl]'")

from simhw.cli import main
from simhw.rtl.synthesis import tiles


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--pe", "fpraker", "--liberty", "nowhere.lib"], "nowhere.lib: cannot be read as a Liberty file"),
        (["--pe", "tensordash:pe.order=any"], "pe.order=any has no hardware"),
        (["--pe", "fpraker:pe.oob=off"], "pe.oob=off has no hardware"),
    ],
)
def test_what_cannot_be_built_is_told_in_a_line(
    given: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rtl", "area", *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("simhw: ")
    assert told in error
    assert error.count("\n") == 1


def test_ratios_are_those_of_the_areas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # A unit in place of each tile's circuit: a baseline of few lanes is synthesised in a second.
    from simhw.rtl.bitparallel import Aligner, Multiplier

    monkeypatch.setattr(tiles, "FPRakerTile", lambda _pe, _tile: Aligner(8))
    monkeypatch.setattr(tiles, "DotProduct", lambda *_values: Multiplier())
    monkeypatch.setattr(tiles, "fused", lambda values, _positions, library: tiles.separate(values, library))
    assert main(["rtl", "area", "--pe", "fpraker", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    [table] = [each for each in document["tables"] if each["name"] == "tiles"]
    own, *others = (dict(zip(table["columns"], row, strict=True)) for row in table["rows"])
    assert len(others) == 2  # the baseline is aligned over 32 positions, which is the widest reading, and separate
    for row in others:
        assert row["ratio"] == pytest.approx(own["area"] / row["area"], abs=5e-4)
        assert row["machine um^2"] == pytest.approx(1_421_579 * own["area"] / row["area"], abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "values"),
    [("pe.shift_window", (0, 3, 8)), ("pe.accumulator_fraction_bits", (6, 12, 16))],
)
def test_the_area_of_a_pe_grows(override: str, values: tuple[int, ...]) -> None:
    from simhw.machine.machine import load_machine
    from simhw.rtl.fpraker.element import TermPE
    from simhw.rtl.synthesis.synthesise import synthesise

    pes = [load_machine("fpraker-literal", **{override: value}).values.pe for value in values]
    areas = [synthesise(TermPE(pe), "pe").area for pe in pes]
    assert areas == sorted(set(areas))
