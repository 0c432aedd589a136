"""The switches of an FPRaker PE and its tile as plain numbers, in the form that the replay takes."""

from typing import NamedTuple

from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters

LANES = 8
BEYOND = 1 << 20
"""A window that every offset lies within, and a pending offset that no lane has: exponents differ by less."""


class Switches(NamedTuple):
    """The switches of the PE and its tile as plain integers; `chunk_sets` is 0 where chunking is off.

    `a_depth`, `b_depth`: how many sets a PE may be ahead of the slowest of its column, and of its row.
    """

    threshold: int
    window: int
    on_position: bool
    fraction_bits: int
    per_cycle: bool
    chunk_sets: int
    floor: int
    skip_empty: bool
    a_depth: int
    b_depth: int
    shared_pointers: bool
    own_pace: bool
    column_bounds: bool
    no_bounds: bool


def switches_of(pe: FPRakerPE, tile: FPRakerTileParameters) -> Switches:
    """The switches in the form that the kernel takes."""
    return Switches(
        threshold=pe.threshold,
        window=min(pe.shift_window, BEYOND),
        on_position=pe.window_on == "position",
        fraction_bits=pe.accumulator_fraction_bits,
        per_cycle=pe.rounding == "cycle",
        chunk_sets=0 if pe.chunk == "off" else pe.chunk // LANES,
        floor=tile.exponent_sharing,
        skip_empty=tile.empty_sets == "skip",
        # The PEs of a column that waits at the end of every set are never ahead of each other.
        a_depth=tile.buffers.a if tile.sync == "pe" else 0,
        b_depth=tile.buffers.b if tile.sync == "pe" else tile.run_ahead,
        shared_pointers=tile.sync == "term",
        own_pace=tile.sync == "pe",
        column_bounds=pe.oob == "column",
        no_bounds=pe.oob == "off",
    )
