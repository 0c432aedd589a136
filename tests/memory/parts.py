"""Layers of every kind, loop nests and memories of any size for the tests of the memory model."""

from dataclasses import dataclass
from itertools import permutations, product

from hypothesis import strategies as st

from simhw.memory.blocking import parse_blocking
from simhw.memory.parameters import Buffer, Buffers, Container, Memory, Scratchpads, Transposers
from simhw.memory.space import DIMS, space_of
from simhw.memory.steps import Job, steps_of
from simhw.trace.layer import OPERATIONS, TENSORS, Layer
from tests.lowered_layers import GEOMETRIES


def conv_shapes(images, group_in, group_out, sizes, kernel, stride, padding, dilation, groups):
    """A convolution of which only shapes are known."""
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(sizes, padding, dilation, kernel, stride, strict=True)
    ]
    shapes = {
        "a": (images, groups * group_in, *sizes),
        "w": (groups * group_out, group_in, *kernel),
        "g": (images, groups * group_out, *out),
    }
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Layer("conv", "conv", geometry, shapes=shapes)


def product_shapes(kind, a, w, g):
    return Layer(kind, kind, shapes={"a": a, "w": w, "g": g})


LAYERS = {name: conv_shapes(*geometry) for name, geometry in GEOMETRIES.items()} | {
    "3x3 wide and tall": conv_shapes(2, 2, 3, (7, 3), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "5x5 no padding": conv_shapes(1, 2, 2, (9, 6), (5, 5), (1, 1), (0, 0), (1, 1), 1),
    "2x2 stride 2": conv_shapes(2, 2, 2, (7, 4), (2, 2), (2, 2), (0, 0), (1, 1), 1),
    "linear": product_shapes("linear", (5, 7), (3, 7), (5, 3)),
    "linear of sequences": product_shapes("linear", (2, 3, 5), (4, 5), (2, 3, 4)),
    "matmul of heads": product_shapes("matmul", (2, 3, 4, 5), (2, 3, 5, 3), (2, 3, 4, 3)),
    "lone matmul": product_shapes("matmul", (4, 5), (5, 3), (4, 3)),
    "lstm gates": product_shapes("lstm", (3, 2, 5), (4, 5), (3, 2, 4)),
    "gru gates, one time step": product_shapes("gru", (1, 4, 5), (3, 5), (1, 4, 3)),
}


def memory_of(a=1 << 30, w=1 << 30, g=1 << 30, **changes):
    """A memory with buffers of so many bytes; what is not under test is FPRaker's. It has no DRAM."""
    sizes = {"a": a, "w": w, "g": g}
    buffers = Buffers(
        **{tensor: Buffer(instances=1, banks=1, bank_bytes=size, access_bytes=16) for tensor, size in sizes.items()}
    )
    parts = {
        "model": "modelled",
        "blocking": "auto",
        "steps": 32,
        "compression": "none",
        "value_bytes": 2,
        "partial_value_bytes": 4,
        "container": Container(channels=32, columns=32),
        "buffers": buffers,
        "scratchpads": Scratchpads(operand_bytes=2048, partial_bytes=2048, banks=1),
        "transposers": Transposers(count=18),
        "dram": None,
    }
    return Memory.model_construct(**(parts | changes))


ORDERS = [("g", *inner) for inner in permutations("pco")]


@st.composite
def spaces(draw):
    """Small loop nests of convolutions, with every overlap of blocks, and of batched products."""
    operation = draw(st.sampled_from(OPERATIONS))
    copies, channels, outputs = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    if draw(st.booleans()):
        rows = draw(st.integers(1, 5))
        layer = product_shapes("matmul", (copies, rows, channels), (copies, channels, outputs), (copies, rows, outputs))
    else:
        images, kernel, stride, dilation, padding = (
            draw(st.integers(*ends)) for ends in ((1, 2), (1, 3), (1, 3), (1, 2), (0, 2))
        )
        rows = draw(st.integers(max(1, dilation * (kernel - 1) + 1 - 2 * padding), 6))
        layer = conv_shapes(images, channels, outputs, (rows,), (kernel,), (stride,), (padding,), (dilation,), copies)
    return space_of(layer, operation, draw(st.integers(1, 2)))


@st.composite
def memories(draw, space):
    """Buffers from too small for anything to large enough for all."""
    sizes = {tensor: draw(st.integers(2, max(2, 3 * space.values(tensor)))) for tensor in TENSORS}
    return memory_of(
        **sizes,
        value_bytes=draw(st.sampled_from((1, 2))),
        partial_value_bytes=4,
        steps=draw(st.sampled_from((1, 4, 32))),
    )


@st.composite
def problems(draw):
    space = draw(spaces())
    return space, draw(memories(space))


def candidates(space):
    """What the search may choose from: powers of two, the images and single units, as many blocks as these cut a loop
    into.
    """
    counts = []
    for dim in DIMS:
        units = space.units[dim]
        wanted = {
            n for n in range(1, units + 1) if n & (n - 1) == 0 or n == units or (dim == "p" and n == space.images)
        }
        counts.append(sorted({len(space.cuts(dim, n)) for n in wanted}))
    for order in ORDERS:
        for blocks in product(*counts):
            yield order, tuple(blocks[DIMS.index(dim)] for dim in order)


@dataclass
class Pipe:
    """A DRAM of fixed bandwidth that serves jobs one after another, each a latency after it was handed over at the
    earliest.
    """

    bytes_per_ns: float
    latency_ns: float = 0.0
    free_ns: float = 0.0
    busy_ns: float = 0.0

    def transfer(self, first, runs, run, stride, payload_bytes, write, start_ns):  # as `Dram.transfer` has it
        assert (first, runs, run, stride) == (0, 1, 1, 1)
        taken = payload_bytes / self.bytes_per_ns
        self.free_ns = max(self.free_ns, start_ns + self.latency_ns) + taken
        self.busy_ns += taken
        return self.free_ns


def a_job(size, write):
    return Job("g" if write else "a", 0, 1, 1, 1, size, write)


UNCOMPRESSED = dict.fromkeys(TENSORS, 1.0)


def blocked_as(layer, operation, text, **buffers):
    space, memory = space_of(layer, operation, 32), memory_of(**buffers)
    return list(steps_of(space, parse_blocking(text), memory))
