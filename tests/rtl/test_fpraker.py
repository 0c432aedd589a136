"""FPRaker's twin equals the oracle: the lanes of each cycle, S and E after each set, and the output."""

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed: pip install 'simhw[rtl]'")

from simhw.errors import MachineError
from simhw.rtl.fpraker.column import check_tile
from simhw.rtl.fpraker.widths import Widths
from tests.oracles.inputs import adversarial_pairs, exactly, gaussian, mixed
from tests.rtl.fpraker_runs import (
    Reduction,
    column_of_oracle,
    column_of_twin,
    first_difference,
    of_oracle,
    of_twin,
    parameters,
    tile_parameters,
)

PARAMETERS = {
    "strict": {},
    "booth4, window 0": {"encoder": "booth4", "shift_window": 0},
    "binary, window 2, F 8": {"encoder": "binary", "shift_window": 2, "accumulator_fraction_bits": 8},
    "T 7": {"oob_threshold": 7},
    "T 0": {"oob_threshold": 0, "shift_window": 1},
    "T 29, window 65536": {"oob_threshold": 29, "shift_window": 65536},
    "F 4, T 12": {"accumulator_fraction_bits": 4, "oob_threshold": 12},
    "F 29, T 6": {"accumulator_fraction_bits": 29, "oob_threshold": 6},
    "rounded each cycle": {"rounding": "cycle"},
    "rounded each cycle, F 6, T 9": {"rounding": "cycle", "accumulator_fraction_bits": 6, "oob_threshold": 9},
    "rounded each cycle, F 24, T 9, booth4": {
        "rounding": "cycle",
        "accumulator_fraction_bits": 24,
        "oob_threshold": 9,
        "encoder": "booth4",
    },
    "window on positions": {"window_on": "position", "shift_window": 1},
    "window on positions, each cycle": {"window_on": "position", "rounding": "cycle", "encoder": "binary"},
}


def reductions(seed: int, k: int) -> list[Reduction]:
    """Every adversarial pair of rows once: the last set of each is filled up with zeros."""
    return [(name, a[:1], b[:1]) for name, a, b in adversarial_pairs(np.random.default_rng(seed), 1, 1, k)]


@pytest.mark.parametrize("name", PARAMETERS)
def test_twin_equals_oracle(name: str) -> None:
    # All pairs with the strict rules, every third with the others: 148 and 12 * 50 sets.
    number = list(PARAMETERS).index(name)
    chosen = reductions(number, 13)[number % 3 :: 3] if number else reductions(0, 13)
    assert first_difference(parameters(**PARAMETERS[name]), chosen) is None


@pytest.mark.parametrize("changed", [{}, {"oob_threshold": 7, "rounding": "cycle"}])
def test_chunks_are_folded_without_a_cycle(changed: dict[str, object]) -> None:
    # Two whole chunks and a part, two whole ones, less than one; the running sum of each begins anew.
    rng = np.random.default_rng(11)
    pairs = [(f"{k}", mixed(rng, 1, k), mixed(rng, 1, k)) for k in (136, 128, 24, 8)]
    overflow = exactly([2.0**127] * 8 + [0.0] * 64 + [-1.0])
    pairs += [(name, a, gaussian(rng, 1, k)) for name, k, a in [("gaussian", 200, gaussian(rng, 1, 200))]]
    pairs += [("overflow", overflow, exactly([1.0] * 73))]
    assert first_difference(parameters(chunk=64, **changed), pairs) is None


@pytest.mark.parametrize(
    ("lanes", "changed"),
    [
        (4, {"chunk": 64, "rounding": "cycle"}),
        pytest.param(16, {}, marks=pytest.mark.slow),
        pytest.param(1, {}, marks=pytest.mark.slow),
    ],
)
def test_twin_has_any_number_of_lanes(lanes: int, changed: dict[str, object]) -> None:
    # 4.0 * 2**F a lane and set is the most that any of them can add: all ones by all ones, of one sign.
    pe = parameters(**changed).model_copy(update={"lanes": lanes})
    most = exactly([255 / 128] * 3 * lanes)
    chosen = [("the largest sums", most, most), *reductions(lanes, 2 * lanes + 1)[lanes % 5 :: 5]]
    assert first_difference(pe, chosen) is None


