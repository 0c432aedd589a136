"""A trace: the layers of one training step and where they came from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike

from simhw.errors import TraceError, quoted
from simhw.trace.layer import Layer
from simhw.trace.metadata import Metadata
from simhw.trace.writer import layers_bytes, write_layers


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
        """Write the trace as a file, whole or not at all.

        Statistics that a whole tensor lacks are measured on the way.  One tensor is in memory at a time.

        Parameters
        ----------
        path : str or path
            Should end in ``.npz``; replaced when it exists.
        compress : bool
            Deflate the tensors: a smaller file that cannot be mapped, for bundled samples.

        Raises
        ------
        TraceError
            The trace cannot be represented: two layers of one name, a block whose sides differ in K, metadata beyond
            JSON.
        SimhwError
            The file cannot be written.
        """
        write_layers(self.layers, self.metadata, path, compress)

    def saved_bytes(self, compress: bool = False) -> int:
        """Length of the file that `save` would write; nothing is written anywhere.  Raises as it does."""
        return layers_bytes(self.layers, self.metadata, compress)

    @property
    def sampled(self) -> bool:
        """True where any layer holds a sample instead of whole tensors."""
        return any(layer.sampled for layer in self.layers)
