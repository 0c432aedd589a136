"""What a graph compiler makes of a network's layers: which of them run inside the kernel before, and what changes
layout between kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from simhw.roofline.layers.network import NetworkLayer, Normalization, Pointwise
from simhw.roofline.numbers import Number


@dataclass(frozen=True)
class Compiler:
    """A graph compiler.

    Attributes
    ----------
    joins : mapping of str to bool
        Elementwise functions that do, or do not, run inside the kernel before them; ``batchnorm`` among them, which is
        one in inference.
    others : bool
        Whether those that `joins` does not name do.
    after_products : bool
        They join products (convolutions, linear layers, matmuls) and batch norms alone, and what runs inside these.
    depth : mapping of Number to int
        Channels of the innermost dimension of the layout that kernels work in; empty where that pads nothing.
    """

    joins: Mapping[str, bool] = field(default_factory=lambda: {"copy": False, "cache": False, "mul": False})
    others: bool = True
    after_products: bool = False
    depth: Mapping[Number, int] = field(default_factory=dict)

    def may_join(self, layer: NetworkLayer, training: bool) -> bool:
        """Whether a layer can run inside the kernel before it.

        In training a batch norm's statistics forbid that.
        """
        if isinstance(layer, Pointwise):
            function = layer.function
        elif isinstance(layer, Normalization) and layer.kind == "batchnorm" and not training:
            function = layer.kind
        else:
            return False
        return self.joins.get(function, self.others)


FRAMEWORK = Compiler()
"""A framework's own, for a GPU.  Copies change the layout, and a product with a gate waits for what the gate was made
of, which is the whole tensor: they stay kernels.
"""
