"""What is kept of an operator that ran."""

from dataclasses import dataclass

from simhw.roofline.layers.network import NetworkLayer


@dataclass
class OperatorRecord:
    """An operator that ran.

    Attributes
    ----------
    layer : NetworkLayer
        With sizes of the whole batch, but those of a convolution's images and of a recurrent layer's sequences.
    images : int
        Images or sequences, where the layer does not hold them; else 1.
    operator : str
        As errors name it.
    uses : int
        How many times its value is read.
    elements, read : int
        Values that it wrote, and how many of them were read in all.
    weights : tuple of str
        Parameters that the layer holds.
    constant : bool
        What it computed depends on neither inputs nor parameters.
    counts : bool
        All that it read are whole numbers or truth values.
    """

    layer: NetworkLayer
    images: int
    operator: str
    elements: int
    weights: tuple[str, ...]
    constant: bool = False
    counts: bool = False
    read: int = 0

    @property
    def uses(self) -> int:
        """How many times its value is read whole; parts of a tensor that is split add up."""
        return -(-self.read // self.elements)
