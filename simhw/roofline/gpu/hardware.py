"""A GPU as its data sheet and published micro-benchmarks have it; what its libraries make of it is in the other
sections of its file.
"""

from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.numbers import Number
from simhw.roofline.quantities import ByNumber, Count, Rate


class GpuHardware(Section):
    """Counts, rates and capacities (spec page roofline.md, section 1).

    Attributes
    ----------
    sms : int
        Streaming multiprocessors.
    clock_hz : float
        Boost clock, at which kernels were measured.
    matrix_flops_per_cycle : dict of number to float
        Of one multiprocessor's best unit for products: FMA units (fp32), tensor cores (fp16), dot-product instructions
        (int8).
    vector_flops_per_cycle : dict of number to float
        Of one multiprocessor's FMA units.
    dram_bytes_per_s, l2_bytes_per_s, shared_bytes_per_cycle : float
        Peak off-chip rate; measured rate of the L2; peak of one multiprocessor's shared memory.
    l2_bytes, shared_bytes, registers : int
        Capacities; registers of 32 bits and shared memory are one multiprocessor's.
    memory_bytes : int or None
        Off-chip capacity, where it is known.
    """

    sms: int = Field(ge=1, le=1 << 20)
    clock_hz: Rate
    matrix_flops_per_cycle: ByNumber[Rate]
    vector_flops_per_cycle: ByNumber[Rate]
    dram_bytes_per_s: Rate
    l2_bytes_per_s: Rate
    shared_bytes_per_cycle: Rate
    l2_bytes: Count
    shared_bytes: Count
    registers: Count
    memory_bytes: Count | None = None

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Numbers that the device has rates for."""
        return tuple(self.matrix_flops_per_cycle)

    def matrix_flops_per_s(self, number: Number) -> float:
        """Peak of all multiprocessors for products of such numbers."""
        return self.sms * self.clock_hz * self.matrix_flops_per_cycle[number]

    def vector_flops_per_s(self, number: Number) -> float:
        """Peak of all multiprocessors for elementwise arithmetic."""
        return self.sms * self.clock_hz * self.vector_flops_per_cycle[number]
