"""The replay behind --check: equal to the oracles and to the kernels, and it notices every corrupted field."""

import ast
import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simhw import pe
from simhw.errors import CheckError, ShapeError
from simhw.machine.machine import Machine, load_machine
from simhw.pe.check import check_passes, replay
from simhw.pe.fpraker import replay_terms
from simhw.pe.passes import ParallelRows, TilePasses
from simhw.pe.tensordash import replay as tensordash
from tests import kernel_runs
from tests.kernel_runs import assert_same, draw_blocks, draw_inputs, every_value, oracle, parallel_rows, run, whole_sets
from tests.oracles.inputs import exactly, gaussian, largest_exponents, sparse
from tests.pe import test_bitparallel, test_fpraker, test_tensordash

PE = Path(pe.__file__).parent
KINDS = {"fpraker": test_fpraker, "bitparallel": test_bitparallel, "tensordash": test_tensordash}
SWITCH_VALUES = [
    (kind, switch, value) for kind, module in KINDS.items() for switch, value in every_value(module.SWITCHES)
]


def draw_product(rng, machine: Machine, k: int):
    """(x, blocks of Y) with partial tiles of X, and Y in two products of one tile and a bit."""
    x_rows, y_rows = int(rng.integers(1, 2 * min(machine.tile.tile_x, 8) + 2)), min(machine.tile.tile_y, 8) + 1
    return draw_inputs(rng, x_rows, k)[1], draw_blocks(rng, [y_rows, 1], k)[1]


@pytest.mark.parametrize(("kind", "switch", "value"), SWITCH_VALUES)
def test_replay_equals_the_oracle_at_every_value_of_every_switch(kind, switch, value):
    rng = np.random.default_rng([1, SWITCH_VALUES.index((kind, switch, value))])
    machine = KINDS[kind].draw_machine(rng, **{switch: value})
    x, blocks = draw_product(rng, machine, int(rng.integers(1, 30)))
    replayed = replay(machine.pe, whole_sets(x, machine.tile.lanes), parallel_rows(machine, blocks))
    assert_same(replayed, oracle(machine, x, blocks), machine.label)


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_pass_their_check_at_random_switches(kind):
    rng = np.random.default_rng([2, list(KINDS).index(kind)])
    for _ in range(60):
        machine = KINDS[kind].draw_machine(rng)
        x, blocks = draw_product(rng, machine, int(rng.integers(1, 400)))
        parallel = parallel_rows(machine, blocks)
        check_passes(machine.pe, whole_sets(x, machine.tile.lanes), parallel, run(machine, x, blocks), machine.label)


@pytest.mark.parametrize("name", ["fpraker", "fpraker-literal", "bitparallel", "tensordash", "tensordash-dense"])
def test_bundled_machines_pass_their_check_on_long_reductions(name):
    rng = np.random.default_rng(3)
    machine = load_machine(name)
    x, y = sparse(rng, 17, 2500, 0.5), gaussian(rng, 35, 2500)
    check_passes(machine.pe, whole_sets(x, machine.tile.lanes), parallel_rows(machine, [y]), run(machine, x, [y]), name)


def product_of(name: str) -> tuple[Machine, np.ndarray, ParallelRows, TilePasses]:
    """A machine, operands of which some outputs overflow, and the tile passes that its kernel made of them."""
    rng = np.random.default_rng(4)
    machine = load_machine(name)
    x = np.concatenate([sparse(rng, 9, 96, 0.5), largest_exponents(rng, 1, 96)])
    y = np.concatenate([gaussian(rng, 9, 96), largest_exponents(rng, 1, 96)])
    passes = run(machine, x, [y])
    assert passes.counters["overflows"] > 0
    return machine, x, parallel_rows(machine, [y]), passes


COUNTERS = {
    "fpraker": "useful shift_range no_term exponent inter_pe processed skipped_zero skipped_oob overflows",
    "bitparallel": "useful idle overflows",
    "tensordash": "useful idle row_sync_steps skipped_steps overflows",
}


@pytest.mark.parametrize("name", COUNTERS)
def test_every_corrupted_counter_is_caught(name):
    machine, x, parallel, passes = product_of(name)
    assert set(passes.counters) == set(COUNTERS[name].split())
    for counter in passes.counters:
        wrong = replace(passes, counters=passes.counters + Counter({counter: 1}))
        with pytest.raises(
            CheckError,
            match=f"conv1: counter {counter} is {wrong.counters[counter]} simulated, {passes.counters[counter]}",
        ):
            check_passes(machine.pe, x, parallel, wrong, "conv1")
        missing = Counter({key: count for key, count in passes.counters.items() if key != counter})
        with pytest.raises(CheckError, match=f"counter {counter} is none simulated"):
            check_passes(machine.pe, x, parallel, replace(passes, counters=missing), "conv1")
    with pytest.raises(CheckError, match=r"counter invented is 0 simulated, none replayed"):
        check_passes(
            machine.pe, x, parallel, replace(passes, counters=Counter({**passes.counters, "invented": 0})), "conv1"
        )


