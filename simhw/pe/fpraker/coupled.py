"""FPRaker PEs whose schedules depend on their column: shared lane pointers (sync: term) or shared bounds (oob: column).

It is the general kernel: it also takes PEs that share nothing, which have no bounds (oob: off), or whose window is on
positions while every cycle rounds.
Out-of-bounds terms may need slots here, so offsets K have no small limit and do not fit a word of bits.  A lane is
instead the set of terms that the PE still has to fire, a bit per position p with the most significant lowest, and K
is computed for its first one.  Source: spec page fpraker.md, sections 3 and 6.
"""

import numba

from simhw.jit import kernel
from simhw.pe.accumulator import add_rounded, align, normalise, round_addend
from simhw.pe.fpraker.kernel import (
    LANES,
    Counts,
    column_max,
    column_or,
    fired_product,
    in_bounds_product,
    largest_product,
    least_cycles,
    serial_code,
)
from simhw.pe.vector import (
    WIDTH,
    any_lane,
    count_nonzero,
    lane_bits,
    load,
    popcount,
    reverse_bits,
    signed_max,
    spread,
    store,
    total,
    unsigned_min,
    where_negative,
    where_zero,
)

NEVER = 32767
"""A place beyond every real one: exponents differ by less than 17,000."""
SCRATCH_VECTORS = 6
POSITIONS = 9
"""Positions p from +1 to -7."""


@kernel
def coupled_sets(x, first, last, exponents, significands, tables, setup, s, exponent, times, at, scratch):
    """Sets `first` to `last` of WIDTH PEs in columns; parameters and result as `fpraker.independent_sets`.

    `scratch` holds SCRATCH_VECTORS vectors per lane: terms still to fire, those in bounds, distances below emax,
    negative digits, and of the current cycle the term that the pointer shows and its place: K + 1, or 1 - p with the
    window on positions.
    """
    extra_bits = 7 + setup.threshold - setup.fraction_bits
    one, nothing, never = spread(1, exponent), spread(0, exponent), spread(NEVER, exponent)
    window, column = spread(setup.window, exponent), setup.column
    last_bit = spread(lane_bits(exponent) - 1, exponent)
    # The weight of position p = +1 with T fraction bits is 2**(T + 1); a reversed word has it in its highest bit.
    unused = spread(lane_bits(exponent) - 2 - setup.threshold, exponent)
    bounds, distances, negatives = LANES * WIDTH, 2 * LANES * WIDTH, 3 * LANES * WIDTH
    currents, places = 4 * LANES * WIDTH, 5 * LANES * WIDTH
    floor = spread(setup.floor, exponent)
    useful, shift_range, no_term, short = 0, 0, 0, 0
    for index in range(first, last):
        k = index * LANES
        largest = largest_product(x, k, exponents, exponent)
        emax = signed_max(exponent, largest)
        s = align(s, exponent, emax)
        added = spread(0, s)
        for lane in range(LANES):
            code_exponent, code = serial_code(x[k + lane])
            parallel = load(exponents, (k + lane) * WIDTH)
            distance = emax - parallel - spread(code_exponent, emax)
            negative, product = in_bounds_product(
                code, unsigned_min(distance, last_bit), load(significands, (k + lane) * WIDTH), tables
            )
            added = added + product
            terms = where_negative(parallel, nothing, spread(tables.positions[code], emax))
            # K <= T for the first T + 2 - d positions.
            inside = unsigned_min(
                signed_max(spread(setup.threshold + 2, emax) - distance, nothing), spread(POSITIONS, emax)
            )
            in_bounds = terms & ((one << inside) - one)
            useful += total(popcount(in_bounds))
            store(scratch, bounds + lane * WIDTH, in_bounds)
            pending = in_bounds
            if setup.no_bounds:
                pending = terms
            elif setup.column_bounds:
                pending = terms & column_or(in_bounds, column)
            store(scratch, lane * WIDTH, pending)
            store(scratch, distances + lane * WIDTH, distance)
            store(scratch, negatives + lane * WIDTH, negative)
        if not setup.per_cycle:
            s = add_rounded(s, added, extra_bits)
        busy_cycles = nothing
        while True:
            busy, base = nothing, never
            for lane in range(LANES):
                own = load(scratch, lane * WIDTH)
                current = _current(own, setup)
                place = popcount(current - one)
                if not setup.on_position:
                    place = place + load(scratch, distances + lane * WIDTH)
                place = where_zero(current, never, place)
                busy = busy | own
                base = unsigned_min(base, place)
                store(scratch, currents + lane * WIDTH, current)
                store(scratch, places + lane * WIDTH, place)
            if not any_lane(busy):
                break
            limit = base + window
            busy_cycles = busy_cycles + where_zero(busy, nothing, one)
            no_term += LANES * count_nonzero(busy)
            added = spread(0, s)
            for lane in range(LANES):
                own = load(scratch, lane * WIDTH)
                current = load(scratch, currents + lane * WIDTH)
                fired = where_negative(limit - load(scratch, places + lane * WIDTH), nothing, current)
                in_bounds = fired & load(scratch, bounds + lane * WIDTH)
                shift_range += count_nonzero(current) - count_nonzero(fired)
                # A lane without terms of its own, and a slot that fires as a zero, do no useful work.
                no_term -= count_nonzero(own) - count_nonzero(fired ^ in_bounds)
                store(scratch, lane * WIDTH, own ^ fired)
                if setup.per_cycle:
                    distance = unsigned_min(load(scratch, distances + lane * WIDTH), last_bit)
                    weight = (reverse_bits(in_bounds) >> unused) >> distance
                    negative = load(scratch, negatives + lane * WIDTH)
                    added = added + fired_product(weight, negative, load(significands, (k + lane) * WIDTH))
            if setup.per_cycle:
                s = s + round_addend(added, extra_bits)
        s, exponent = normalise(s, emax, setup.fraction_bits)
        least = least_cycles(largest, floor, setup)
        own_time = column_max(busy_cycles, column) if setup.shared_pointers else busy_cycles
        short += total(signed_max(least - own_time, nothing))
        time = signed_max(busy_cycles, least)
        store(times, at, time if setup.own_pace else column_max(time, column))
        at += WIDTH
    return s, exponent, Counts(useful, shift_range, no_term, LANES * short)


@numba.njit(inline="always")
def _current(own, setup):
    """The term that the lane's pointer shows, where this PE still has to fire it: its own next, or the column's."""
    if setup.shared_pointers:
        shared = column_or(own, setup.column)
        return own & shared & -shared
    return own & -own
