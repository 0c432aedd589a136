"""A training step of a full-size network, with the values that a narrow one of the same build had in training.

Shapes come from the full network's list of layers.  Each layer gets the values of the narrow layer that does its work.
They are laid out again and again, block by block: a block is a whole narrow layer of one captured sample, so that
zeros, signs and exponents keep their pattern along every set of a reduction, whichever way it runs.  Which sample fills
a block of positions is drawn; A and G of a layer take the same one there.  Blocks of weights get a sign each, drawn as
well: repeated blocks would otherwise add up as if they were one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, prod

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.errors import WorkloadError
from simhw.roofline.layers.network import Conv, Linear, MatMul, Network, RecurrentLayer
from simhw.roofline.operators import GATES
from simhw.trace.geometry import CONVOLUTIONS, RECURRENT, Geometry
from simhw.trace.layer import OPERANDS, Layer, TensorName
from simhw.trace.metadata import Metadata
from simhw.trace.trace import Trace

SIGN = np.uint16(0x8000)
Shapes = dict[TensorName, tuple[int, ...]]


def full_size_step(narrow: Trace, network: Network, samples: int, seed: int) -> Trace:
    """The step of a network on so many samples, with values drawn from the captured step of a narrow one.

    Values are made when they are read, a tensor at a time.  A layer runs the operations that its narrow layer ran.

    Parameters
    ----------
    narrow : Trace
        Whole tensors.
    network : Network
        The full-size one.
    samples : int
        Simulations grow them to a batch.
    seed : int

    Returns
    -------
    Trace
        ``metadata.extra["full_size"]`` tells of each layer which narrow one gave its values.

    Raises
    ------
    WorkloadError
        The narrow trace is a sample, or has no layer of a kind that the network has.
    """
    if narrow.sampled:
        raise WorkloadError(f"{narrow.path or 'the trace'}: is a sample; a full-size step needs whole tensors")
    shaped = list(_shaped(network, samples))
    roles = _roles(shaped, narrow)
    layers = [
        _drawn(full, role, np.random.default_rng([seed, index]))
        for index, (full, role) in enumerate(zip(shaped, roles, strict=True))
    ]
    told = {full.name: role.name for full, role in zip(shaped, roles, strict=True)}
    metadata = Metadata(
        model=network.name,
        dataset=narrow.metadata.dataset,
        technique=narrow.metadata.technique,
        batch=samples,
        seed=seed,
        extra={"full_size": told},
    )
    return Trace(layers, metadata)


@dataclass(frozen=True)
class _Shaped:
    """A product of the full network: what a trace's layer is without values."""

    name: str
    kind: str
    geometry: Geometry | None
    shapes: Shapes


def _shaped(network: Network, samples: int) -> Iterator[_Shaped]:
    """The products of a network on so many samples, in order."""
    for layer in network.layers:
        match layer:
            case Conv():
                weights = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel)
                shapes: Shapes = {
                    "a": (samples, layer.in_channels, *layer.size),
                    "w": weights,
                    "g": (samples, layer.out_channels, *layer.out_size),
                }
                geometry = Geometry(layer.stride, layer.padding, layer.dilation, layer.groups)
                yield _Shaped(layer.name, f"conv{len(layer.size)}d", geometry, shapes)
            case Linear():
                rows = (samples, layer.rows) if layer.rows > 1 else (samples,)
                yield _Shaped(layer.name, "linear", None, _matrices(rows, layer.in_features, layer.out_features))
            case MatMul():
                products = samples * layer.products
                shapes = {
                    "a": (products, layer.m, layer.k),
                    "w": (products, layer.k, layer.n),
                    "g": (products, layer.m, layer.n),
                }
                yield _Shaped(layer.name, "matmul", None, shapes)
            case RecurrentLayer():
                gates = GATES[layer.cell] * layer.hidden
                for part, inputs in (("weight_ih", layer.inputs), ("weight_hh", layer.hidden)):
                    if inputs:
                        shapes = _matrices((layer.steps, samples), inputs, gates)
                        yield _Shaped(f"{layer.name}.{part}", "gru" if layer.cell == "gru" else "lstm", None, shapes)


def _matrices(rows: tuple[int, ...], inputs: int, outputs: int) -> Shapes:
    return {"a": (*rows, inputs), "w": (outputs, inputs), "g": (*rows, outputs)}


# Which narrow layer gives its values


def _roles(shaped: Sequence[_Shaped], narrow: Trace) -> list[Layer]:
    """For each product of the full network the narrow layer of the same work.

    That of its name; of several passes of one layer that with the most values.  Networks differ in depth and in names:
    otherwise the layer of its kind that is most alike in kernel, stride, and outputs for each input, and then in depth.
    """
    named: dict[str, Layer] = {}
    for layer in narrow.layers:
        for name in {layer.name, layer.name.partition("#")[0]}:
            if name not in named or (name != layer.name and _values(layer) > _values(named[name])):
                named[name] = layer
    return [
        named[full.name]
        if full.name in named and named[full.name].kind == full.kind
        else _most_alike(full, index / len(shaped), narrow)
        for index, full in enumerate(shaped)
    ]


def _values(layer: Layer) -> int:
    return sum(prod(shape) for shape in layer.shapes.values())


