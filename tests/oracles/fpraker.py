"""FPRaker in plain Python: one processing element, one tile pass, and a closed form of a set's cycles.

Source: spec page fpraker.md, sections 1-3 and 6. Where the page leaves a counter open, this file decides:

- Every set of every PE of the full tile is classified; missing rows and columns are PEs fed zeros, which never hold
  anyone up (they cost the floor, as everybody does). `useful + shift_range + no_term + exponent + inter_pe == rows *
  cols * 8 * cycles`.
- `inter_pe` is a PE waiting with nothing of its own to do: for the column's slowest PE, for other columns through
  run-ahead, and at the end of the tile pass; under sync: term also for the other PEs of its column in the middle of a
  set.
- Under oob: column and off a slot that fires as a zero is `no_term` (the lane does no useful work); its term counts
  `skipped_oob`; while it waits outside the window it is `shift_range` like any pending term. A lane whose B is zero in
  a PE is empty there and needs no slots.
- Term counters cover the PEs that have both a real row of `a` and of `b`, with all their sets, padding of K included:
  `processed + skipped_zero + skipped_oob == 8 * 8 * sets * real PEs`.
- A set is empty in a PE where each of its lanes has A == 0 or B == 0. One whose terms are all out of bounds is not, and
  costs the floor under empty_sets: skip too. A PE that skips a set has no `exponent` lane-cycles in it: while the rest
  of its column works it waits.
- Under sync: pe the bounds of oob: column are those of all PEs of the column, though they take the set at different
  times.
- Values depend on `sync`, `oob` and the window only under rounding: cycle, where those decide which terms share an
  adder-tree sum.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, Encoder, significand_terms
from tests.oracles.accumulator import Accumulator, Number, decode_rows

LANES = 8
BIT_SLOTS = 8
TERMS = {
    encoder: [significand_terms(fraction, encoder) for fraction in range(128)]
    for encoder in ("naf", "booth4", "binary")
}


@dataclass(frozen=True)
class Config:
    """Every switch of the spec page, by the strict rules. `oob_threshold` None is F; `chunk` None is off, else MACs."""

    encoder: Encoder = "naf"
    shift_window: int = 3
    oob_threshold: int | None = None
    accumulator_fraction_bits: int = 12
    rounding: Literal["set", "cycle"] = "set"
    chunk: int | None = None
    exponent_sharing: int = 2
    sync: Literal["set", "term", "pe"] = "set"
    buffers: tuple[int, int] = (1, 1)
    empty_sets: Literal["floor", "skip"] = "floor"
    window_on: Literal["offset", "position"] = "offset"
    oob: Literal["pe", "column", "off"] = "pe"
    run_ahead: int = 1
    rows: int = 8
    cols: int = 8

    @property
    def threshold(self) -> int:
        return self.accumulator_fraction_bits if self.oob_threshold is None else self.oob_threshold

    @property
    def floor(self) -> int:
        return self.exponent_sharing


LONE_PE = Config(exponent_sharing=1, rows=1, cols=1)


@dataclass
class Lane:
    """One lane of one PE in one set: K, place and value of each term; the first `in_bounds` have K <= T, the first
    `slots` need a slot. The window compares places: K, or -p under window_on: position.
    """

    shifts: list[int]
    places: list[int]
    addends: list[tuple[int, int]]
    in_bounds: int
    slots: int


@dataclass
class SetRun:
    """What one PE did in one set: for each cycle the (lane, term) that fired, and the lane-cycles of each class.

    `waiting` (lane-cycles spent waiting for other PEs inside the set) can only occur under sync: term.
    """

    fired: list[list[tuple[int, int]]] = field(default_factory=list)
    useful: int = 0
    shift_range: int = 0
    no_term: int = 0
    waiting: int = 0

    @property
    def cycles(self) -> int:
        return len(self.fired)


@dataclass(frozen=True)
class FPRakerPass:
    """One tile pass; `outputs` is (rows of a, rows of b) float32, `times[c][r][s]` the cycles until PE (c, r) may take
    its next set, floor included.
    """

    cycles: int
    outputs: npt.NDArray[np.float32]
    overflows: int
    useful: int
    shift_range: int
    no_term: int
    exponent: int
    inter_pe: int
    processed: int
    skipped_zero: int
    skipped_oob: int
    times: list[list[list[int]]]


def make_lanes(
    a_set: list[Number | None], b_set: list[Number | None], accumulator: Accumulator, config: Config
) -> list[Lane]:
    """Start a set in one PE: latch emax, align the accumulator, and give every lane's terms their shifts K = d - p."""
    pairs = list(zip(a_set, b_set, strict=True))
    exponents = [x.exponent + y.exponent for x, y in pairs if x is not None and y is not None]
    if not exponents:
        return [Lane([], [], [], 0, 0) for _ in pairs]  # an empty set changes nothing
    emax = accumulator.latch(exponents)
    lanes = []
    for x, y in pairs:
        lane = Lane([], [], [], 0, 0)
        if x is not None and y is not None:
            below = emax - (x.exponent + y.exponent)
            for sign, position in TERMS[config.encoder][x.fraction]:
                shift = below - position
                negative = (x.negative != y.negative) != (sign < 0)
                lane.shifts.append(shift)
                lane.places.append(shift if config.window_on == "offset" else -position)
                lane.addends.append((-y.significand if negative else y.significand, -7 - shift))
            # K grows along the lane, so what is in bounds is a prefix.
            lane.in_bounds = sum(shift <= config.threshold for shift in lane.shifts)
            lane.slots = len(lane.shifts) if config.oob == "off" else lane.in_bounds
        lanes.append(lane)
    return lanes


