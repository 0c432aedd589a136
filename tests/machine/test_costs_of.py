"""Costs and the geometry that they are of: SRAMs of other sizes, tiles of other shapes, and the cautions that tell of
both.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simhw import Layer, load_machine, simulate
from simhw.cli import main
from simhw.errors import MachineError
from simhw.machine.costs_of import memory_cost_cautions, scaled_memories, size_factor, stale_memories, stale_tile
from simhw.machine.names import machine_names
from simhw.machine.sram import cacti_cost
from simhw.results.comparison import Comparison
from simhw.results.step import Results
from simhw.trace.trace import Trace
from tests.machine_files import write
from tests.slow_engine import tensor

BANK = "memory.buffers.a.bank_bytes"


def layer() -> Layer:
    rng = np.random.default_rng(3)
    return Layer(
        "conv",
        "conv",
        {"padding": 1},
        a=tensor(rng, 1, 16, 4, 4),
        w=tensor(rng, 8, 16, 3, 3),
        g=tensor(rng, 1, 8, 4, 4),
    )


def simulated(machine: str | Path, **overrides: Any) -> Results:
    return simulate(Trace([layer()]), load_machine(machine, **overrides), progress=False)


# The table of sizes


def test_table_has_the_published_rows() -> None:
    # Spec page energy.md, high-performance cells, 128 bit: read pJ, write pJ, leakage mW (without that of gates, some
    # 5%), mm^2.
    published = {
        2048: (5.29, 10.84, 2.73, 0.0174),
        32_768: (29.1, 40.1, 36, 0.204),
        262_144: (97, 92, 263, 1.8),
        1 << 22: (391, 354, 3992, 26),
    }
    for size, (read_pj, write_pj, leakage_mw, area_mm2) in published.items():
        assert cacti_cost("read_pj", "hp", size, 16) == pytest.approx(read_pj, rel=0.01)
        assert cacti_cost("write_pj", "hp", size, 16) == pytest.approx(write_pj, rel=0.01)
        assert cacti_cost("leakage_mw", "hp", size, 16) == pytest.approx(leakage_mw, rel=0.07)
        assert cacti_cost("area_mm2", "hp", size, 16) == pytest.approx(area_mm2, rel=0.03)
    assert cacti_cost("read_pj", "lstp", 262_144, 16) == pytest.approx(141, rel=0.01)
    # The wider memories of the TensorDash files are nodes of the tables too: 256 KB of 256 and of 512 bit.
    assert cacti_cost("read_pj", "lstp", 262_144, 32) == pytest.approx(228.9)
    assert cacti_cost("read_pj", "lstp", 262_144, 64) == pytest.approx(347.6)


def test_between_sizes_costs_run_straight_between_logarithms() -> None:
    # 1 MB takes 284.3 pJ, 4 MB 587.2 pJ and 2 MB 384: at 2 MB x sqrt(2), the geometric mean of 2 and 4 MB.
    assert cacti_cost("read_pj", "lstp", 1 << 21, 16) == pytest.approx(384.0)
    assert cacti_cost("read_pj", "lstp", round((1 << 21) * 2**0.5), 16) == pytest.approx(
        (384.0 * 587.2) ** 0.5, rel=1e-6
    )
    # Beyond 32 MB on along the last octave, from 1,131 to 1,572 pJ; below 512 B along the first, from 6.102 to 6.392
    # pJ.
    assert cacti_cost("read_pj", "lstp", 1 << 26, 16) == pytest.approx(1572 * 1572 / 1131)
    assert cacti_cost("read_pj", "lstp", 256, 16) == pytest.approx(6.102 * 6.102 / 6.392)


# Costs of buffers of another size


@pytest.mark.parametrize("name", machine_names())
def test_costs_of_bundled_machines_are_of_their_own_geometry(name: str) -> None:
    machine = load_machine(name)
    assert (
        stale_tile(machine, "tile_power_mw")
        == stale_tile(machine, "tile_area_um2")
        == stale_memories(machine)
        == scaled_memories(machine)
        == []
    )
    assert machine.values.tile_costs_of
    assert machine.values.sram_costs_of
    for memory in ("buffer_a", "buffer_w", "buffer_g", "scratchpad", "transposer"):
        assert size_factor(machine, memory, "read_pj") == 1.0


def test_energy_and_leakage_of_a_buffer_follow_the_size_of_its_bank() -> None:
    machine = load_machine("fpraker", **{BANK: 262_144})
    factors = [size_factor(machine, "buffer_a", quantity) for quantity in ("read_pj", "write_pj", "leakage_mw")]
    # By CACTI 7 (lstp, 128 bit): 256 KB 141.2 / 121.7 pJ and 0.08899 mW, 4 MB 587.2 / 477.2 pJ and 1.361 mW.
    assert factors == pytest.approx([141.2 / 587.2, 121.7 / 477.2, 0.08899 / 1.361], rel=1e-3)
    assert size_factor(machine, "buffer_g", "read_pj") == 1.0
    cost = simulated("fpraker", **{BANK: 262_144}).operations[0].cost
    memory = cost.memory
    assert memory is not None
    reads, writes = memory.buffer_reads, memory.buffer_writes
    expected = 141.2e-12 * reads["a"] + 121.7e-12 * writes["a"] + 587.2e-12 * reads["g"] + 477.2e-12 * writes["g"]
    expected += 284.3e-12 * reads["w"] + 246.4e-12 * writes["w"]
    assert cost.energy["buffers"].mid == pytest.approx(expected, rel=1e-3)
    leaking = 9 * 0.08899e-3 + 9 * 1.361e-3 + 9 * 0.3524e-3 + 36 * 24 * 0.001075e-3 + 18 * 9.337e-8
    assert cost.energy["leakage"].mid == pytest.approx(leaking * cost.overall_time_s, rel=1e-3)


def test_overridden_cost_is_meant_for_the_machine_as_it_is() -> None:
    machine = load_machine("fpraker", **{BANK: 262_144, "sram.buffer_a.lstp.read_pj": 100.0})
    assert size_factor(machine, "buffer_a", "read_pj") == 1.0
    assert size_factor(machine, "buffer_a", "write_pj") < 1.0


def test_every_result_with_other_memories_says_how_they_are_costed() -> None:
    (line,) = [line for line in simulated("fpraker", **{BANK: 262_144}).cautions if "fpraker's memories" in line]
    assert f"scaled by CACTI's ratios for {BANK}." in line
    (beyond,) = memory_cost_cautions(load_machine("fpraker", **{BANK: 1 << 28}))
    assert f"of {BANK} by extrapolation" in beyond
    (stale,) = memory_cost_cautions(
        load_machine("fpraker", **{"memory.buffers.w.access_bytes": 8, "memory.scratchpads.operand_bytes": 4096})
    )
    assert "do not follow memory.buffers.w.access_bytes, memory.scratchpads.operand_bytes" in stale
    assert not [line for line in simulated("fpraker").cautions if "those of the file" in line]


def test_a_files_own_sizes_count_as_an_override_does(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: fpraker\nname: small\nmemory: {buffers: {a: {bank_bytes: 262_144}}}\n")
    assert scaled_memories(load_machine(path)) == [BANK]
    assert size_factor(load_machine(path), "buffer_a", "read_pj") == pytest.approx(141.2 / 587.2, rel=1e-3)


# Tiles of another shape


def test_file_of_tiles_without_hardware_is_cautioned_as_overrides_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "extends: fpraker\nname: patient\npe: {oob: 'off'}\ntile: {sync: term}\n")
    (line,) = [line for line in simulated(path).cautions if "tile" in line]
    assert "of patient are those of the file; they do not follow pe.oob, tile.sync" in line
    assert any(
        "do not follow pe.oob, tile.sync" in line
        for line in simulated("fpraker", **{"pe.oob": "off", "tile.sync": "term"}).cautions
    )
    for command in (["show", str(path)], ["iso-area", "--pe", str(path)]):
        assert main(["machine", *command]) == 0
        assert "not follow pe.oob, tile.sync" in " ".join(capsys.readouterr().out.split())


def test_override_to_the_same_value_is_none() -> None:
    assert stale_tile(load_machine("fpraker", **{"tile.rows": 8}), "tile_power_mw") == []


def test_file_says_what_its_own_costs_are_of(tmp_path: Path) -> None:
    text = (
        "extends: fpraker\nname: small\ntile: {rows: 4}\ntile_costs_of: [tile.rows=4]\ntile_power_mw: {pe_array: 60}\n"
    )
    assert stale_tile(load_machine(write(tmp_path, text)), "tile_power_mw") == []
    with pytest.raises(MachineError, match=r"tile_costs_of names 'tile\.rwos', which is no value of the machine"):
        load_machine(write(tmp_path, "extends: fpraker\ntile_costs_of: [tile.rwos=4]\n"))
    with pytest.raises(MachineError, match=r"tile_costs_of: .*not of the form key=value"):
        load_machine(write(tmp_path, "extends: fpraker\ntile_costs_of: [tile.rows]\n"))


def test_where_a_file_does_not_say_its_overrides_are_cautioned(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: fpraker\ntile: {rows: 4}\ntile_costs_of: []\n")
    assert stale_tile(load_machine(path), "tile_power_mw") == []
    assert stale_tile(load_machine(path, **{"tile.rows": 2}), "tile_power_mw") == ["tile.rows"]
    assert stale_tile(load_machine(path, **{"tile.rows": 2, "tile_power_mw.pe_array": 9}), "tile_power_mw") == []


def test_comparison_has_the_cautions_of_its_results_once() -> None:
    first, second = simulated("fpraker", **{"pe.oob": "off"}), simulated("tensordash")
    both = Comparison([first, second]).cautions
    assert both == list(dict.fromkeys(first.cautions + second.cautions))
    assert any("pe.oob" in line for line in both)
