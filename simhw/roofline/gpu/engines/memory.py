"""Tensors between memory and multiprocessors: what fits the L2 stays there from one kernel to the next."""

from simhw.roofline.gpu.engines.parameters import Memory

SHARPNESS = 3
"""Of the step between tensors that fit the L2 and such that do not: each takes the other's place bit by bit."""


def memory_seconds(moved: float, memory: Memory) -> float:
    """Time to move so many bytes, the part that lies in the L2 faster."""
    missing = 1.0 / (1.0 + (memory.resident_bytes / max(moved, 1.0)) ** SHARPNESS)
    return moved * (missing / memory.dram_bytes_per_s + (1.0 - missing) / memory.l2_bytes_per_s)