@pytest.mark.parametrize("name", COUNTERS)
def test_every_corrupted_duration_is_caught(name):
    machine, x, parallel, passes = product_of(name)
    for index, cycles in enumerate(passes.durations):
        durations = passes.durations.copy()
        durations[index] -= 1
        with pytest.raises(
            CheckError, match=f"fc: tile pass {index} took {cycles - 1} cycles, replayed it takes {cycles}$"
        ):
            check_passes(machine.pe, x, parallel, replace(passes, durations=durations), "fc")
    with pytest.raises(CheckError, match=f"fc: {passes.passes - 1} tile passes simulated, {passes.passes} replayed"):
        check_passes(machine.pe, x, parallel, replace(passes, durations=passes.durations[1:]), "fc")


@pytest.mark.parametrize("name", COUNTERS)
def test_every_corrupted_output_bit_is_caught(name):
    machine, x, parallel, passes = product_of(name)
    assert passes.outputs is not None
    for bit in range(16):
        outputs = passes.outputs.copy()
        outputs[5, 3] ^= 1 << bit
        with pytest.raises(
            CheckError, match=rf"fc: output \(5, 3\) is .* \(0x{outputs[5, 3]:04x}\) simulated, .*1 of 100 differ"
        ):
            check_passes(machine.pe, x, parallel, replace(passes, outputs=outputs), "fc")
    with pytest.raises(CheckError, match="shape"):
        check_passes(machine.pe, x, parallel, replace(passes, outputs=passes.outputs[:, 1:]), "fc")


@pytest.mark.parametrize("name", COUNTERS)
def test_passes_without_outputs_are_checked_for_all_the_rest(name):
    machine, x, parallel, _ = product_of(name)
    passes = machine.tile.run(x, machine.tile.prepare(parallel))
    assert passes.outputs is None
    check_passes(machine.pe, x, parallel, passes, "fc")
    with pytest.raises(CheckError, match="useful"):
        check_passes(machine.pe, x, parallel, replace(passes, counters=passes.counters + Counter(useful=1)), "fc")


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("oob_threshold", 9),
        ("sync", "term"),
        ("sync", "pe"),
        ("window_on", "position"),
        ("run_ahead", 0),
        ("encoder", "booth4"),
    ],
)
def test_passes_of_another_machine_are_caught(switch, value):
    _, x, parallel, passes = product_of("fpraker-literal")
    with pytest.raises(CheckError):
        check_passes(load_machine("fpraker-literal", **{switch: value}).pe, x, parallel, passes, "fc")


def test_a_schedule_that_misses_a_pair_is_caught(monkeypatch):
    # Without its own step-0 pair, a lane leaves behind what no other lane can reach.
    monkeypatch.setattr(tensordash, "wired", lambda *_: np.array([[1, 0], [2, 0]]))
    x, y = exactly([1.0] * 16), exactly([1.0] * 16)
    machine = load_machine("tensordash")
    with pytest.raises(
        CheckError,
        match=r"fc: TensorDash schedule: the pair at step 0, lane 0 of row 0 was multiplied 0 times instead of 1",
    ):
        check_passes(machine.pe, x, parallel_rows(machine, [y]), run(machine, x, [y]), "fc")


def test_a_schedule_that_multiplies_a_pair_twice_is_caught(monkeypatch):
    # If all lanes decided at the same time, lanes 0 and 15 would both take the pair at step 1, lane 0: (1, i) and (1, i
    # + 1).
    monkeypatch.setattr(tensordash, "LEVEL_OF_LANE", np.zeros(16, np.int64))
    x, y = exactly([0.0] * 16 + [1.0] + [0.0] * 15), exactly([1.0] * 32)
    machine = load_machine("tensordash")
    with pytest.raises(
        CheckError, match=r"the pair at step 1, lane 0 of row 0 was multiplied [2-9] times instead of 1"
    ):
        check_passes(machine.pe, x, parallel_rows(machine, [y]), run(machine, x, [y]), "fc")


# Independence: what the kernels get wrong, the replay must not get wrong in the same place.


