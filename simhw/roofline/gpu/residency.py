"""What a cache takes off a streaming kernel's traffic, where a large L2 keeps what earlier kernels left in it.

The L2 of a large GPU has two halves.  What fits one of them comes fastest, for every multiprocessor has a near half and
keeps copies there.  From the near half to about two thirds of the whole the far half serves too.  Beyond, lines are
thrown out before they are used again, and soon everything comes from memory: replacement is about least recently used,
so that a tensor a little too large finds nothing of itself.
"""

from typing import Self

from pydantic import model_validator

from simhw.machine.described import Section
from simhw.roofline.quantities import Count, Rate


class Residency(Section):
    """How much of a kernel's data the L2 serves, and how fast.

    Attributes
    ----------
    near_bytes, resident_bytes, spilled_bytes : int
        Largest traffic that the near half serves; that the L2 serves alone; from which memory serves all.
    near_bytes_per_s, far_bytes_per_s : float
        Of the traffic up to `near_bytes`, and of what is above.
    """

    near_bytes: Count
    resident_bytes: Count
    spilled_bytes: Count
    near_bytes_per_s: Rate
    far_bytes_per_s: Rate

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.near_bytes <= self.resident_bytes < self.spilled_bytes:
            raise ValueError("needs near_bytes <= resident_bytes < spilled_bytes")
        return self

    def missing(self, moved: float) -> float:
        """Share of a kernel's traffic [bytes] that memory serves: 0 to 1."""
        span = self.spilled_bytes - self.resident_bytes
        return min(max((moved - self.resident_bytes) / span, 0.0), 1.0)

    def cached_s(self, moved: float) -> float:
        """Seconds that the L2 takes for so many bytes, all of them in it."""
        near = min(moved, float(self.near_bytes))
        return near / self.near_bytes_per_s + (moved - near) / self.far_bytes_per_s
