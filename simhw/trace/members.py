"""How the members of a trace file are named."""

from typing import Literal

from simhw.trace.layer import Operation, TensorName

METADATA = "metadata.json"
"""The member that says what all others are."""


def tensor_member(index: int, tensor: TensorName) -> str:
    """Name of the member that holds a whole tensor of a layer."""
    return f"layers/{index:04d}/{tensor}.npy"


def block_member(index: int, operation: Operation, block: int, side: Literal["x", "y"]) -> str:
    """Name of the member that holds one side of a sampled block."""
    return f"layers/{index:04d}/{operation}/{block:04d}.{side}.npy"