@pytest.mark.parametrize("encoder", ["naf", "booth4", "binary"])
def test_all_significands_have_the_terms_of_the_encoder(encoder: str) -> None:
    # 16 sets in which A has every significand, signs in turn; with window and threshold at their widest each digit
    # is one cycle of its lane and reaches S exactly.
    values = (1 + np.arange(128) / 128) * np.where(np.arange(128) % 2, -1, 1)
    pe = parameters(encoder=encoder, oob_threshold=29, accumulator_fraction_bits=29, shift_window=38)
    pairs = [("all significands", exactly(values), exactly(np.ones(128)))]
    assert first_difference(pe, pairs) is None


def test_sets_follow_each_other_without_a_gap_and_take_one_cycle_at_least() -> None:
    one = exactly([1.0] * 8 + [0.0] * 8 + [1.0])
    (traces,) = of_twin(parameters(), [("", one, one)])
    assert [[fires for fires, _, _ in trace.cycles] for trace in traces] == [[0xFF], [0], [1]]
    assert traces == of_oracle(parameters(), one, one)


def test_what_has_no_hardware_is_refused() -> None:
    with pytest.raises(MachineError, match="has no hardware"):
        Widths(parameters(oob="off"))


def column_is_equal(rows: int, sharing: int, sets: int, **changed: object) -> bool:
    pe, tile = parameters(**changed), tile_parameters(rows=rows, exponent_sharing=sharing)
    rng = np.random.default_rng(rows + sharing)
    a, b = mixed(rng, 1, 8 * sets), mixed(rng, rows, 8 * sets)
    return column_of_twin(pe, tile, a, b) == column_of_oracle(pe, tile, a, b)


@pytest.mark.parametrize(("rows", "sharing"), [(1, 2), (2, 2), (2, 1)])
def test_column_equals_oracle(rows: int, sharing: int) -> None:
    assert column_is_equal(rows, sharing, 24 // rows, oob_threshold=7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed", [{}, {"oob_threshold": 7}, {"rounding": "cycle"}, {"encoder": "booth4", "shift_window": 6}]
)
@pytest.mark.parametrize(("rows", "sharing"), [(4, 1), (8, 2)])
def test_whole_column_equals_oracle(rows: int, sharing: int, changed: dict[str, object]) -> None:
    # 8 * 100 sets, and 4 * 100.
    assert column_is_equal(rows, sharing, 100, **changed)


COLUMN_MUTANTS = {
    "one PE served": ("served.eq(turn == sharing - 1)", "served.eq(1)"),
    "the first PE that is free": ("free.all()", "free.any()"),
    "exponents of another's turn": ("if place < sharing - 1:", "if False:"),
    "exponents of one row": ("b = self.b[first + place]", "b = self.b[first]"),
    "no new turn": ("m.d.sync += turn.eq(0)", "pass"),
}


@pytest.mark.parametrize(
    "mutant", [pytest.param(name, marks=pytest.mark.slow if i > 1 else ()) for i, name in enumerate(COLUMN_MUTANTS)]
)
def test_a_mutant_of_the_column_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, "fpraker.column", *COLUMN_MUTANTS[mutant])
    assert not column_is_equal(2, 2, 12)


@pytest.mark.parametrize("changed", [{"sync": "pe"}, {"empty_sets": "skip"}])
def test_a_tile_without_hardware_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(MachineError, match="has no hardware"):
        check_tile(parameters(oob="column"), tile_parameters(**changed))


