"""The limits of an FPRaker machine, from its terms alone to its tile passes.

The order follows a term's way: within its PE first, then through the column and the tile, then the choice of what is
serial.  Source: MICRO 2021, sections 3 and 4.
"""

from collections.abc import Iterator
from dataclasses import replace

from simhw.pe.fpraker.kernel import LANES
from simhw.pe.fpraker.parameters import BIT_SLOTS, DEEPEST_BUFFER, FARTHEST_AHEAD, WIDEST_WINDOW, FPRakerValues
from simhw.pe.ladder import PassTotals, Rung, share

_OWN_CLASSES = ("useful", "shift_range", "no_term", "exponent")


def _terms(_: FPRakerValues, totals: PassTotals) -> float:
    """Terms that meet a value which is not zero, a lane each: eight lanes take a set's in as many cycles as the mean
    lane has.
    """
    return share(totals.counters["processed"] + totals.counters["skipped_oob"], totals.fed_macs)


def _own_pace(values: FPRakerValues, totals: PassTotals) -> float:
    """Cycles that the PEs with both rows take for a set by themselves, as if none waited for another."""
    tile = values.tile
    # A PE without a row takes the least that a set can: that is the tile's emptiness, not its pace.
    empty = tile.rows * tile.cols * totals.sets - totals.filled_sets
    least = 0 if tile.empty_sets == "skip" else tile.exponent_sharing
    own = sum(totals.counters[name] for name in _OWN_CLASSES) / LANES
    return share(own - empty * least, totals.filled_sets)


def ladder(values: FPRakerValues) -> Iterator[Rung]:
    """The rungs of a machine."""
    for rung in _with_the_better_operand(values):
        yield replace(rung, best_operand=True)
    yield Rung("serial operand", "the machine chooses which operand is serial by its terms, not by trying both")


def _with_the_better_operand(values: FPRakerValues) -> Iterator[Rung]:
    off = {
        "pe.shift_window": WIDEST_WINDOW,
        "pe.oob": "off",
        "tile.exponent_sharing": 1,
        "tile.sync": "pe",
        "tile.buffers.a": DEEPEST_BUFFER,
        "tile.buffers.b": DEEPEST_BUFFER,
    }
    yield Rung(
        "terms alone",
        f"the ideal: every lane always has a term, and of {BIT_SLOTS} bits of a value only its terms take time",
        dict(off),
        _terms,
    )
    yield Rung(
        "lanes of a set",
        "the lanes of a PE begin a set together, so that all wait for the value with the most terms; a set takes a "
        "cycle at least",
        dict(off),
        _own_pace,
    )
    switches = (
        ("shift window", "pe.shift_window", "a lane waits whose term lies beyond this cycle's window"),
        ("out of bounds", "pe.oob", "terms that the accumulator would lose take no time: this one saves some"),
        (
            "exponent sharing",
            "tile.exponent_sharing",
            "PEs take turns at an exponent block, the fewest cycles of a set",
        ),
    )
    for limit, name, meaning in switches:
        del off[name]
        yield Rung(limit, meaning, dict(off), _own_pace)
    yield Rung("tile pass", "PEs end a pass together: those with few terms wait for the one with the most", dict(off))
    ahead = "tile.buffers.b" if values.tile.sync == "pe" else "tile.run_ahead"
    yield Rung(
        "column synchronisation",
        "the PEs of a column wait for each other, after every set or as far as their buffers let them",
        {ahead: DEEPEST_BUFFER if values.tile.sync == "pe" else FARTHEST_AHEAD},
    )
    yield Rung("run-ahead", "columns wait for each other where they are too many sets apart")
