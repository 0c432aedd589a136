"""What a machine of bit-parallel PEs states."""

from typing import Literal

from pydantic import Field, model_validator

from simhw.machine.values import MachineValues, PEParameters, TileParameters
from simhw.pe.chunks import check_chunk


class BitParallelPE(PEParameters):
    """Parameters of a bit-parallel PE; the machine file gives every one with its source."""

    kind: Literal["bitparallel"]
    lanes: Literal[8, 16]
    accumulator_fraction_bits: int = Field(ge=4, le=29)
    align_range: int = Field(ge=8, le=32)
    chunk: Literal["off", 64]

    @model_validator(mode="after")
    def _chunk_fits_float32(self) -> "BitParallelPE":
        check_chunk(self.chunk, self.accumulator_fraction_bits)
        return self


class BitParallelTileParameters(TileParameters):
    """A grid, and which side of it takes the rows of X: that of the machine whose baseline it is."""

    x_on: Literal["rows", "cols"]


class BitParallelValues(MachineValues):
    """A machine of bit-parallel PEs."""

    pe: BitParallelPE
    tile: BitParallelTileParameters
