"""FPRaker PEs whose schedules depend on their column: shared lane pointers (sync: term) or shared bounds (oob: column).

It is the general kernel: it also takes PEs that share nothing, which have no bounds (oob: off), or whose window is on
positions while every cycle rounds.  Source: spec page fpraker.md, sections 3 and 6.

Out-of-bounds terms may need slots here, so offsets K have no small limit and do not fit a word of bits.  A lane is
instead the place of its next term, K + 1 (window_on: position: its position p as 1 - p), the steps from there to its
further ones, and a bound: terms from that place on need no slot.  The terms are those of the serial operand, which
all PEs share, so that a step is a few bits of a word.  A set's lanes lie in memory, as many as have work: what a
cycle does to a lane takes longer than to bring it.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from simhw.jit import part
from simhw.pe.accumulator import aligned, folded, normalised
from simhw.pe.fpraker.kernel import (
    BEYOND,
    GAP_BITS,
    LANES,
    POSITIONS,
    Counts,
    column_all,
    column_max,
    column_max_each,
    least_cycles,
    serial_code,
)
from simhw.pe.fpraker.lanes import added_products, exponent_sums, lanes_of, product_unit, signed_weights, values_left
from simhw.pe.reals import (
    from_whole_numbers,
    fused,
    load_singles,
    store_singles,
    unit_rounder,
    whole_numbers,
)
from simhw.pe.stack import (
    align_frame,
    count_below,
    element,
    load_next,
    max_over,
    min_over,
    popcount_each,
    signed_max_each,
    spread_stack,
    stacked,
    store_next,
    sum_over,
    unsigned_min_each,
    where_below_each,
    where_negative_each,
)
from simhw.pe.vector import (
    WIDTH,
    any_lane,
    lane_bits,
    load,
    popcount,
    signed_max,
    spread,
    store,
    total,
    unsigned_min,
    where_negative,
    widen,
)

PLACES, GAPS, BOUNDS, SCRATCH_WORDS = (vectors * LANES * WIDTH for vectors in range(4))
"""Where the lanes' places, steps and bounds begin in a kernel's scratch memory, a vector a lane; and its size."""


class Walks(NamedTuple):
    """Beside `SerialRows`, what a walk along the terms of each of their lanes takes: see `Recoding`."""

    positions: npt.NDArray[np.uint32]
    first: npt.NDArray[np.uint32]
    gaps: npt.NDArray[np.uint32]
    unary: bool


def walks(values: int, unary: bool) -> Walks:
    """Room for that many values."""
    return Walks(np.empty(values, np.uint32), np.empty(values, np.uint32), np.empty(values, np.uint32), unary)


@part
def lay_out_walks(x, count, reduction, tables, serial, walk):
    """Fill `walk` from x, `count` rows of so many values, in the order of `serial`; all arrays are pointers."""
    sets = reduction // LANES
    for index in range(count * sets):
        for slot in range(index * LANES, index * LANES + serial.depths[index]):
            code = serial_code(x[index // sets * reduction + serial.offsets[slot] // WIDTH])
            walk.positions[slot] = tables.positions[code]
            walk.first[slot] = tables.first[code]
            walk.gaps[slot] = tables.gaps[code]


@part
def coupled_sets(
    rows, walk, first, last, start, exponents, significands, setup, own_s, own_exponent, sums, times, at, scratch
):
    """Sets `first` to `last` of WIDTH PEs in columns; parameters and result as `independent_sets`.

    `walk` goes with `rows`; `scratch` holds SCRATCH_WORDS words.
    """
    s, exponent = from_whole_numbers(load(own_s, 0)), load(own_exponent, 0)
    own_sums = load_singles(sums, exponent)
    align_frame()
    lanes = lanes_of(rows, exponents, significands)
    shared, column = setup.shared_pointers, setup.column
    own_bounds = not (setup.column_bounds or setup.no_bounds)
    one, nothing = spread(1, exponent), spread(0, exponent)
    two = one + one
    last_bit = spread(lane_bits(exponent) - 1, exponent)
    # Set in a place, it keeps the lane from firing.
    flag = one << last_bit
    window, floor = spread(setup.window + 1, exponent), spread(setup.floor, exponent)
    # What an empty set takes: every product's exponent is that of a zero.
    empty = least_cycles(spread(-1, exponent), floor, setup)
    rounder = unit_rounder(exponent)
    to_unit = product_unit(setup, exponent)
    zero = widen(nothing)
    useful_sum, slots_sum, busy_sum, short_sum = zero, zero, zero, zero
    # Lane-cycles in which a lane has a term left, with shared pointers one beyond the pointer's.  Beside them all
    # lane-cycles, and in how many of those a PE has nothing (more) to fire at the pointer.
    alive, lane_cycles, through_sum = 0, 0, zero
    chunk = setup.chunk_sets if setup.chunk_sets else last - first
    for begin in range(first, last, chunk):
        for index in range(begin, min(begin + chunk, last)):
            depth = int(element(rows.depths, start + index))
            slot = (start + index) * LANES
            if depth == 0:
                store(times, at, empty)
                short_sum = short_sum + widen(empty)
                at += WIDTH
                continue
            largest = spread(-1, exponent)
            for pair in range(slot, slot + depth, 2):
                largest = signed_max(largest, max_over(exponent_sums(2, pair, lanes, exponent)))
            emax = signed_max(exponent, largest)
            s = aligned(s, exponent, emax)
            added = rounder - rounder
            useful, slots, lanes_through = nothing, nothing, nothing
            to_highest = last_bit - spread(depth - 1, exponent)
            base = flag
            for lane in range(0, depth, 2):
                pair = slot + lane
                sums_of_pair = exponent_sums(2, pair, lanes, exponent)
                offsets = emax - sums_of_pair
                distances = unsigned_min_each(offsets, last_bit)
                if not setup.per_cycle:
                    values, _ = values_left(2, pair, lanes, distances, exponent)
                    added = added + added_products(2, pair, lanes, values, setup)
                useful = useful + sum_over(popcount_each(spread_stack(lanes.terms, pair, exponent, 2) << distances))
                inside = _positions_inside(offsets, sums_of_pair, setup, nothing)
                if not own_bounds:
                    slot_terms = spread_stack(walk.positions, pair, exponent, 2) & ((one << inside) - one)
                    slots = slots + sum_over(popcount_each(slot_terms))
                places = spread_stack(walk.first, pair, exponent, 2)
                if not setup.on_position:
                    places, inside = places + offsets, inside + offsets
                alive += count_below(places, inside)
                places = where_below_each(places, inside, places, places | flag)
                base = unsigned_min(base, min_over(places))
                store_next(scratch, PLACES + lane * WIDTH, places)
                store_next(scratch, GAPS + lane * WIDTH, spread_stack(walk.gaps, pair, exponent, 2))
                store_next(scratch, BOUNDS + lane * WIDTH, inside)
            if not setup.per_cycle:
                # Before the cycles, which it does not depend on: the next set waits for it.
                s, exponent = normalised(fused(added, to_unit, s) - rounder, emax, setup.fraction_bits)
            busy, cycle = nothing, nothing
            while any_lane(~base & flag):
                cycle = cycle + one
                # With shared pointers a PE may have nothing to fire in a cycle and more to come.
                busy = where_negative(base, busy, cycle)
                end = unsigned_min(base + window, flag)
                base = flag
                if setup.per_cycle:
                    added = _fired_now(lanes, slot, depth, scratch, emax, end, setup)
                    s = s + (fused(added, to_unit, rounder) - rounder)
                if shared:
                    # A bit for each lane, the first one's highest: set where it has fired, now or before, or has ended.
                    through = nothing
                    for lane in range(0, depth * WIDTH, WIDTH):
                        place = load(scratch, PLACES + lane)
                        through = (through << one) | ((place | (place - end)) >> last_bit)
                    lanes_through = lanes_through + popcount(through)
                    through = through << to_highest
                    moving = column_all(through, column)
                    for lane in range(0, depth * WIDTH, 2 * WIDTH):
                        places, gaps = load_next(scratch, PLACES + lane, 2), load_next(scratch, GAPS + lane, 2)
                        steps, rest = _advance(gaps, walk.unary, exponent)
                        places = places | (stacked(through, through + through) & flag)
                        # Takes the flag off where it is; what has yet to fire ends up beyond every bound.
                        following = places + (steps | flag)
                        bounds = load_next(scratch, BOUNDS + lane, 2)
                        alive += count_below(following, bounds)
                        moved = stacked(moving, moving + moving)
                        rest = where_below_each(following, bounds, rest, gaps)
                        store_next(scratch, GAPS + lane, where_negative_each(moved, rest, gaps))
                        following = where_below_each(following, bounds, following, places)
                        places = where_negative_each(moved, following, places)
                        store_next(scratch, PLACES + lane, places)
                        base = unsigned_min(base, min_over(places))
                        through, moving = through << two, moving << two
                    lane_cycles += depth
                else:
                    for lane in range(0, depth * WIDTH, 2 * WIDTH):
                        places, gaps = load_next(scratch, PLACES + lane, 2), load_next(scratch, GAPS + lane, 2)
                        steps, rest = _advance(gaps, walk.unary, exponent)
                        store_next(scratch, GAPS + lane, where_below_each(places, end, rest, gaps))
                        places = where_below_each(places, end, places + steps, places)
                        store_next(scratch, PLACES + lane, places)
                        bounds = load_next(scratch, BOUNDS + lane, 2)
                        alive += count_below(places, bounds)
                        base = unsigned_min(base, min_over(where_below_each(places, bounds, places, flag)))
            if setup.per_cycle:
                s, exponent = normalised(s - rounder, emax, setup.fraction_bits)
            least = least_cycles(largest, floor, setup)
            own_time = column_max(busy, column) if shared else busy
            time = signed_max(busy, least)
            store(times, at, time if setup.own_pace else column_max(time, column))
            at += WIDTH
            # Widened set by set: words would not hold a round's sums.
            useful_sum = useful_sum + widen(useful)
            through_sum = through_sum + widen(lanes_through)
            slots_sum = slots_sum + widen(slots)
            busy_sum = busy_sum + widen(busy)
            short_sum = short_sum + widen(signed_max(least - own_time, nothing))
        if setup.chunk_sets:
            own_sums = folded(s, exponent, setup.fraction_bits, own_sums)
            s, exponent = s - s, nothing
    store(own_s, 0, whole_numbers(s))
    store(own_exponent, 0, exponent)
    store_singles(sums, own_sums)
    useful = total(useful_sum)
    slots = useful if own_bounds else total(slots_sum)
    if shared:
        waiting = WIDTH * lane_cycles - total(through_sum)
        alive += waiting
    else:
        # Every slot fires once; in all other cycles its lane waits.
        waiting = alive - slots
    no_term = LANES * total(busy_sum) - alive + slots - useful
    return Counts(useful, waiting, no_term, LANES * total(short_sum))


@numba.njit(inline="always")
def _positions_inside(offsets, sums, setup, nothing):
    """How many of the positions, from p = +1 on, are within the lanes' bounds; none in an empty lane."""
    most = spread(POSITIONS, nothing)
    if setup.no_bounds:
        return where_negative_each(sums, nothing, most)
    # K <= T for the first T + 2 - d positions.
    inside = spread(setup.threshold + 2, nothing) - offsets
    if setup.column_bounds:
        inside = where_negative_each(sums, nothing, column_max_each(inside, setup.column))
    return unsigned_min_each(signed_max_each(inside, nothing), most)


