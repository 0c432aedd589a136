"""Area and power of tiles that are not the published ones: what they follow, and what they do not."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simhw import load_machine, simulate
from simhw.errors import MachineError
from simhw.machine.area import compute_area, iso_area
from simhw.machine.costs_of import stale_tile
from simhw.machine.files import content_hash
from simhw.machine.machine import Machine, baseline_of, parse_machine, variant_of
from simhw.machine.names import machine_names
from simhw.pe.fpraker.element import FPRaker
from simhw.simulation.cost import PowerDrawn
from simhw.trace.trace import Trace
from tests.machine.test_costs_of import layer
from tests.machine_files import write

PUBLISHED_UM2 = {"fpraker": 317_068, "bitparallel": 1_421_579, "tensordash-fp32": 2_089_375}


def area(machine: str) -> float:
    return parse_machine(machine).tile_area_um2


@pytest.mark.parametrize("name", machine_names())
def test_published_tiles_have_their_published_costs(name: str) -> None:
    machine = load_machine(name)
    values = machine.values
    assert machine.tile_areas_um2 == values.tile_area_um2
    assert machine.tile_powers_mw == values.tile_power_mw
    assert machine.tile_power == machine.range("tile_power_mw")
    assert machine.tile_area_um2 == pytest.approx(PUBLISHED_UM2.get(name, machine.tile_area_um2), rel=1e-15)
    assert values.tile_area_model.keys() >= values.tile_area_um2.keys()


@pytest.mark.parametrize("name", machine_names())
def test_published_values_given_again_change_nothing(name: str) -> None:
    machine = load_machine(name)
    again = load_machine(name, **{each: machine.value(each) for each in ("tile.rows", "tile.cols", "pe.lanes")})
    assert again.tile_areas_um2 == machine.values.tile_area_um2


@pytest.mark.parametrize(
    ("machine", "value", "steps"),
    [
        ("fpraker", "pe.shift_window", range(14)),
        ("fpraker", "pe.oob_threshold", range(4, 17)),
        ("fpraker", "pe.accumulator_fraction_bits", range(4, 17)),
        ("fpraker:pe.rounding=cycle", "pe.accumulator_fraction_bits", range(4, 17)),
        ("fpraker", "tile.rows", (1, 2, 4, 8, 16, 32)),
        ("fpraker", "tile.cols", (1, 3, 8, 64)),
        ("fpraker", "tile.buffers.a", range(1, 17)),
        ("fpraker", "tile.buffers.b", range(1, 17)),
        ("fpraker:tile.sync=set", "tile.run_ahead", range(5)),
        ("tensordash", "pe.depth", (1, 2, 3)),
        ("tensordash", "tile.rows", (1, 4, 16)),
        ("tensordash-fp32", "tile.cols", (1, 4, 16)),
        ("bitparallel", "pe.lanes", (8, 16)),
        ("bitparallel", "pe.accumulator_fraction_bits", range(4, 30)),
        ("bitparallel", "pe.align_range", range(8, 33)),
        ("tensordash-dense-fp32", "tile.rows", (1, 4, 16)),
    ],
)
def test_no_tile_takes_less_with_more_of_anything(machine: str, value: str, steps: Any) -> None:
    loaded = [parse_machine(f"{machine}{',' if '=' in machine else ':'}{value}={step}") for step in steps]
    assert all(one.tile_area_um2 <= other.tile_area_um2 for one, other in pairwise(loaded))
    assert all(one.tile_power.mid <= other.tile_power.mid for one, other in pairwise(loaded))
    assert loaded[0].tile_area_um2 < loaded[-1].tile_area_um2
    assert not any(stale_tile(each, cost) for each in loaded for cost in ("tile_area_um2", "tile_power_mw"))


def test_a_wider_window_reaches_no_farther_than_the_threshold() -> None:
    # Offsets in bounds are 0 to T + 1 = 8: a window of 8 lets all of them fire together.
    assert area("fpraker:pe.shift_window=7") < area("fpraker:pe.shift_window=8") == area("fpraker:pe.shift_window=13")


def test_twice_the_columns_are_twice_the_encoders() -> None:
    machine = load_machine("fpraker", **{"tile.cols": 16})
    assert machine.tile_areas_um2["term_encoders"] == 2 * 12_950
    assert machine.tile_powers_mw["term_encoders"] == 2 * 5.5
    # Each row's buffer of B serves them all, so that the array takes less than twice as much.
    assert 1.9 * 304_118 < machine.tile_areas_um2["pe_array"] < 2 * 304_118


def test_exponent_blocks_that_are_not_shared_cost_more() -> None:
    assert area("fpraker:tile.exponent_sharing=1") > 1.02 * area("fpraker")


def test_depth_1_has_nothing_to_schedule() -> None:
    parts = load_machine("tensordash", **{"pe.depth": 1}).tile_areas_um2
    assert parts == {"cores": 710_790, "schedulers_and_multiplexers": 0.0}


def test_skipping_zeros_of_both_sides_takes_a_scheduler_for_every_pe() -> None:
    one, two = (load_machine("tensordash", **{"pe.sides": sides}).tile_areas_um2 for sides in ("one", "two"))
    assert two["cores"] == one["cores"]
    assert two["schedulers_and_multiplexers"] > 1.5 * one["schedulers_and_multiplexers"]


def test_float32_doubles_multiplexers_and_not_schedulers() -> None:
    # The wider values make more of the part multiplexers, and with half of the columns fewer of those are needed.
    narrow, wide = (
        load_machine(name, **{"tile.cols": 2}).tile_costs.scales["schedulers_and_multiplexers"].factor
        for name in ("tensordash", "tensordash-fp32")
    )
    assert 0.5 < wide < narrow < 1


@pytest.mark.parametrize(
    ("machine", "values"),
    [
        ("fpraker:pe.oob=off", ["pe.oob"]),
        ("tensordash:pe.order=any", ["pe.order"]),
        ("tensordash-dense-fp32:pe.align_range=16", ["pe.align_range"]),
    ],
)
def test_what_has_no_hardware_is_not_followed(machine: str, values: list[str]) -> None:
    plain, changed = parse_machine(machine.partition(":")[0]), parse_machine(machine)
    assert stale_tile(changed, "tile_area_um2") == stale_tile(changed, "tile_power_mw") == values
    assert changed.tile_areas_um2 == plain.tile_areas_um2


def test_what_has_hardware_is_followed_beside_what_has_none() -> None:
    machine = parse_machine("fpraker:pe.oob=off,pe.shift_window=6")
    assert stale_tile(machine, "tile_area_um2") == ["pe.oob"]
    assert machine.tile_area_um2 == area("fpraker:pe.shift_window=6") > 317_068
    (caution,) = [each for each in simulate(Trace([layer()]), machine, progress=False).cautions if "of a tile" in each]
    assert "do not follow pe.oob, so" in caution


def test_cautions_go_where_the_hardware_is_known() -> None:
    results = simulate(Trace([layer()]), load_machine("fpraker", **{"pe.shift_window": 6}), progress=False)
    assert not [each for each in results.cautions if "of a tile" in each]


def test_energy_of_a_variant_follows_its_area_and_has_a_wider_range() -> None:
    wide = load_machine("fpraker", **{"pe.shift_window": 6})
    scale = wide.tile_costs.scales["pe_array"]
    assert 1 < scale.factor < 1.2
    assert 0 < scale.error < 0.05
    assert wide.tile_costs.followed == ("pe.shift_window",)
    assert wide.tile_powers_mw == {"pe_array": 104 * scale.factor, "term_encoders": 5.5}
    power = wide.tile_power
    # 10% of the file's, and the error of the factor.
    assert power.high == pytest.approx(104 * scale.factor * 1.1 * (1 + scale.error) + 5.5 * 1.1)
    assert power.low == pytest.approx(104 * scale.factor / 1.1 / (1 + scale.error) + 5.5 / 1.1)
    assert PowerDrawn.on(wide).whole_mw == pytest.approx(power.mid)
    ideal = load_machine("fpraker", **{"pe.shift_window": 6, "memory.model": "ideal"})
    cost = simulate(Trace([layer()]), ideal, progress=False).operations[0].cost
    assert cost.energy["compute"].mid == pytest.approx(36 * power.mid * 1e-3 * cost.time_s)
    assert cost.energy["compute"].high == pytest.approx(36 * power.high * 1e-3 * cost.time_s)
    assert cost.power_w == pytest.approx(36 * power.mid * 1e-3)


def test_a_cost_of_the_users_is_that_of_the_machine_as_it_is() -> None:
    machine = parse_machine("fpraker:pe.shift_window=6,tile_area_um2.pe_array=300_000")
    assert machine.tile_areas_um2 == {"pe_array": 300_000, "term_encoders": 12_950}
    assert machine.tile_powers_mw["pe_array"] > 104


def test_equal_area_finds_the_tiles_of_the_variant() -> None:
    baseline = load_machine("bitparallel")
    tiles = {}
    for window in (0, 3, 6, 13):
        machine = load_machine("fpraker", **{"pe.shift_window": window})
        tiles[window] = iso_area(compute_area(baseline), compute_area(machine)).tiles
        assert tiles[window] * machine.tile_area_um2 <= 1.01 * 8 * 1_421_579
        assert (tiles[window] + 1) * machine.tile_area_um2 > 8 * 1_421_579
    assert tiles[0] > tiles[3] == 36 > tiles[6] > tiles[13]


# Files of one's own


def test_a_file_that_extends_another_is_scaled_as_overrides_are(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: fpraker\nname: small\ntile: {rows: 4}\n")
    assert load_machine(path).tile_areas_um2 == load_machine("fpraker", **{"tile.rows": 4}).tile_areas_um2


def test_a_file_with_costs_of_its_own_tile_is_the_one_that_is_scaled(tmp_path: Path) -> None:
    text = (
        "extends: fpraker\nname: small\ntile: {rows: 4}\ntile_costs_of: [tile.rows=4]\ntile_area_um2: {pe_array: 9}\n"
    )
    path = write(tmp_path, text)
    assert load_machine(path).tile_areas_um2 == {"pe_array": 9, "term_encoders": 12_950}
    factor = area("fpraker") / area("fpraker:tile.rows=4")
    grown = load_machine(path, **{"tile.rows": 8})
    assert grown.tile_areas_um2["pe_array"] == pytest.approx(9 * factor, rel=0.05)


def test_a_file_without_a_model_or_a_published_tile_keeps_its_caution(tmp_path: Path) -> None:
    for text in (
        "extends: fpraker\ntile_costs_of: []\n",
        "extends: fpraker\ntile_area_um2: {controller: 5000}\n",
        "extends: fpraker\ntile_power_mw: {controller: 5}\n",
    ):
        machine = load_machine(write(tmp_path, text), **{"tile.rows": 4})
        assert stale_tile(machine, "tile_area_um2") == ["tile.rows"]
        assert machine.tile_areas_um2 == machine.values.tile_area_um2


def test_a_pe_that_does_not_say_what_it_consists_of_keeps_its_caution() -> None:
    class Silent(FPRaker):
        def structure(self) -> None:  # type: ignore[override]  # as a PE of a package that brings none
            return None

    machine = variant_of(load_machine("fpraker"), {"pe.shift_window": 6}, Silent)
    assert stale_tile(machine, "tile_area_um2") == ["pe.shift_window"]
    assert machine.tile_area_um2 == 317_068


def test_a_published_tile_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"tile_costs_of: tile\.rows|tile_costs_of: rows"):
        load_machine(write(tmp_path, "extends: fpraker\ntile_costs_of: [tile.rows=7]\n"))


@pytest.mark.parametrize(
    "text", ["{pe_array: {error: -1}}", "{pe_array: {areas: {lane_registers: -1}}}", "{pe_array: 5}"]
)
def test_a_model_that_cannot_be_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"tile_area_model"):
        load_machine(write(tmp_path, f"extends: fpraker\ntile_area_model: {text}\n"))


def test_the_model_is_a_part_of_the_machine() -> None:
    name = "tile_area_model.pe_array.areas.pe_lanes"
    assert load_machine("fpraker").provenance[name].source
    changed = load_machine("fpraker", **{name: 1e6})
    assert changed.content_hash != load_machine("fpraker").content_hash
    assert changed.tile_area_um2 == 317_068  # the published tile stays what was published


def test_a_machine_without_a_model_has_the_hash_that_saved_results_of_it_have() -> None:
    values = load_machine("fpraker").values.model_copy(update={"tile_area_model": {}})
    content = values.model_dump(mode="json", exclude={"description", "baseline_compression", "tile_area_model"})
    before = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    assert content_hash(values) == before != load_machine("fpraker").content_hash


def test_a_baseline_is_the_published_one_whatever_the_machine() -> None:
    baseline = baseline_of(load_machine("fpraker", **{"pe.shift_window": 6}))
    assert isinstance(baseline, Machine)
    assert baseline.tile_area_um2 == 1_421_579
