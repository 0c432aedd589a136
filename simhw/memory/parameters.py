"""What surrounds the tiles: off-chip memory, global buffers, scratchpads and transposers, and how operations are
blocked for them.

Source: spec pages fpraker.md section 4, tensordash.md section 3; every value stands in the machine file.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from simhw.machine.described import Section
from simhw.memory.blocking import parse_blocking
from simhw.memory.dram import DramParameters

Count = Annotated[int, Field(ge=1, le=1 << 20)]
"""Of memories, and values along an axis of a container: a million is beyond any chip."""
MAX_BYTES = 1 << 40
"""Of one memory: a terabyte."""
Bytes = Annotated[int, Field(ge=1, le=MAX_BYTES)]
Compression = Literal["none", "bdc", "zero"]
BaselineCompression = Literal["same", "none", "bdc", "zero"]
"""Of a machine's baseline; ``same`` is that of the machine."""


class Buffer(Section):
    """A global buffer, which holds blocks of one tensor.

    Attributes
    ----------
    instances : int
        Copies of the banks (one, or one per tile), over which blocks are spread evenly.
    banks : int
        Of one instance; each serves an access per cycle.
    bank_bytes, access_bytes : int
        Capacity of a bank, and what an access moves: channel-consecutive values.
    """

    instances: Count
    banks: Count
    bank_bytes: Bytes
    access_bytes: Bytes

    @property
    def capacity_bytes(self) -> int:
        """Of all banks."""
        return self.instances * self.banks * self.bank_bytes


class Buffers(Section):
    """The buffers of A (activations), W (weights) and G (gradients and outputs, which have its shape)."""

    a: Buffer
    w: Buffer
    g: Buffer


class Scratchpads(Section):
    """Memories beside the PEs.

    Attributes
    ----------
    banks : int
        That make up one.
    operand_bytes : int
        For each row of X and each row of Y that a tile takes.
    partial_bytes : int
        For the partial sums of each row of PEs.
    """

    banks: Count
    operand_bytes: Bytes
    partial_bytes: Bytes


class Transposers(Section):
    """Units that turn a square of values; each takes an access, a row of the square, per cycle."""

    count: Count


class Container(Section):
    """The unit of layout off chip: so many channels at so many neighbouring columns of one row."""

    channels: Count
    columns: Count


class Memory(Section):
    """The memory hierarchy and the switches of its model.

    Attributes
    ----------
    model : {"modelled", "ideal"}
        ``ideal`` makes every memory free: time is that of the tiles alone.
    blocking : str
        ``auto`` searches; else loops and counts, such as ``gpoc:1x4x2x1``; see `simhw.memory.blocking`.
    steps : int
        Block steps that an operation is cut into at the most, unless its buffers force more.
    compression : {"none", "bdc", "zero"}
        Of whatever goes off chip; a tensor that would grow is left as it is.
    value_bytes, partial_value_bytes : int
        Of a value, and of a partial sum that leaves the tiles.
    """

    model: Literal["modelled", "ideal"]
    blocking: str
    steps: Annotated[int, Field(ge=1, le=4096)]
    compression: Compression
    value_bytes: Annotated[int, Field(ge=1, le=8)]
    partial_value_bytes: Annotated[int, Field(ge=1, le=16)]
    container: Container
    buffers: Buffers
    scratchpads: Scratchpads
    transposers: Transposers
    dram: DramParameters

    @field_validator("blocking")
    @classmethod
    def _blocking_parses(cls, text: str) -> str:
        parse_blocking(text)
        return text

    @property
    def container_bytes(self) -> int:
        """Of a full container, uncompressed."""
        return self.container.channels * self.container.columns * self.value_bytes