@numba.njit(inline="always")
def _advance(gaps, unary, like):
    """(step to the next term, further gaps) of each of a stack of lanes."""
    if unary:
        one = spread(1, like)
        steps = popcount_each((gaps - one) & ~gaps) + one
        return steps, gaps >> unsigned_min_each(steps, spread(lane_bits(like) - 1, like))
    return ~gaps & spread(BEYOND, like), gaps >> spread(GAP_BITS, like)


@numba.njit(inline="always")
def _fired_now(lanes, slot, depth, scratch, emax, end, setup):
    """What the terms within bounds and before `end` add."""
    added = unit_rounder(emax) - unit_rounder(emax)
    last_bit = spread(lane_bits(emax) - 1, emax)
    for lane in range(0, depth, 2):
        distances = unsigned_min_each(emax - exponent_sums(2, slot + lane, lanes, emax), last_bit)
        _, negative = values_left(2, slot + lane, lanes, distances, emax)
        places = load_next(scratch, PLACES + lane * WIDTH, 2)
        bounds = load_next(scratch, BOUNDS + lane * WIDTH, 2)
        # K = -1 weighs 2**(T + 1); beyond T nothing is left.
        drops = places + distances if setup.on_position else places
        weights = spread(1 << (setup.threshold + 1), emax) >> unsigned_min_each(drops, last_bit)
        weights = where_below_each(places, unsigned_min_each(bounds, end), weights, spread(0, emax))
        added = added + added_products(2, slot + lane, lanes, signed_weights(weights, negative), setup)
    return added