def share_slots(column: list[list[Lane]]) -> None:
    """oob: column. A lane's terms keep their slots up to the last one that is in bounds in any PE of the column."""
    for index in range(len(column[0])):
        needed = max(lanes[index].in_bounds for lanes in column)
        for lanes in column:
            if lanes[index].shifts:
                lanes[index].slots = needed


def run_alone(lanes: list[Lane], window: int) -> SetRun:
    """sync: set, pe. One PE works through its own slots, one term a lane and cycle."""
    run = SetRun()
    position = [0] * len(lanes)
    while True:
        pending = {
            index: lane.places[position[index]] for index, lane in enumerate(lanes) if position[index] < lane.slots
        }
        if not pending:
            return run
        base = min(pending.values())
        fired = []
        for index, lane in enumerate(lanes):
            if index not in pending:
                run.no_term += 1
            elif pending[index] > base + window:
                run.shift_range += 1
            else:
                if position[index] < lane.in_bounds:
                    run.useful += 1
                else:
                    run.no_term += 1
                fired.append((index, position[index]))
                position[index] += 1
        run.fired.append(fired)


def run_together(column: list[list[Lane]], window: int) -> list[SetRun]:
    """sync: term. The PEs of a column share each lane's pointer; it moves at the end of the cycle in which the last PE
    has fired.
    """
    runs = [SetRun() for _ in column]
    count = len(column[0])
    pointer = [0] * count
    done = [[0] * count for _ in column]  # terms that each PE has fired in each lane: the pointer's term or one more
    while any(done[pe][index] < lanes[index].slots for pe, lanes in enumerate(column) for index in range(count)):
        for pe, (lanes, run) in enumerate(zip(column, runs, strict=True)):
            finished = all(done[pe][index] >= lane.slots for index, lane in enumerate(lanes))
            to_fire = {
                index: lane.places[pointer[index]]
                for index, lane in enumerate(lanes)
                if pointer[index] < lane.slots and done[pe][index] == pointer[index]
            }
            base = min(to_fire.values(), default=0)
            fired = []
            for index, lane in enumerate(lanes):
                if finished:
                    run.waiting += 1
                elif index in to_fire:
                    if to_fire[index] > base + window:
                        run.shift_range += 1
                        continue
                    if pointer[index] < lane.in_bounds:
                        run.useful += 1
                    else:
                        run.no_term += 1
                    fired.append((index, pointer[index]))
                    done[pe][index] += 1
                elif done[pe][index] < lane.slots:
                    run.waiting += 1  # has fired the shared term, and more of its own are to come
                else:
                    run.no_term += 1
            run.fired.append(fired)
        for index in range(count):
            # Slots are a prefix of a lane's terms, so the pointer never has to jump over a term that nobody needs.
            if all(
                lanes[index].slots <= pointer[index] or done[pe][index] > pointer[index]
                for pe, lanes in enumerate(column)
            ):
                pointer[index] += 1
    return runs


