"""What a device model says of one operator: how long it takes, what holds it back, and how well the device is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from simhw.roofline.operators import Operator

Limit = Literal["matrix", "vector", "dram", "l2", "buffer", "launch"]
"""What binds: the matrix unit (or FMA units), the vector unit, off-chip memory, the L2 cache, on-core buffers,
launching.
"""


@dataclass(frozen=True)
class Prediction:
    """The time of one operator on a device, and why.

    Attributes
    ----------
    operator : Operator
    seconds : float
        On the device, as a stream of kernels sees it: launch included, the framework's time not.
    times_s : mapping of limit to float
        Seconds that each resource would take if it alone held the operator back; `limit` is the longest.
    mapping : str
        How the operator is laid out on the device, in words: tile, waves, algorithm, padding.
    peak_flops_per_s : float
        The device's peak for the operator's numbers.
    dram_bytes : float
        Off-chip traffic, padding and refetches included.
    host_s : float
        Time that the framework needs to issue it.  It overlaps with earlier kernels; alone, an operator takes the
        longer of both.
    launches : int
        Kernels that it is; none where it is part of another operator's.
    latency_s : float
        Time until a kernel starts that no other runs before: in a stream it is hidden behind the kernel before.
    """

    operator: Operator
    seconds: float
    times_s: Mapping[Limit, float]
    mapping: str
    peak_flops_per_s: float
    dram_bytes: float
    host_s: float = 0.0
    latency_s: float = 0.0
    launches: int = 1

    @property
    def limit(self) -> Limit:
        """The resource that binds."""
        return max(self.times_s, key=lambda name: self.times_s[name])

    @property
    def alone_s(self) -> float:
        """Seconds where nothing runs before it, as a benchmark of one operator in a framework measures it."""
        return max(self.seconds + self.latency_s, self.host_s)

    @property
    def utilisation(self) -> float:
        """Arithmetic done over what the peak would have done in the time."""
        return self.operator.flops / self.seconds / self.peak_flops_per_s