MUTANTS = {
    "a digit's sign": ("encoder", "self.nonzero & ~triple[1:]", "self.nonzero & triple[1:]", {}),
    "a digit's place": ("encoder", "(triple ^ significand)[1:]", "(triple ^ significand)[2:]", {}),
    "a Booth digit": ("encoder", "(here != above)", "(here == above)", {"encoder": "booth4"}),
    "a plain bit": ("encoder", "nonzero.eq(significand)", "nonzero.eq(significand >> 1)", {"encoder": "binary"}),
    "ties round up": ("rounding", "rest[:-1].any() | odd", "rest[:-1].any() | 1", {}),
    "no sticky bits": ("rounding", "rest[:-1].any() | odd", "odd", {}),
    "a lane left out of the sum": ("adders", "for i in range(self.count)", "for i in range(self.count - 1)", {}),
    "a zero B is taken for a number": ("fpraker.exponents", "self.a[i].any() & self.b[i].any()", "self.a[i].any()", {}),
    "the smallest exponent": ("comparators", "first > second, first", "first < second, first", {}),
    "threshold one off": ("fpraker.offsets", "distance <= most", "distance < most", {}),
    "the last digit first": ("fpraker.offsets", "[bit + 1 :]", "[:bit]", {}),
    "window one wider": ("fpraker.window", "self.base + self.window)", "self.base + self.window + 1)", {}),
    "window one narrower": ("fpraker.window", "<= self.base", "< self.base", {}),
    "sign of a product": ("fpraker.shifters", "Mux(self.negative, -magnitude", "Mux(self.negative, magnitude", {}),
    "a lane shifted one less": ("fpraker.shifters", ">> self.lag", ">> (self.lag >> 1)", {}),
    "the base ignored": ("fpraker.shifters", ">> self.base", ">> 0", {}),
    "emax without the accumulator": ("fpraker.alignment", "self.largest > self.exponent", "self.largest > 0", {}),
    "alignment one short": ("fpraker.alignment", "Mux(distance > most, most,", "Mux(distance > most, most - 2,", {}),
    "no carry out of rounding": ("normaliser", "right + carry - left", "right - left", {}),
    "left shift one short": ("normaliser", "top - highest", "top - 1 - highest", {}),
    "read-out without a carry": ("read_out", "+ magnitude[FRACTION_BITS + 1]", "", {}),
    "overflow at twice the largest": ("read_out", "field >= FIELD", "field > FIELD", {}),
    "underflow at half the smallest": ("read_out", "(field > 0)", "(field >= 0)", {}),
    "the register never cleared": ("fpraker.element", "restarts.eq(restart)", "restarts.eq(0)", {}),
    "product signs of A alone": ("fpraker.element", "a.signs ^ Cat(b[i][15] for i in lanes)", "a.signs", {}),
    "a set ends early": ("fpraker.element", "offset.rest.any(), offset.ready", "0, offset.ready", {}),
    "a chunk one set short": ("chunks", "== self.sets - 1", "== self.sets - 2", {"chunk": 64}),
    "running sums never begin anew": (
        "fpraker.element",
        "running_sum.onto.eq(onto)",
        "running_sum.onto.eq(1)",
        {"chunk": 64},
    ),
    "a folded register stays": ("fpraker.element", "return chunks.begins", "return self.restart", {"chunk": 64}),
    "a cycle's sum is cut": (
        "fpraker.element",
        "round_addend.rounded <<",
        "(base_shifter.addend >> max(excess, 0)) <<",
        {"rounding": "cycle"},
    ),
}
"""What is wrong: the unit's module, what stands there, what stands there instead, and the parameters."""
SECOND_OF_A_UNIT = {
    "a digit's place",
    "a plain bit",
    "running sums never begin anew",
    "a folded register stays",
    "no sticky bits",
    "the last digit first",
    "window one narrower",
    "a lane shifted one less",
    "emax without the accumulator",
    "left shift one short",
    "overflow at twice the largest",
    "underflow at half the smallest",
    "product signs of A alone",
    "a set ends early",
}
"""Mutants that wait for the slow tests, as their units have another."""