def accumulate(lanes: list[Lane], run: SetRun, accumulator: Accumulator, config: Config) -> None:
    """Add the terms that fired with a value, and end the set."""
    cycles = [
        [lanes[index].addends[term] for index, term in fired if term < lanes[index].in_bounds] for fired in run.fired
    ]
    if config.rounding == "set":
        accumulator.add([addend for addends in cycles for addend in addends])
    else:
        for addends in cycles:
            accumulator.add_rounded(addends)
    accumulator.normalise()
    accumulator.end_set(len(lanes))


def pe_set(
    a_set: list[Number | None], b_set: list[Number | None], accumulator: Accumulator, config: Config = LONE_PE
) -> SetRun:
    """One set in one PE on its own (sync: set, oob: pe), accumulator updated. `cycles` of the result is before the
    floor.
    """
    lanes = make_lanes(a_set, b_set, accumulator, config)
    run = run_alone(lanes, config.shift_window)
    accumulate(lanes, run, accumulator, config)
    return run


def least_cycles(lanes: list[Lane], config: Config) -> int:
    """What a set costs a PE at least."""
    empty = not any(lane.shifts for lane in lanes)
    return 0 if empty and config.empty_sets == "skip" else config.floor


def set_times(column: list[list[Lane]], runs: list[SetRun], config: Config) -> list[int]:
    """The cycles of a set in every PE of a column, which is alike unless each goes at its own pace."""
    own = [max(least_cycles(lanes, config), run.cycles) for lanes, run in zip(column, runs, strict=True)]
    return own if config.sync == "pe" else [max(own)] * len(own)


def finish_of_columns(column_times: list[list[int]], run_ahead: int) -> list[list[int]]:
    """By column and set: start[c][s] = max(fin[c][s-1], max over k of fin[k][s-1-N]) (section 3)."""
    sets = len(column_times[0])
    finish = [[0] * sets for _ in column_times]
    for s in range(sets):
        for c, times in enumerate(column_times):
            start = finish[c][s - 1] if s >= 1 else 0
            if s - 1 - run_ahead >= 0:
                start = max([start] + [other[s - 1 - run_ahead] for other in finish])
            finish[c][s] = start + times[s]
    return finish


def tile_time(column_times: list[list[int]], run_ahead: int) -> int:
    """The tile ends with its last column."""
    return max((fin[-1] for fin in finish_of_columns(column_times, run_ahead) if fin), default=0)


def finish_at_own_pace(times: list[list[list[int]]], buffers: tuple[int, int]) -> dict[tuple[int, int, int], int]:
    """By column, row and set: start[c][r][s] = max(fin[c][r][s-1], max over rows q of fin[c][q][s-1-Na], max over
    columns k of fin[k][r][s-1-Nb]) (section 6).
    """
    columns, rows, sets = len(times), len(times[0]), len(times[0][0])
    a_depth, b_depth = buffers
    finish: dict[tuple[int, int, int], int] = {}
    for s in range(sets):
        for c in range(columns):
            for r in range(rows):
                waits_for = [(c, r, s - 1)]
                waits_for += [(c, q, s - 1 - a_depth) for q in range(rows)]
                waits_for += [(k, r, s - 1 - b_depth) for k in range(columns)]
                finish[c, r, s] = max(finish.get(pe, 0) for pe in waits_for) + times[c][r][s]
    return finish


def own_pace_time(times: list[list[list[int]]], buffers: tuple[int, int]) -> int:
    """The tile ends with its last PE."""
    return max(finish_at_own_pace(times, buffers).values(), default=0)


