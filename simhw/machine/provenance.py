"""Where a constant comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """Where a constant comes from: a source, the confidence in it, from 0 to 1, and its relative uncertainty."""

    source: str
    confidence: float
    uncertainty: float = 0.0
