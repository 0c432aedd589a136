"""Sweep files: what they mean, and what is refused before anything runs."""

import math
from collections import Counter

import pytest

from simhw.errors import SimhwError
from simhw.machine.area import compute_area, iso_area
from simhw.machine.machine import load_machine
from simhw.sweeps.description import MOST_POINTS, Range, read_description
from simhw.sweeps.draws import placed, varied_points
from simhw.sweeps.points import Points
from tests.cli_runs import fails
from tests.sweeps.runs import written

pytestmark = pytest.mark.usefixtures("folder")
HEAD = "traces: some\nmachines: fpraker\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("machines: fpraker\n", "traces: missing; add it, such as traces: [small_cnn]"),
        ("traces: some\n", "machines: missing"),
        (HEAD + "grids: {}\n", "grids: there is no such key; a sweep has traces, machines, grid, list, random"),
        ("- some\n", "a sweep is a mapping with traces, machines and what varies"),
        (HEAD + "grid: {batch: 0}\n", "grid: batch 0: give the images that the step is grown to"),
        (HEAD + "grid: {batch: true}\n", "grid: batch True: give the images"),
        (HEAD + "list: [{sample: 1.5}]\n", "list: sample 1.5: give the share of the tile passes"),
        (HEAD + "grid: {memory: [ideal, real]}\n", "grid: memory 'real': give modelled or ideal"),
        (HEAD + "grid: {tile.rows: [[4]]}\n", "grid.tile.rows.0: give a finite number, a text, true, false or null"),
        (HEAD + "grid: {tile.rows: []}\n", "grid.tile.rows: "),
        (HEAD + "random: {points: 2, ranges: {tiles: {from: 9, to: 3}}}\n", "ranges.tiles: from 9 is not below to 3"),
        (HEAD + "random: {points: 2, ranges: {tiles: {from: 9}}}\n", "give a list of choices, or numbers for both"),
        (HEAD + "random: {points: 2, ranges: {tiles: {from: 0, to: 3, scale: log}}}\n", "from 0 has no logarithm"),
        (HEAD + "random: {points: 2, ranges: {seed: {from: -1, to: 3}}}\n", "seed -1: give the number of a random"),
        (HEAD + "grid: {tiles: 4}\nlist: [{tiles: 5}]\n", "'tiles' stands in grid and in what it is combined with"),
        (HEAD + "grid: {tile.rows: &a [1]}\nlist: [*a]\n", "not valid YAML: aliases are not allowed"),
        (HEAD + "grid: {tile.row: 4}\n", "'tile.row' is no switch (batch, sample, seed"),
        (HEAD + "grid: {rows: 4, tile.rows: 8}\n", "tile.rows is overridden twice"),
        ("traces: some\nmachines: 'fpraker:tile.rows=4'\ngrid: {tile.rows: 8}\n", "which the sweep varies; leave one"),
        (HEAD + "grid: {baseline: [null, bf61]}\n", "baseline: no machine 'bf61'"),
        ("traces: nowhere\nmachines: fpraker\n", "traces: nowhere: no such trace"),
        ("traces: some\nmachines: fpracker\n", "machines: no machine 'fpracker'"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_line(text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "sweep", str(written(text)), "--jobs", "0")
    assert line.startswith("simhw: sweep.yaml: ")
    assert told in line


def test_too_many_points_are_refused_by_their_number() -> None:
    axes = {f"axis{number}": list(range(10)) for number in range(6)}
    with pytest.raises(SimhwError, match=rf"1,000,000 points, more than {MOST_POINTS:,}; give fewer values, or draw"):
        read_description({"traces": "some", "machines": "fpraker", "grid": axes})


def test_the_number_is_that_of_all_combinations() -> None:
    drawn = {"points": 5, "ranges": {"tiles": [1, 2]}}
    described = {"traces": ["a", "b"], "machines": ["m", "n", "o"], "grid": {"x": [1, 2], "y": 3}}
    # 2 traces x 3 machines x (2 x 1) of the grid, x (2 of the list + 5 + 5 drawn).
    assert read_description(described).number == 12
    assert read_description({**described, "list": [{}, {"tiles": 4}]}).number == 24
    assert read_description({**described, "list": [{}, {}], "random": drawn, "latin_hypercube": drawn}).number == 144


def test_every_slice_of_a_latin_hypercube_has_a_point_of_it() -> None:
    ranges = {"ten": {"from": 1, "to": 10}, "log": {"from": 1.0, "to": 1024.0, "scale": "log"}, "two": ["a", "b"]}
    described = {"traces": "t", "machines": "m", "latin_hypercube": {"points": 10, "seed": 3, "ranges": ranges}}
    points = list(varied_points(read_description(described)))
    # Ten points over ten integers: each once.  A slice of the logarithm is a doubling.  Five of each choice.
    assert sorted(point["ten"] for point in points) == list(range(1, 11))
    assert sorted(math.floor(math.log2(float(point["log"] or 0))) for point in points) == list(range(10))
    assert Counter(point["two"] for point in points) == {"a": 5, "b": 5}
    assert points == list(varied_points(read_description(described)))
    described["latin_hypercube"] = {"points": 10, "seed": 4, "ranges": ranges}
    assert points != list(varied_points(read_description(described)))


def test_equal_numbers_of_other_types_are_other_values() -> None:
    described = {"traces": "some", "machines": "fpraker", "grid": {"tiles": [4, 4.0], "sample": [1, 1.0]}}
    points = list(Points(read_description(described), "sweep").plan())
    # A count of tiles is an integer; a share of 1 is one of 1.0.
    assert [(point.row["machine"], point.error is None) for point in points] == [
        ("fpraker:tiles=4", True),
        ("fpraker:tiles=4.0", False),
    ]


def test_ranges_hold_both_ends() -> None:
    whole = Range(start=2, end=4)
    assert [placed(whole, unit) for unit in (0.0, 0.33, 0.34, 0.66, 0.67, 1 - 1e-16)] == [2, 2, 3, 3, 4, 4]
    assert placed(Range(start=2.0, end=4.0), 0.5) == 3.0
    assert placed(Range(start=1.0, end=100.0, scale="log"), 0.5) == pytest.approx(10.0)
    assert placed(Range(choices=["a", None]), 0.99) is None


def test_tiles_of_equal_area_are_those_of_each_variant() -> None:
    described = {
        "traces": "some",
        "machines": ["fpraker", "tensordash"],
        "grid": {"tiles": ["iso-area"], "pe.shift_window": [0, 3, 6]},
    }
    points = list(Points(read_description(described), "sweep").plan())
    windows = [load_machine("fpraker", **{"pe.shift_window": window}) for window in (0, 3, 6)]
    wanted = [iso_area(compute_area(load_machine("bitparallel")), compute_area(each)).tiles for each in windows]
    assert [point.row["tiles"] for point in points] == [*wanted, 14]  # of tensordash by its ratio of 1.13: 16 / 1.13
    assert wanted[0] > wanted[1] == 36 > wanted[2]
    assert all(point.row["compute_area_mm2"] <= 1.01 * 8 * 1.421579 for point in points[:3])


def test_tiles_of_equal_area_need_a_baseline() -> None:
    described = {"traces": "some", "machines": "bf16", "grid": {"tiles": ["iso-area"]}}
    (point,) = Points(read_description(described), "sweep").plan()
    assert point.error == "tiles iso-area: bf16 has no baseline whose area they could take"
