"""FPRaker's tile as hardware equals the oracle: every PE in every cycle, of passes that follow each other."""

from collections.abc import Iterable

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed: pip install 'simhw[rtl]'")

from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from tests.oracles.inputs import adversarial_pairs, mixed
from tests.rtl.fpraker_runs import parameters, tile_parameters
from tests.rtl.fpraker_tiles import Pass, first_tile_difference, lanes_of_late_sets, uneven
from tests.rtl.test_fpraker import mutate

FEW_LANES = 2
"""Waiting does not depend on how many lanes a PE has, and a simulation with few is faster."""


def machine(changed: dict[str, object], lanes: int, rows: int = 2) -> tuple[FPRakerPE, FPRakerTileParameters]:
    """A PE and a tile of two columns by the strict rules with T = 7, but for what is changed."""
    of_pe = {name: value for name, value in changed.items() if name in FPRakerPE.model_fields}
    of_tile = {name: value for name, value in changed.items() if name not in FPRakerPE.model_fields}
    pe = parameters(**{"oob_threshold": 7, **of_pe}).model_copy(update={"lanes": lanes})
    return pe, tile_parameters(**{"rows": rows, "cols": 2, **of_tile})


def small(changed: dict[str, object]) -> tuple[FPRakerPE, FPRakerTileParameters]:
    return machine(changed, FEW_LANES)


def passes(pe: FPRakerPE, tile: FPRakerTileParameters, sets: tuple[int, ...], seed: int = 3) -> list[Pass]:
    rng = np.random.default_rng(seed)
    return [(uneven(rng, tile.cols, count, pe.lanes), uneven(rng, tile.rows, count, pe.lanes)) for count in sets]


def of_buffers(a: int, b: int, **changed: object) -> dict[str, object]:
    return {"sync": "pe", "buffers": {"a": a, "b": b}, **changed}


COLUMN, TERM, BOTH = {"oob": "column"}, {"sync": "term"}, {"oob": "column", "sync": "term"}
TILES: dict[str, dict[str, object]] = {
    "own pace": of_buffers(1, 1),
    "own pace, buffers of one and of three": of_buffers(1, 3),
    "own pace, buffers of two and of one": of_buffers(2, 1),
    "own pace, exponents not shared": of_buffers(1, 1, exponent_sharing=1),
    "lock-step": {"run_ahead": 0},
    "one set ahead": {"run_ahead": 1},
    "two sets ahead, exponents not shared": {"run_ahead": 2, "exponent_sharing": 1},
    "bounds of the column": COLUMN,
    "bounds of the column, wide window, each cycle": {**COLUMN, "shift_window": 12, "rounding": "cycle"},
    "bounds of the column, window on positions": {**COLUMN, "window_on": "position", "shift_window": 1},
    "shared pointers": TERM,
    "shared pointers, window on positions, each cycle": {**TERM, "window_on": "position", "rounding": "cycle"},
    "shared pointers, bounds of the column": BOTH,
    "shared pointers, bounds of the column, T 3, booth4": {**BOTH, "oob_threshold": 3, "encoder": "booth4"},
}


OFTEN = {
    "own pace",
    "two sets ahead, exponents not shared",
    "bounds of the column",
    "shared pointers, bounds of the column",
}
"""The others wait for the slow tests."""


def slow_but(often: set[str], names: Iterable[str]) -> list[object]:
    """Names as parameters, marked as slow but for some."""
    return [pytest.param(name, marks=() if name in often else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_but(OFTEN, TILES))
def test_tile_equals_oracle(name: str) -> None:
    # Four passes without a cycle between them: 28 sets in each of 4 PEs.
    pe, tile = small(TILES[name])
    assert first_tile_difference(pe, tile, passes(pe, tile, (14, 3, 1, 10))) is None


def test_tile_of_the_machine_fpraker_equals_oracle() -> None:
    # Eight lanes, chunks of 64: a chunk and a part.
    pe, tile = machine({"chunk": 64, "sync": "pe"}, lanes=8)
    assert first_tile_difference(pe, tile, passes(pe, tile, (10, 2))) is None


@pytest.mark.parametrize("name", slow_but({"own pace"}, ["own pace", "one set ahead"]))
def test_sets_that_come_late_lose_nothing(name: str) -> None:
    pe, tile = small(TILES[name])
    found, expected = lanes_of_late_sets(pe, tile, passes(pe, tile, (8, 1, 4)), np.random.default_rng(1))
    assert found == expected


@pytest.mark.slow
def test_a_mutant_that_does_not_await_b_is_found_where_sets_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, "fpraker.paced_column", "buffer.there & self.b_there", "buffer.there")
    pe, tile = small(SHARED)
    found, expected = lanes_of_late_sets(pe, tile, passes(pe, tile, (8, 1, 4)), np.random.default_rng(1))
    assert found != expected


