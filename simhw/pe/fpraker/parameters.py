"""What a machine of FPRaker PEs states."""

from typing import Literal

from pydantic import Field, model_validator

from simhw.bfloat16 import Encoder
from simhw.machine.described import Section
from simhw.machine.values import Lowering, MachineValues, PEParameters, TileParameters
from simhw.pe.chunks import check_chunk
from simhw.pe.operand import XOperand

NARROW_LIMIT = 12
"""Largest threshold and accumulator width for which 16-bit words hold a lane's terms and float32 numbers their sums;
beyond, words have 32 bits.  A set's products add up to less than 2**(T + 12), in units of their last place."""
WIDEST_WINDOW, DEEPEST_BUFFER, FARTHEST_AHEAD = 65536, 16, 64
"""The most that a file may state: positions of the window, sets in a buffer, and sets that a column is ahead."""
BIT_SLOTS = 8
"""Bits of a significand: what a bit-serial PE would step through, against which skipped terms are counted."""


class FPRakerPE(PEParameters):
    """Parameters of an FPRaker PE; the machine file gives every one with its source.

    `oob_threshold` None follows `accumulator_fraction_bits`.  With ``oob: off`` every term takes its cycle, and those
    beyond the threshold fire as zeros: no hardware, but what a machine would take that left none out.
    """

    kind: Literal["fpraker"]
    lanes: Literal[8]
    encoder: Encoder
    shift_window: int = Field(ge=0, le=WIDEST_WINDOW)
    window_on: Literal["offset", "position"]
    oob_threshold: int | None = Field(ge=0, le=29)
    oob: Literal["pe", "column", "off"]
    accumulator_fraction_bits: int = Field(ge=4, le=29)
    rounding: Literal["set", "cycle"]
    chunk: Literal["off", 64]

    @model_validator(mode="after")
    def _chunk_fits_float32(self) -> "FPRakerPE":
        check_chunk(self.chunk, self.accumulator_fraction_bits)
        return self

    @property
    def threshold(self) -> int:
        """The out-of-bounds threshold T."""
        return self.accumulator_fraction_bits if self.oob_threshold is None else self.oob_threshold

    @property
    def narrow(self) -> bool:
        """True where 16-bit words and 32-bit numbers hold everything."""
        return max(self.threshold, self.accumulator_fraction_bits) <= NARROW_LIMIT


class SetBuffers(Section):
    """Sets that wait for the slowest PE before a tile with ``sync: pe`` stalls: of A at a column, of B at a row."""

    a: int = Field(ge=1, le=DEEPEST_BUFFER)
    b: int = Field(ge=1, le=DEEPEST_BUFFER)


class FPRakerTileParameters(TileParameters):
    """Parameters of an FPRaker tile; the machine file gives every one with its source.

    `run_ahead` is read where columns move on set by set (``sync: set`` and ``term``), `buffers` where every PE goes at
    its own pace (``sync: pe``).
    """

    rows: Literal[1, 2, 4, 8, 16, 32]
    sync: Literal["set", "term", "pe"]
    run_ahead: int = Field(ge=0, le=FARTHEST_AHEAD)
    buffers: SetBuffers
    exponent_sharing: Literal[1, 2]
    empty_sets: Literal["floor", "skip"]


class SerialLowering(Lowering):
    """Lowering with a choice of FPRaker's serial operand."""

    serial: XOperand


class FPRakerValues(MachineValues):
    """A machine of FPRaker PEs."""

    pe: FPRakerPE
    tile: FPRakerTileParameters
    lowering: SerialLowering
