"""FPRaker PEs that wait for nobody inside a set (sync: set or pe, oob: pe): the kernel of most machines.

A set runs with as many lanes as have work: there is code for 8, 6, 4 and 2 of them, made from one text, and a set
without any costs its floor and nothing else.
"""

import numba

from simhw.jit import part
from simhw.pe.accumulator import aligned, folded, normalised
from simhw.pe.fpraker.kernel import LANES, Counts, column_max, least_cycles
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
    element,
    max_over,
    or_over,
    popcount_each,
    reverse_bits_each,
    spread_stack,
    sum_over,
    unsigned_min_each,
)
from simhw.pe.straight import straight
from simhw.pe.vector import WIDTH, any_lane, lane_bits, load, signed_max, spread, store, total, unsigned_min, widen


@straight
def _met(depth, at, lanes, s, exponent):
    """A set of `depth` lanes as it begins: of the products the largest exponent, of the lanes what is left of their
    values and terms, and the accumulator beside them.
    """
    sums = exponent_sums(depth, at, lanes, exponent)
    largest = max_over(sums)
    emax = signed_max(exponent, largest)
    distances = unsigned_min_each(emax - sums, spread(lane_bits(emax) - 1, emax))
    values, negative = values_left(depth, at, lanes, distances, exponent)
    return largest, emax, distances, values, negative, aligned(s, exponent, emax)


@straight
def _added_fired(depth, at, lanes, fired, negative, setup, to_unit, rounder, s):
    """The accumulator with the terms that fire in a cycle, rounded."""
    # A term's place grows with K, its weight shrinks with K: reversing the word turns one into the other.
    weights = signed_weights(reverse_bits_each(fired), negative)
    added = added_products(depth, at, lanes, weights, setup)
    return s + (fused(added, to_unit, rounder) - rounder)


@straight
def _cycle(terms, waiting, past, one, cycles, pending):
    """A cycle of the lanes: the terms that are left, and both counts with it."""
    left = terms & ((terms - one) | ((waiting | -waiting) << past))
    return left, cycles + unsigned_min(waiting, one), pending + sum_over(unsigned_min_each(terms, one))


@numba.njit(inline="always")
def _run_set(depth, at, lanes, setup, one, past, to_unit, s, exponent, useful, pending):
    """One set of `depth` lanes from index `at` of the serial rows.

    Gives the accumulators, the largest exponent, the cycles that each PE takes, and both counts with the set's terms
    and its lane-cycles with a term pending added.
    """
    largest, emax, distances, values, negative, s = _met(depth, at, lanes, s, exponent)
    rounder = unit_rounder(exponent)
    # None or True: LLVM has to know which, or it prepares the significands anew in every cycle.
    if setup.per_cycle is None:
        s = fused(added_products(depth, at, lanes, values, setup), to_unit, s)
    # Not before the products: those of long words leave no registers for it.
    terms = spread_stack(lanes.terms, at, exponent, depth) << distances
    if setup.on_position:
        terms = terms >> distances
    useful = useful + sum_over(popcount_each(terms))
    cycles = spread(0, exponent)
    waiting = or_over(terms)
    while any_lane(waiting):
        left, cycles, pending = _cycle(terms, waiting, past, one, cycles, pending)
        if setup.per_cycle is not None:
            s = _added_fired(depth, at, lanes, terms ^ left, negative, setup, to_unit, rounder, s)
        terms = left
        waiting = or_over(terms)
    s, exponent = normalised(s - rounder, emax, setup.fraction_bits)
    return s, exponent, largest, cycles, useful, pending


@part
def independent_sets(rows, first, last, start, exponents, significands, setup, s, exponent, sums, times, at):
    """Sets `first` to `last` of WIDTH PEs that wait for nobody inside a set; gives the lane-cycles by class.

    The window is on positions with rounding: set only; `coupled_sets` knows both together.

    Parameters
    ----------
    rows : SerialRows of pointers
        The serial operand that the PEs share; the row's sets begin with set number `start`.
    exponents, significands : pointers to K * WIDTH words
        The parallel operands, from `encode_parallel`.
    s, exponent, sums : pointers to WIDTH elements
        The accumulators, and the float32 running sums where chunking is on.
    times : pointer to words
        From index `at`, a vector per set: the cycles that it costs each PE's column (sync: pe: each PE).
    """
    align_frame()
    lanes = lanes_of(rows, exponents, significands)
    own_s, own_exponent = from_whole_numbers(load(s, 0)), load(exponent, 0)
    own_sums = load_singles(sums, own_exponent)
    nothing = spread(0, own_exponent)
    floor = spread(setup.floor, own_exponent)
    # What an empty set takes: every product's exponent is that of a zero.
    empty = least_cycles(spread(-1, own_exponent), floor, setup)
    to_unit = product_unit(setup, own_exponent)
    one = spread(setup.one, own_exponent)
    # The lowest bit and all above it, moved up by this, are what lies beyond the window.  No term has the lowest place
    # of a word, so that the farthest move leaves nothing.
    past = unsigned_min(spread(setup.window + 1, own_exponent), spread(lane_bits(own_exponent) - 1, own_exponent))
    sharing = 1 if setup.own_pace else setup.column
    step = setup.chunk_sets if setup.chunk_sets else last - first
    # Words hold a round's counts: every cycle ends a place of all lanes, so that a set has at most lane_bits of them.
    useful, pending, busy, short = nothing, nothing, nothing, nothing
    for begin in range(first, last, step):
        for index in range(begin, min(begin + step, last)):
            depth = element(rows.depths, start + index)
            slot = (start + index) * LANES
            if depth == 0:
                store(times, at, empty)
                short = short + empty
                at += WIDTH
                continue
            if depth > 4:
                if depth > 6:
                    own_s, own_exponent, largest, cycles, useful, pending = _run_set(
                        8, slot, lanes, setup, one, past, to_unit, own_s, own_exponent, useful, pending
                    )
                else:
                    own_s, own_exponent, largest, cycles, useful, pending = _run_set(
                        6, slot, lanes, setup, one, past, to_unit, own_s, own_exponent, useful, pending
                    )
            elif depth > 2:
                own_s, own_exponent, largest, cycles, useful, pending = _run_set(
                    4, slot, lanes, setup, one, past, to_unit, own_s, own_exponent, useful, pending
                )
            else:
                own_s, own_exponent, largest, cycles, useful, pending = _run_set(
                    2, slot, lanes, setup, one, past, to_unit, own_s, own_exponent, useful, pending
                )
            charged = signed_max(cycles, least_cycles(largest, floor, setup))
            busy = busy + cycles
            short = short + (charged - cycles)
            store(times, at, column_max(charged, sharing))
            at += WIDTH
        if setup.chunk_sets:
            own_sums = folded(own_s, own_exponent, setup.fraction_bits, own_sums)
            own_s, own_exponent = own_s - own_s, nothing
    store(s, 0, whole_numbers(own_s))
    store(exponent, 0, own_exponent)
    store_singles(sums, own_sums)
    terms, waited = total(widen(useful)), total(widen(pending))
    return Counts(terms, waited - terms, LANES * total(widen(busy)) - waited, LANES * total(widen(short)))