def test_replay_takes_nothing_from_the_kernels_but_parameters():
    taken = {
        (module, name)
        for path in [*PE.glob("*/replay*.py"), PE / "register.py", PE / "check.py"]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and (module := node.module or "").startswith(("simhw.pe", "simhw.bfloat16"))
        and not module.endswith(
            (".register", ".record", ".replay", ".replay_terms", ".replay_switches", ".replay_clock")
        )
        for name in (alias.name for alias in node.names)
    }
    allowed = {
        "FPRakerPE",
        "BitParallelPE",
        "TensorDashPE",
        "FPRakerTileParameters",
        "NOTHING",
        "ParallelRows",
        "ProcessingElement",
        "TilePasses",
    }
    assert {name for _, name in taken} <= allowed | {"BF16Array", "to_float32"}, taken


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("simhw.pe.tensordash.kernel", "OPTIONS", {"paper": ((0, 0),), "dnnsim": ((0, 0),)}),
        ("simhw.pe.tensordash.kernel", "LEVELS", np.array([0xFFFF])),
        ("simhw.pe.exact", "rounded", lambda _: np.uint16(0)),
        ("simhw.bfloat16", "significand_terms", lambda *_: [(1, 0)]),
    ],
)
def test_replay_stays_right_where_the_kernels_code_is_broken(monkeypatch, module, name, value):
    monkeypatch.setattr(f"{module}.{name}", value)
    rng = np.random.default_rng(7)
    for kind in ("tensordash", "fpraker"):
        machine = load_machine(kind)
        x, y = sparse(rng, 3, 100, 0.5), gaussian(rng, 3, 100)
        assert_same(
            replay(machine.pe, whole_sets(x, machine.tile.lanes), parallel_rows(machine, [y])),
            oracle(machine, x, [y]),
            kind,
        )


@pytest.mark.parametrize("encoder", ["naf", "booth4", "binary"])
def test_recoded_significands_are_worth_what_they_stand_for(encoder):
    for significand in range(128, 256):
        terms = replay_terms.recoded(significand, encoder)
        assert sum(sign * 2.0 ** (7 + position) for sign, position in terms) == significand
        assert [position for _, position in terms] == sorted({position for _, position in terms}, reverse=True)
        if encoder == "naf":  # no two neighbours
            assert all(high - low > 1 for (_, high), (_, low) in itertools.pairwise(terms))
        assert encoder != "binary" or all(sign == 1 for sign, _ in terms)


def test_replayed_sum_is_rounded_once():
    # 1 + 2**-8 lies half way between 1 and the next value; what is far below a double's last bit decides.
    assert tensordash.rounded_sum([1.0, 2.0**-8]) == 0x3F80
    assert tensordash.rounded_sum([1.0, 2.0**-8, 2.0**-200]) == 0x3F81
    assert tensordash.rounded_sum([-1.0, -(2.0**-8), -(2.0**-200)]) == 0xBF81
    assert tensordash.rounded_sum([1.0, 3 * 2.0**-8, -(2.0**-200)]) == 0x3F81
    assert tensordash.rounded_sum([1.0, 3 * 2.0**-8]) == 0x3F82
    # 2 - 2**-8 rounds up across a power of two; the largest finite value rounds up to an infinity.
    assert tensordash.rounded_sum([2.0, -(2.0**-8)]) == 0x4000
    assert tensordash.rounded_sum([255.0 * 2.0**120, 2.0**119]) == 0x7F80
    # Below the smallest normal number everything is +0.
    assert tensordash.rounded_sum([-(2.0**-127)]) == 0
    assert tensordash.rounded_sum([2.0**-126]) == 0x0080


def test_operands_that_are_no_whole_sets_or_tiles_are_refused():
    rng = np.random.default_rng(5)
    machine = load_machine("fpraker")
    for x_k, y_k, rows in ((12, 12, 8), (8, 16, 8), (8, 8, 7)):
        with pytest.raises(ShapeError):
            replay(machine.pe, gaussian(rng, 2, x_k), ParallelRows(gaussian(rng, rows, y_k), np.ones(rows, np.bool_)))


def test_read_only_operands_are_accepted():
    rng = np.random.default_rng(6)
    for name in COUNTERS:
        machine = load_machine(name)
        x, y = gaussian(rng, 3, 32), gaussian(rng, 3, 32)
        parallel, passes = parallel_rows(machine, [y]), run(machine, x, [y])
        x.setflags(write=False)
        parallel.rows.setflags(write=False)
        kernel_runs.assert_same(replay(machine.pe, x, parallel), passes, name)
