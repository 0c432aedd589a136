"""The simulation's inner loops, compiled: gates in order over words of streams, and the count of what toggles."""

import numba
import numpy as np

from simhw.jit import kernel


@numba.njit(inline="always")
def _popcount(word):
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(inline="always")
def _count(net, word, change, toggles, weights, energies):
    """Count the toggles of a net in one word of streams."""
    toggles[net] += _popcount(change)
    if len(energies):
        weight = weights[net]
        while change:
            lowest = change & (~change + np.uint64(1))
            energies[64 * word + _popcount(lowest - np.uint64(1))] += weight
            change ^= lowest


@numba.njit(inline="always")
def _set(net, word, value, values, counts, now, changed, toggles, weights, energies):
    """Give a net its new value in one word of streams."""
    change = value ^ values[net, word]
    if change:
        values[net, word] = value
        changed[net] = now
        if counts:
            _count(net, word, change, toggles, weights, energies)


@kernel
def run_cycles(
    first, operands, coefficients, first_gate, next_states, values, states, stimulus, observed, seen, counted, gates,
    at, began, toggles, weights, energies,
):  # fmt: skip
    """Run as many cycles as `stimulus` (cycles, bits, words) has; `values`, `states`, `seen` and the counts are filled.

    `gates` are all in order, then those that may change at each time after an edge; `at` is where each part begins.  A
    gate of which no input has changed is left out.
    """
    words, bits = values.shape[1], stimulus.shape[1]
    scratch = first_gate + len(first) - 1
    changed = np.full(len(values), -1)  # when each net last did
    now = 0
    for cycle in range(len(stimulus)):
        settled = began or cycle > 0
        counts = counted and settled
        into = energies[cycle]
        # At the edge, flip-flops and what drives the inputs take their new values together.
        for word in range(words):
            for bit in range(bits):
                _set(2 + bit, word, stimulus[cycle, bit, word], values, counts, now, changed, toggles, weights, into)
            for state in range(len(states)):
                _set(2 + bits + state, word, states[state, word], values, counts, now, changed, toggles, weights, into)
        delayed = settled and len(at) > 2
        for part in range(1, len(at) - 1) if delayed else range(1):
            since = now if settled else -1
            now += delayed
            for index in range(at[part], at[part + 1]):
                gate = gates[index]
                begin, last = first[gate], first[gate + 1] - 1
                still = True
                for step in range(begin, last + 1):
                    still = still and changed[operands[step, 0]] < since and changed[operands[step, 1]] < since
                if still:
                    continue
                for step in range(begin, last + 1):
                    a, b = operands[step, 0], operands[step, 1]
                    c0, c1 = coefficients[step, 0], coefficients[step, 1]
                    c2, c3 = coefficients[step, 2], coefficients[step, 3]
                    row = scratch + step - begin
                    for word in range(words):
                        x, y = values[a, word], values[b, word]
                        value = c0 ^ (c1 & x) ^ (c2 & y) ^ (c3 & x & y)
                        if step < last:
                            values[row, word] = value
                        else:
                            _set(first_gate + gate, word, value, values, counts, now, changed, toggles, weights, into)
        now += 1
        for state in range(len(states)):
            for word in range(words):
                states[state, word] = values[next_states[state], word]
        for index in range(len(observed)):
            for word in range(words):
                seen[cycle, index, word] = values[observed[index], word]