def tile_pass(a: BF16Array, b: BF16Array, config: Config | None = None) -> FPRakerPass:
    """`a` (at most cols, K) serial and `b` (at most rows, K) parallel bit patterns; K is padded with zeros to whole
    sets of 8.
    """
    config = config or Config()
    a_rows, b_rows = decode_rows(a, LANES), decode_rows(b, LANES)
    real_cols, real_rows = len(a_rows), len(b_rows)
    if real_cols > config.cols or real_rows > config.rows:
        raise ValueError("more operand rows than the tile holds")
    sets = len(a_rows[0])
    empty: list[list[Number | None]] = [[None] * LANES] * sets
    a_rows += [empty] * (config.cols - real_cols)
    b_rows += [empty] * (config.rows - real_rows)

    useful = shift_range = no_term = exponent = processed = skipped_zero = skipped_oob = overflows = 0
    outputs = np.zeros((real_cols, real_rows), dtype=np.float32)
    times: list[list[list[int]]] = []
    for c, a_sets in enumerate(a_rows):
        registers = [Accumulator(config.accumulator_fraction_bits, config.chunk) for _ in b_rows]
        column_times: list[list[int]] = [[] for _ in b_rows]
        for s, a_set in enumerate(a_sets):
            column = [
                make_lanes(a_set, b_sets[s], register, config)
                for b_sets, register in zip(b_rows, registers, strict=True)
            ]
            if config.oob == "column":
                share_slots(column)
            if config.sync == "term":
                runs = run_together(column, config.shift_window)
            else:
                runs = [run_alone(lanes, config.shift_window) for lanes in column]
            for own, time in zip(column_times, set_times(column, runs, config), strict=True):
                own.append(time)
            for r, (lanes, run) in enumerate(zip(column, runs, strict=True)):
                accumulate(lanes, run, registers[r], config)
                useful += run.useful
                shift_range += run.shift_range
                no_term += run.no_term
                exponent += max(0, least_cycles(lanes, config) - run.cycles) * LANES
                if c < real_cols and r < real_rows:
                    processed += sum(lane.in_bounds for lane in lanes)
                    skipped_zero += sum(BIT_SLOTS - len(lane.shifts) for lane in lanes)
                    skipped_oob += sum(len(lane.shifts) - lane.in_bounds for lane in lanes)
        times.append(column_times)
        if c < real_cols:
            for r in range(real_rows):
                result = registers[r].read_out()
                overflows += math.isinf(result)
                outputs[c, r] = result
    if config.sync == "pe":
        cycles = own_pace_time(times, config.buffers)
    else:
        cycles = tile_time([rows[0] for rows in times], config.run_ahead)
    inter_pe = config.rows * config.cols * LANES * cycles - useful - shift_range - no_term - exponent
    return FPRakerPass(
        cycles,
        outputs,
        overflows,
        useful,
        shift_range,
        no_term,
        exponent,
        inter_pe,
        processed,
        skipped_zero,
        skipped_oob,
        times,
    )


def closed_form(shifts: list[list[int]], window: int) -> tuple[int, int]:
    """(cycles, pending lane-cycles) of a PE's set from the in-bounds shifts of each lane, without stepping through
    cycles.

    c(l, p) = 1 + max(c(previous term of lane l), max over terms of any lane with shift <= p - W - 1 of c). A term can
    fire once its predecessor has and nothing is pending more than W positions before it; in order of shift everything
    needed is known.
    """
    order = sorted((shift, lane, index) for lane, terms in enumerate(shifts) for index, shift in enumerate(terms))
    cycle: dict[tuple[int, int], int] = {}
    for shift, lane, index in order:
        previous = cycle[lane, index - 1] if index else 0
        before = max((cycle[m, i] for q, m, i in order if q <= shift - window - 1), default=0)
        cycle[lane, index] = 1 + max(previous, before)
    pending = sum(cycle[lane, len(terms) - 1] for lane, terms in enumerate(shifts) if terms)
    return max(cycle.values(), default=0), pending
