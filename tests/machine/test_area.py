"""Areas of chips, and tile counts of equal area."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.errors import MachineError
from simhw.machine.area import ChipArea, Counted, MemoryArea, chip_area, compute_area, iso_area
from simhw.machine.machine import Machine, load_machine

BF16, FPRAKER = compute_area(load_machine("bf16")), compute_area(load_machine("fpraker"))
areas = st.builds(
    lambda tiles, tile_um2, own_um2, shared_mm2: a_chip(tiles, tile_um2, own_um2, shared_mm2),
    st.integers(1, 64),
    st.integers(100_000, 2_000_000),
    st.integers(0, 1_000_000),
    st.integers(0, 20),
)
counts: st.SearchStrategy[Counted] = st.sampled_from(("compute", "chip"))


def a_chip(tiles: int, tile_um2: float, own_um2: float = 0, shared_mm2: float = 0) -> ChipArea:
    """Tiles of one part with a scratchpad each, and one buffer for all."""
    memories = (MemoryArea("scratchpad", tiles, own_um2 / 1e6, False), MemoryArea("buffer_a", 1, shared_mm2, True))
    return ChipArea(tiles, {"pe_array": tile_um2}, memories)


def changed(machine: Machine, **values: object) -> Machine:
    """A machine whose file states something else."""
    return replace(machine, values=machine.values.model_copy(update=values))


# Areas


def test_area_of_the_fpraker_chip_adds_up_by_hand() -> None:
    area = chip_area(load_machine("fpraker", cells="lstp"))
    # Spec page fpraker.md, section 4: 36 tiles of 304,118 + 12,950 um^2; buffers of 344, 334 and 93.6 mm^2.
    assert area.compute_mm2 == pytest.approx(36 * 317_068e-6)
    published = {memory.name: memory.area_mm2 for memory in area.memories if memory.published}
    assert published == pytest.approx({"buffer_a": 344, "buffer_g": 334, "buffer_w": 93.6})
    # 2 KB: 0.0173 mm^2 (spec page energy.md); a scratchpad for each of 8 rows of X and 8 of Y, and for 8 rows of PEs.
    by_cacti = {memory.name: memory for memory in area.memories if not memory.published}
    assert by_cacti["scratchpad"].instances == 36 * 24
    assert by_cacti["scratchpad"].area_mm2 == pytest.approx(36 * 24 * 0.0173, rel=0.01)
    assert by_cacti["transposer"].instances == 18
    transposers = 18 * load_machine("fpraker").values.sram["transposer"]["lstp"].area_mm2
    total = 36 * 317_068e-6 + 344 + 334 + 93.6 + 36 * 24 * 0.01733 + transposers
    assert area.total_mm2 == pytest.approx(total, rel=1e-6)
    assert area.total_mm2 == pytest.approx(area.with_tiles_mm2("chip", 36))


def test_cacti_area_is_that_of_the_chosen_cells() -> None:
    for cells in ("hp", "lop", "lstp"):
        machine = load_machine("fpraker", cells=cells)
        (pads,) = [memory for memory in chip_area(machine).memories if memory.name == "scratchpad"]
        assert pads.instance_mm2 == machine.values.sram["scratchpad"][cells].area_mm2


def test_buffer_without_a_published_area_is_its_banks_by_cacti() -> None:
    machine = load_machine("fpraker")
    published = {name: area for name, area in machine.values.memory_area_mm2.items() if name != "buffer_a"}
    (buffer,) = [
        memory
        for memory in chip_area(changed(machine, memory_area_mm2=published)).memories
        if memory.name == "buffer_a"
    ]
    assert not buffer.published
    # 9 banks of 4 MB, 26 mm^2 each (spec page energy.md): 234 mm^2 where the paper has 344.
    assert buffer.area_mm2 == pytest.approx(9 * 26, rel=0.03)


def test_published_area_of_scratchpads_follows_the_number_of_tiles() -> None:
    filed = load_machine("tensordash")
    # Spec page tensordash.md, section 3: about 17 mm^2 for 16 tiles.
    for tiles in (16, 32, 4):
        area = chip_area(load_machine("tensordash", tiles=tiles), filed)
        (pads,) = [memory for memory in area.memories if memory.name == "scratchpad"]
        assert pads.published
        assert pads.area_mm2 == pytest.approx(17 * tiles / 16)


def test_published_area_is_not_taken_for_another_number_of_memories() -> None:
    with pytest.raises(MachineError, match=r"scratchpads holds without tiles"):
        chip_area(load_machine("tensordash", tiles=32))
    with pytest.raises(MachineError, match=r"buffer_a holds without memory.buffers.a.banks"):
        chip_area(load_machine("fpraker", **{"memory.buffers.a.banks": 18}))
    # FPRaker's scratchpads have no published area, and an overridden area is meant for the machine as it is.
    assert chip_area(load_machine("fpraker", tiles=18)).per_tile_mm2("chip") == pytest.approx(
        chip_area(load_machine("fpraker")).per_tile_mm2("chip")
    )
    own = chip_area(load_machine("tensordash", tiles=32, **{"memory_area_mm2.scratchpads": 20}))
    assert {memory.name: memory.area_mm2 for memory in own.memories}["scratchpad"] == pytest.approx(20)


def test_published_buffers_follow_the_number_of_banks() -> None:
    area = chip_area(load_machine("fpraker", **{"memory.buffers.a.banks": 18}), load_machine("fpraker"))
    assert {memory.name: memory.area_mm2 for memory in area.memories}["buffer_a"] == pytest.approx(2 * 344)


def test_transposers_count_once() -> None:  # the FP32 tables of TensorDash have them among the tiles: 0.38 mm^2
    names = {
        name: [memory.name for memory in chip_area(load_machine(name)).memories]
        for name in ("tensordash", "tensordash-fp32")
    }
    assert "transposer" in names["tensordash"]
    assert "transposer" not in names["tensordash-fp32"]
    assert "transposers" in load_machine("tensordash-fp32").values.tile_area_um2


def test_machine_without_memories_is_its_tiles() -> None:
    area = chip_area(changed(load_machine("fpraker"), memory=None))
    assert area.memories == ()
    assert area.total_mm2 == area.compute_mm2 == load_machine("fpraker").compute_area_mm2


def test_ideal_memories_take_their_area() -> None:
    assert chip_area(load_machine("fpraker", **{"memory.model": "ideal"})) == chip_area(load_machine("fpraker"))


def test_memory_whose_area_nobody_states_is_an_error() -> None:
    machine = load_machine("fpraker")
    without = {name: cells for name, cells in machine.values.sram.items() if name != "scratchpad"}
    with pytest.raises(
        MachineError, match=r"no area of scratchpad: state memory_area_mm2.scratchpads, or its sram costs"
    ):
        chip_area(changed(machine, sram=without))
    with pytest.raises(MachineError, match="no area of scratchpad"):
        chip_area(changed(machine, energy=None))


def test_area_of_a_memory_that_does_not_exist_is_an_error() -> None:
    machine = load_machine("fpraker")
    with pytest.raises(MachineError, match="memory_area_mm2 has no bufer_a; it may have buffer_a"):
        chip_area(changed(machine, memory_area_mm2={"bufer_a": 344.0}))


def test_published_area_of_buffers_follows_the_size_of_a_bank() -> None:
    filed = load_machine("fpraker")
    area = chip_area(load_machine("fpraker", **{"memory.buffers.a.bank_bytes": 262_144}), filed)
    # By CACTI 7 (lstp, 128 bit) 256 KB take 1.852 mm^2, 4 MB 25.73 mm^2.
    assert {memory.name: memory.area_mm2 for memory in area.memories}["buffer_a"] == pytest.approx(344 * 1.852 / 25.73)
    # Without a published area too.
    smaller = load_machine("fpraker", **{"memory.buffers.a.bank_bytes": 262_144})
    (buffer,) = [
        memory for memory in chip_area(changed(smaller, memory_area_mm2={})).memories if memory.name == "buffer_a"
    ]
    assert buffer.instance_mm2 == pytest.approx(25.73 * 1.852 / 25.73)
    # An overridden area is meant for the machine as it is.
    own = chip_area(
        load_machine("fpraker", **{"memory.buffers.a.bank_bytes": 262_144, "memory_area_mm2.buffer_a": 50}), filed
    )
    assert {memory.name: memory.area_mm2 for memory in own.memories}["buffer_a"] == pytest.approx(50)


# Tile counts of equal area


def test_36_fpraker_tiles_take_the_area_of_8_of_its_baseline() -> None:
    # Spec page fpraker.md, section 4: 8 x 1,421,579 / 317,068 = 35.87; 36 take 11.41 mm^2, 0.37% more than 11.37 mm^2.
    result = iso_area(BF16, FPRAKER)
    assert result.tiles == 36
    assert result.quotient == pytest.approx(8 * 1_421_579 / 317_068)
    assert result.excess(36) == pytest.approx(36 * 317_068 / (8 * 1_421_579) - 1)
    assert round(100 * result.excess(36), 2) == 0.37
    assert (round(result.area_mm2(36), 2), round(result.budget_mm2, 2)) == (11.41, 11.37)


def test_tolerance_decides_whether_the_area_is_rounded_up() -> None:
    # 36 tiles need 0.3677%, 37 would be farther off than 36 at any tolerance.
    found = {tolerance: iso_area(BF16, FPRAKER, tolerance).tiles for tolerance in (0.0, 0.0036, 0.0037, 0.01, 1.0)}
    assert found == {0.0: 35, 0.0036: 35, 0.0037: 36, 0.01: 36, 1.0: 36}


def test_tensordash_gets_fewer_tiles_than_its_dense_baseline() -> None:
    # Spec page tensordash.md, section 3: bfloat16 area ratio 1.13, so 16 / 1.13 = 14.16 tiles; 15 would take 5.9% more.
    dense, tensordash = compute_area(load_machine("tensordash-dense")), compute_area(load_machine("tensordash"))
    result = iso_area(dense, tensordash)
    assert result.tiles == 14
    assert result.quotient == pytest.approx(16 / 1.13, rel=1e-5)
    assert result.excess(15) == pytest.approx(15 * 1.13 / 16 - 1, rel=1e-4)
    assert iso_area(dense, tensordash, 0.06).tiles == 14  # 14 is 1.1% short, 15 is 5.9% too large: 14 is closer


def test_every_machine_takes_its_own_area_exactly() -> None:
    for name in ("fpraker", "tensordash", "bf16", "tensordash-fp32"):
        area = chip_area(load_machine(name))
        for counted in ("compute", "chip"):
            result = iso_area(area, area, 0.0, counted)
            assert result.tiles == area.tiles
            assert result.excess(area.tiles) == pytest.approx(0, abs=1e-12)


def test_scratchpads_of_the_tiles_count_with_the_chip() -> None:
    # By hand: 10 + 4 x (2 + 1) = 22 mm^2; the machine has 10 mm^2 of its own, and a tile adds 0.5 + 1 mm^2: 12 / 1.5 =
    # 8 tiles.
    baseline, machine = a_chip(4, 2e6, 1e6, 10), a_chip(3, 0.5e6, 1e6, 10)
    assert iso_area(baseline, machine, 0.0, "chip").tiles == 8
    assert iso_area(baseline, machine, 0.0, "compute").tiles == 16


def test_buffers_of_the_machine_that_differ_count_with_the_chip() -> None:
    # By hand: 30 + 8 x 1 = 38 mm^2, less 20 mm^2 of the machine's own, over 1 mm^2 a tile.
    assert iso_area(a_chip(8, 1e6, 0, 30), a_chip(1, 1e6, 0, 20), 0.0, "chip").tiles == 18


@settings(max_examples=200)
@given(baseline=areas, machine=areas, counted=counts, tolerances=st.lists(st.floats(0, 2), min_size=2, max_size=2))
def test_count_grows_with_the_tolerance(
    baseline: ChipArea, machine: ChipArea, counted: Counted, tolerances: list[float]
) -> None:
    found = [tiles_or_none(baseline, machine, tolerance, counted) for tolerance in sorted(tolerances)]
    assert (found[0] or 0) <= (found[1] or 0)


@settings(max_examples=200)
@given(
    baseline=areas, machine=areas, counted=counts, tolerance=st.sampled_from((0.0, 0.01, 0.3)), power=st.integers(-8, 8)
)
def test_scaling_all_areas_leaves_the_count(
    baseline: ChipArea, machine: ChipArea, counted: Counted, tolerance: float, power: int
) -> None:
    # Powers of two: floating point scales without rounding.
    assert tiles_or_none(scale(baseline, 2.0**power), scale(machine, 2.0**power), tolerance, counted) == tiles_or_none(
        baseline, machine, tolerance, counted
    )


@settings(max_examples=200)
@given(baseline=areas, machine=areas, counted=counts, tolerance=st.sampled_from((0, 1, 5, 300)))
def test_count_is_the_best_of_all_counts_in_exact_arithmetic(
    baseline: ChipArea, machine: ChipArea, counted: Counted, tolerance: int
) -> None:
    """Tolerance in thousandths; every count up to one beyond the budget is tried."""

    def exact(area: ChipArea, tiles: int) -> int:
        """In um^2, of the whole numbers that `a_chip` was given."""
        scratchpad, buffer = area.memories
        own, shared = round(scratchpad.instance_mm2 * 1e6), round(buffer.instance_mm2) * 1_000_000
        return (
            tiles * (int(area.tile_um2["pe_array"]) + own) + shared
            if counted == "chip"
            else tiles * int(area.tile_um2["pe_array"])
        )

    budget, per_tile = exact(baseline, baseline.tiles), exact(machine, 2) - exact(machine, 1)
    allowed = [
        tiles
        for tiles in range(1, max(1, budget // per_tile + 1) + 1)
        if exact(machine, tiles) <= budget * (1 + Fraction(tolerance, 1000))
    ]
    best = min((abs(exact(machine, tiles) - budget) for tiles in allowed), default=None)
    found = tiles_or_none(baseline, machine, tolerance / 1000, counted)
    if found is None:
        assert best is None
    else:
        assert found in allowed
        # Where two are equally close, either will do.
        assert abs(exact(machine, found) - budget) == best


def scale(area: ChipArea, factor: float) -> ChipArea:
    memories = tuple(replace(memory, instance_mm2=memory.instance_mm2 * factor) for memory in area.memories)
    return ChipArea(area.tiles, {name: each * factor for name, each in area.tile_um2.items()}, memories)


def tiles_or_none(baseline: ChipArea, machine: ChipArea, tolerance: float, counted: Counted) -> int | None:
    """The count, None where not even one tile fits."""
    try:
        return iso_area(baseline, machine, tolerance, counted).tiles
    except MachineError:
        return None


@pytest.mark.parametrize("tolerance", [-0.01, float("nan")])
def test_tolerance_must_not_be_negative(tolerance: float) -> None:
    with pytest.raises(MachineError, match="give a share of at least 0"):
        iso_area(BF16, FPRAKER, tolerance)


def test_tiles_without_area_are_an_error() -> None:
    empty = ChipArea(1, {}, ())
    with pytest.raises(MachineError, match=r"machine: its tiles have no area; state tile_area_um2"):
        iso_area(BF16, empty)
    with pytest.raises(MachineError, match=r"baseline: its tiles have no area"):
        iso_area(empty, FPRAKER)


def test_tile_larger_than_the_baseline_is_an_error() -> None:
    small, large = ChipArea(1, {"pe_array": 1e6}, ()), ChipArea(1, {"pe_array": 1.02e6}, ())
    with pytest.raises(MachineError, match="no tile fits"):
        iso_area(small, large, 0.01)
    assert iso_area(small, large, 0.02).tiles == 1


def test_tiles_too_small_to_count_are_an_error() -> None:
    with pytest.raises(MachineError, match="too small"):
        iso_area(ChipArea(1, {"pe_array": 1e300}, ()), ChipArea(1, {"pe_array": 1e-30}, ()))