OWN, SHARED, AHEAD = of_buffers(1, 1, exponent_sharing=1), of_buffers(1, 1), {"run_ahead": 1}
MUTANTS = {
    "a set taken too early": ("set_buffer", "(sets > 1) |", "(sets > 0) |", OWN),
    "a set taken too late": ("set_buffer", "(sets > 1) |", "(sets > 2) |", OWN),
    "a slot freed by the first": ("set_buffer", "~(last & ~self.takes).any()", "(~last | self.takes).any()", OWN),
    "a slot freed a cycle late": ("set_buffer", "~(last & ~self.takes).any()", "~last.any()", OWN),
    "readers in step": ("set_buffer", "read.eq(self._next(read))", "read.eq(write)", OWN),
    "columns too far ahead": ("set_buffer", "(sets > 1) |", "(sets > 0) |", AHEAD),
    "exponents of the other's turn": ("exponent_turns", "Mux(served, kept, source)", "source", SHARED),
    "exponents of the set before": ("exponent_turns", "served.eq(0)", "served.eq(1)", SHARED),
    "no turn awaited": ("exponent_turns", "served | now)", "1)", SHARED),
    "sets of one cycle": ("paced_column", "element.starts if sharing > 1 else 0", "0", SHARED),
    "a restart of the incoming set": ("paced_column", "a.restart, a.last", "self.restart, a.last", OWN),
    "rows wait for nobody": ("tile", "column.ready[row] & buffer.released[index]", "column.ready[row]", OWN),
    "another row's work": ("tile", "works[index].eq(column.works[row])", "works[index].eq(column.works[0])", OWN),
    "bounds of the narrowest": ("column", "tree(operator.or_,", "tree(operator.and_,", COLUMN),
    "a pointer moves with the first": ("column", "in elements).any()", "in elements).all()", TERM),
    "bounds of a pointer forgotten": ("column", "pending & Mux(elements[0].starts, needed, ~0)", "pending", BOTH),
    "a term fired twice": ("element", "fired.eq((fired | (self.busy & fires)) & ~self.moves[i])", "fired.eq(0)", TERM),
    "a lane without B": ("element", "Mux(not_empty, self.pending[i], 0)", "self.pending[i]", TERM),
    "terms out of bounds add": ("element", "fires & offset.adds", "fires", COLUMN),
    "bounds of the first cycle": ("element", "with m.Elif(self.starts):", "with m.Elif(0):", COLUMN),
    "slots in bounds alone": ("offsets", "leading(self.slots)", "leading(self.in_bounds)", COLUMN),
    "distances saturate": ("widths", 'self.pe.oob == "column" and', "False and", COLUMN),
    "passes run into each other": ("tile", "takes.eq(ready & ~begins)", "takes.eq(ready)", OWN),
    "columns wait for nobody": ("tile", "column.held.eq(~takes[index])", "column.held.eq(0)", AHEAD),
}  # fmt: skip
"""What is wrong: the unit's module, what stands there, what stands there instead, and the parameters."""
FIRST_OF_A_UNIT = {
    "a set taken too early",
    "exponents of the other's turn",
    "sets of one cycle",
    "passes run into each other",
    "a pointer moves with the first",
}


@pytest.mark.parametrize("mutant", slow_but(FIRST_OF_A_UNIT, MUTANTS))
def test_a_mutant_of_each_unit_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, good, bad, changed = MUTANTS[mutant]
    mutate(monkeypatch, f"fpraker.{unit}", good, bad)
    pe, tile = small(changed)
    assert first_tile_difference(pe, tile, passes(pe, tile, (14, 3, 1, 10))) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", TILES)
@pytest.mark.parametrize("pe", [{"chunk": 64}, {"accumulator_fraction_bits": 9, "encoder": "booth4"}], ids=str)
def test_tile_of_four_by_two_equals_oracle(name: str, pe: dict[str, object]) -> None:
    # 120 sets in each of 8 PEs of eight lanes.
    element, tile = machine({**pe, **TILES[name]}, lanes=8, rows=4)
    rng = np.random.default_rng(4)
    chosen = [(mixed(rng, 2, 8 * 30), mixed(rng, 4, 8 * 30)), *passes(element, tile, (60, 20, 10))]
    assert first_tile_difference(element, tile, chosen) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own pace", "bounds of the column", "shared pointers, bounds of the column"])
def test_tile_equals_oracle_on_adversarial_operands(name: str) -> None:
    # 37 passes of two sets, with offsets of up to 506.
    pe, tile = machine({"oob_threshold": 12, **TILES[name]}, lanes=8)
    pairs = adversarial_pairs(np.random.default_rng(5), 2, 2, 13)
    assert first_tile_difference(pe, tile, [(a, b) for _, a, b in pairs]) is None


@pytest.mark.slow
@pytest.mark.parametrize("part", range(30))
def test_tile_equals_oracle_at_random_parameters(part: int) -> None:
    # About 140 sets in each of 2 to 12 PEs, by parameters of its own.
    rng = np.random.default_rng(part)
    sync = ("pe", "set", "term")[part % 3]
    changed: dict[str, object] = {
        "sync": sync,
        "buffers": {"a": int(rng.integers(1, 6)), "b": int(rng.integers(1, 6))},
        "run_ahead": int(rng.integers(0, 6)),
        "exponent_sharing": int(rng.integers(1, 3)),
        "cols": int(rng.integers(2, 4)),
        "oob": "pe" if sync == "pe" else ("pe", "column")[rng.integers(2)],
        "oob_threshold": int(rng.choice([2, 7, 12])),
        "shift_window": int(rng.choice([0, 3, 8])),
        "window_on": ("offset", "position")[rng.integers(2)],
        "rounding": ("set", "cycle")[rng.integers(2)],
        "encoder": ("naf", "booth4", "binary")[rng.integers(3)],
        "chunk": ("off", 64)[rng.integers(2)],
        "rows": int(rng.choice([1, 2, 4])),
    }
    pe, tile = small(changed)
    lengths = (1, 2, 3, 5, *map(int, rng.integers(1, 30, 9)))
    chosen = passes(pe, tile, lengths, part)
    assert first_tile_difference(pe, tile, chosen) is None