def mutate(monkeypatch: pytest.MonkeyPatch, unit: str, good: str, bad: str) -> None:
    """Put a unit with one thing changed in place of the good one, for every module that uses it."""
    module = importlib.import_module(f"simhw.rtl.{unit}")
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    assert source.count(good) == 1, f"{unit} has {good!r} {source.count(good)} times"
    mutant = ModuleType(module.__name__)
    exec(compile(source.replace(good, bad), str(module.__file__), "exec"), mutant.__dict__)
    for name, made in vars(mutant).items():
        if getattr(made, "__module__", None) != module.__name__:
            continue
        for user in list(sys.modules.values()):
            if user.__name__.startswith(("simhw.rtl", "tests.rtl")) and hasattr(user, name):
                monkeypatch.setattr(user, name, made)


def suspects() -> list[Reduction]:
    """Few sets among which every unit has something to do."""
    wanted = (
        "gaussian_by_gaussian",
        "sparse_50_by_itself",
        "any_finite_by_itself",
        "all_ones_by_itself",
        "worst_naf_by_gaussian",
        "huge_after_tiny_by_gaussian",
        "cancelling_by_repeated",
        "powers_of_two_by_repeated",
        "threshold_12_by_repeated",
    )
    named = {reduction[0]: reduction for reduction in reductions(7, 24)}
    rng = np.random.default_rng(8)
    chunks = ("two chunks", gaussian(rng, 1, 88), gaussian(rng, 1, 88))
    gone = [0.0] * 7
    return [
        # 255/128 + 255/128 + 63/32 * 2^-7 = 4 - 2^-12: half of S = 16383 is a tie that rounds up to a power of two.
        ("carry", exactly([255 / 128, 255 / 128, 63 / 32]), exactly([1, 1, 2.0**-7])),
        # 1.1111111 and half a place more are read out as 2.
        ("carry of the output", exactly([255 / 128, 1]), exactly([1, 2.0**-8])),
        ("overflow to 3 * 2^127", exactly([1.5 * 2.0**127, 1.5 * 2.0**127]), exactly([1, 1])),
        ("underflow to 1.5 * 2^-127", exactly([1.5 * 2.0**-64]), exactly([2.0**-63])),
        # If the 0 counted as a number, with exponent field 0, its product's exponent would be that of 1 * 1.
        ("a zero", exactly([2.0**127, 1]), exactly([0, 1])),
        ("1 aligned to 2^20", exactly([1, *gone, 2.0**20]), exactly([1, *gone, 1])),
        *[named[name] for name in wanted],
        chunks,
    ]


@pytest.mark.parametrize(
    "mutant",
    [None, *(pytest.param(name, marks=pytest.mark.slow if name in SECOND_OF_A_UNIT else ()) for name in MUTANTS)],
)
def test_a_mutant_of_each_unit_is_found(mutant: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: dict[str, object] = {}
    if mutant is not None:
        *where, changed = MUTANTS[mutant]
        mutate(monkeypatch, *where)
    assert (first_difference(parameters(**changed), suspects()) is None) == (mutant is None)


EVERY_VALUE = list(
    itertools.product(
        ("naf", "booth4", "binary"), (0, 1, 3, 6, 12), (0, 6, 7, 12, 20), (4, 7, 12, 16), ("set", "cycle")
    )
)


@pytest.mark.slow
@pytest.mark.parametrize("window_on", ["offset", "position"])
@pytest.mark.parametrize("part", range(20))
def test_twin_equals_oracle_at_random_parameters(part: int, window_on: str) -> None:
    # 40 * 74 reductions of 5 sets, or in chunks of 10: 18,500 sets, each part with parameters of its own.
    rng = np.random.default_rng(part)
    encoder, window, threshold, fraction_bits, rounding = EVERY_VALUE[rng.integers(len(EVERY_VALUE))]
    pe = parameters(
        encoder=encoder,
        shift_window=window,
        oob_threshold=threshold,
        accumulator_fraction_bits=fraction_bits,
        rounding=rounding,
        window_on=window_on,
        chunk="off" if part % 4 else 64,
    )
    assert first_difference(pe, reductions(part, 37 if part % 4 else 77)) is None
