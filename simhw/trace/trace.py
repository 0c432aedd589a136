"""A trace: the layers of one training step and where they came from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from simhw.errors import TraceError, quoted
from simhw.trace.layer import Layer


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


@dataclass(eq=False)
class Trace:
    """The layers of one training step, in the order they ran forward.

    Attributes
    ----------
    layers : list of Layer
    metadata : Metadata
    path : str
        The file it was read from; empty for one made in memory.

    Raises
    ------
    TraceError
        What is given is no list of layers, or no Metadata.
    """

    layers: list[Layer]
    metadata: Metadata = field(default_factory=Metadata)
    path: str = ""

    def __init__(self, layers: Sequence[Layer], metadata: Metadata | None = None, path: str = "") -> None:
        self.layers = list(layers) if isinstance(layers, Iterable) else []
        if not isinstance(layers, Iterable) or not all(isinstance(layer, Layer) for layer in self.layers):
            raise TraceError(f"a trace has a list of layers, not {quoted(layers)}")
        if not isinstance(metadata, Metadata | None):
            raise TraceError(f"the metadata of a trace are {quoted(metadata)}; give a Metadata")
        self.metadata = metadata or Metadata()
        self.path = path

    def save(self, path: str | PathLike[str], compress: bool = False) -> None:
        """Write the trace as an ``.npz`` file; see `simhw.trace.format.write_trace`."""
        from simhw.trace.format import write_trace

        write_trace(self, path, compress=compress)

    @property
    def sampled(self) -> bool:
        """True where any layer holds a sample instead of whole tensors."""
        return any(layer.sampled for layer in self.layers)