def _most_alike(full: _Shaped, depth: float, narrow: Trace) -> Layer:
    alike = [(index, layer) for index, layer in enumerate(narrow.layers) if layer.kind == full.kind]
    if not alike:
        raise WorkloadError(
            f"layer {full.name!r} of the full-size network is a {full.kind}, and the narrow trace has none; give it a "
            "trace of a network of the same build"
        )

    def unlike(place: tuple[int, Layer]) -> float:
        index, layer = place
        ratio = abs(_outputs_per_input(full.kind, full.shapes) - _outputs_per_input(layer.kind, layer.shapes))
        form = full.shapes["w"][2:] != layer.shapes["w"][2:] if full.kind in CONVOLUTIONS else False
        stride = full.geometry is not None and full.geometry.stride != layer.geometry.stride
        return 10 * form + 2 * stride + ratio + abs(depth - index / len(narrow.layers))

    return min(alike, key=unlike)[1]


def _outputs_per_input(kind: str, shapes: Shapes) -> float:
    """Logarithm of how many outputs a product has for each value that it reduces."""
    weights = shapes["w"]
    outputs, inputs = (weights[-1], weights[-2]) if kind == "matmul" else weights[:2]
    return log(outputs / inputs)


# Its values, laid out


def _drawn(full: _Shaped, role: Layer, draw: np.random.Generator) -> Layer:
    """A full-size layer with a narrow one's values."""
    held = {tensor for operation in role.operations for tensor in OPERANDS[operation]}
    number = int(draw.integers(1 << 62))
    sources = {
        tensor: DrawnTensor(role, tensor, full.shapes[tensor], number) if tensor in held else None
        for tensor in ("a", "w", "g")
    }
    return Layer(
        full.name,
        full.kind,
        full.geometry,
        sources["a"],
        sources["w"],
        sources["g"],
        operations=role.operations,
        shapes=full.shapes,
        scales=role.scales,
    )


@dataclass(frozen=True)
class DrawnTensor:
    """A tensor of a full-size layer, made of a narrow one's when it is read.

    Attributes
    ----------
    role : Layer
    tensor : {"a", "w", "g"}
    shape : tuple of int
        Of the full-size tensor.
    seed : int
        The same for all tensors of a layer.
    """

    role: Layer
    tensor: TensorName
    shape: tuple[int, ...]
    seed: int

    def read(self) -> BF16Array:
        """The values; the same at every call."""
        values = self.role.source(self.tensor).read()
        if self.role.kind == "matmul":
            return self._of_products(values)
        if self.tensor == "w":
            return self._of_weights(values)
        if self.role.kind in RECURRENT:
            # (time, batch, features): samples first, as others have them.
            turned = self._of_samples(values.swapaxes(0, 1), 2, (self.shape[1], self.shape[0], self.shape[2]))
            return np.ascontiguousarray(turned.swapaxes(0, 1))
        if self.role.kind in CONVOLUTIONS:
            return self._of_samples(values, 1, self.shape)
        rows = values.reshape(len(values), -1, values.shape[-1])
        return self._of_samples(rows, 2, (self.shape[0], prod(self.shape[1:-1]), self.shape[-1])).reshape(self.shape)

    def _of_samples(self, values: BF16Array, channel_axis: int, shape: tuple[int, ...]) -> BF16Array:
        """Blocks of positions, each of one narrow sample; channels are repeated."""
        tiles = [-(-full // own) for full, own in zip(shape, values.shape, strict=True)]
        tiles[0], tiles[channel_axis] = shape[0], 1
        chosen = np.random.default_rng(self.seed).integers(len(values), size=tiles)
        if shape[0] == len(values) and prod(tiles) == shape[0]:
            chosen = np.arange(shape[0]).reshape(tiles)
        places = np.ogrid[tuple(slice(full) for full in shape)]
        blocks = [
            place if axis == 0 else place * 0 if axis == channel_axis else place // values.shape[axis]
            for axis, place in enumerate(places)
        ]
        within = [place % own for place, own in zip(places[1:], values.shape[1:], strict=True)]
        return np.ascontiguousarray(values[(chosen[tuple(blocks)], *within)])

    def _of_weights(self, values: BF16Array) -> BF16Array:
        """Blocks of outputs and inputs, each with a sign."""
        index = np.ix_(*(np.arange(full) % own for full, own in zip(self.shape, values.shape, strict=True)))
        tiles = [-(-full // own) for full, own in zip(self.shape[:2], values.shape[:2], strict=True)]
        signs = np.random.default_rng(self.seed).integers(2, size=tiles).astype(np.uint16) * SIGN
        signs[0, 0] = 0
        blocks = np.ix_(*(np.arange(full) // own for full, own in zip(self.shape[:2], values.shape[:2], strict=True)))
        return np.ascontiguousarray(
            values[index] ^ signs[blocks].reshape(*self.shape[:2], *(1 for _ in self.shape[2:]))
        )

    def _of_products(self, values: BF16Array) -> BF16Array:
        """Each product is one of the narrow ones, its rows and columns repeated."""
        matrices = values.reshape(-1, *values.shape[-2:])
        chosen = np.random.default_rng(self.seed).integers(len(matrices), size=self.shape[0])
        rows, columns = (np.arange(full) % own for full, own in zip(self.shape[1:], matrices.shape[1:], strict=True))
        return np.ascontiguousarray(matrices[np.ix_(chosen, rows, columns)])
