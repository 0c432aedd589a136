"""Where a trace came from."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Metadata:
    """Where a trace came from; every field may be empty except what the format itself adds on writing."""

    model: str = ""
    dataset: str = ""
    technique: str = ""
    framework: str = ""
    step: int | None = None
    batch: int | None = None
    seed: int | None = None
    capture_command: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
