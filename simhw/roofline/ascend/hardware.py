"""An Ascend chip as published: DaVinci cores of a cube, a vector unit and buffers; an L2 and off-chip memory that all
share.
"""

from typing import Annotated

from pydantic import Field, model_validator

from simhw.machine.described import Section
from simhw.roofline.numbers import BYTES, FORMATS, Number
from simhw.roofline.quantities import ByNumber, Count, Rate, Seconds, Share


class AscendHardware(Section):
    """Counts, capacities [bytes] and rates [bytes per cycle and core] (spec page roofline.md, section 1).

    Attributes
    ----------
    cores : int
    clock_hz : float
    cube_rows : int
        Rows of the left and columns of the right operand that the cube multiplies in a cycle.
    cube_depth : dict of number to int
        Their reduction in a cycle; also the channels of the innermost dimension C0 of the layout NC1HWC0.
    fp32_passes : float
        Cycles of the cube that a product of emulated fp32 takes for one of fp16.
    vector_bytes_per_cycle : int
        Width of the vector unit.
    l0a_bytes, l0b_bytes, l0c_bytes : int
        Buffers of the cube's left and right operand and of its accumulators.
    l1_bytes, ub_bytes : int
        Buffer of operands, and the unified buffer that the vector unit works in.
    l1_to_l0a, l1_to_l0b, l0c_to_ub, ub_to_l2, l2_read, l2_write : float
    l2_bytes : int
        Of the chip.
    dram_bytes_per_s : float
        Peak, of the chip.
    memory_bytes : int or None
        Off-chip capacity, where it is known.
    """

    cores: int = Field(ge=1, le=65536)
    clock_hz: Rate
    cube_rows: Count
    cube_depth: ByNumber[Count]
    fp32_passes: Rate
    vector_bytes_per_cycle: Count
    l0a_bytes: Count
    l0b_bytes: Count
    l0c_bytes: Count
    l1_bytes: Count
    ub_bytes: Count
    l1_to_l0a: Rate
    l1_to_l0b: Rate
    l0c_to_ub: Rate
    ub_to_l2: Rate
    l2_read: Rate
    l2_write: Rate
    l2_bytes: Count
    dram_bytes_per_s: Rate
    memory_bytes: Count | None = None

    @model_validator(mode="after")
    def _buffers_hold_fractals(self) -> "AscendHardware":
        operand = 2 * self.cube_rows * max(depth * BYTES[number] for number, depth in self.cube_depth.items())
        sums = 2 * self.cube_rows**2 * max(FORMATS[number].accumulator_bytes for number in self.cube_depth)
        for name, needed in (("l0a_bytes", operand), ("l0b_bytes", operand), ("l0c_bytes", sums)):
            if getattr(self, name) < needed:
                raise ValueError(f"{name} must hold two fractals, {needed:,} bytes")
        return self

    def __hash__(self) -> int:
        """Of what tells chips apart; tables by number have no hash."""
        return hash((self.cores, self.clock_hz, self.dram_bytes_per_s, self.l2_bytes))

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Numbers that the device has rates for."""
        return tuple(self.cube_depth)

    def cube_cycles(self, number: Number) -> float:
        """Cycles of one product of a (rows, depth) by a (depth, rows) fractal."""
        return self.fp32_passes if number == "fp32" else 1.0

    def matrix_flops_per_s(self, number: Number) -> float:
        """Peak of all cubes for products of such numbers."""
        macs = self.cube_rows**2 * self.cube_depth[number] / self.cube_cycles(number)
        return 2.0 * self.cores * self.clock_hz * macs

    def vector_flops_per_s(self, number: Number) -> float:
        """Peak of all vector units: one operation a lane and cycle.  They have no int8 arithmetic; such values are
        widened to fp16.
        """
        return self.cores * self.clock_hz * self.vector_bytes_per_cycle / max(BYTES[number], BYTES["fp16"])

    @property
    def l2_bytes_per_s(self) -> float:
        """Reads of all cores together."""
        return self.cores * self.clock_hz * self.l2_read


class Achieved(Section):
    """What operators of the vendor's library make of the hardware.

    Attributes
    ----------
    operator_s : float
        Time of an operator that is not spent on its work: dispatch by the task scheduler, instruction fetch, fill and
        drain.
    cube, vector, dram : float
        Share of the peak rate that the stage itself achieves.
    exposed : float
        Share of the shorter stages of an operator (reading, computing, writing back) that the longest does not hide.
    relayout : float
        Bytes per cycle and core, read and written, that change between the padded and the plain layout.
    """

    operator_s: Seconds
    cube: Share
    vector: Share
    dram: Share
    exposed: Annotated[float, Field(ge=0, le=1)]
    relayout: Rate

    def overlapped(self, *stages_s: float) -> float:
        """Seconds that stages take together."""
        longest = max(stages_s)
        return longest + self.exposed * (sum(stages_s) - longest)
