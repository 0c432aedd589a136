"""Video networks by shape: ECO-Lite, with its 3D convolutions as they are or put together from 2D and 1D ones.

ECO-Lite (Zolfaghari et al., ECCV 2018) runs BN-Inception up to its third block on every frame, and a 3D ResNet-18
without its first stages on the 96 x 28 x 28 features of all frames of a clip.  arXiv 2407.16514 replaces its 3 x 3 x 3
convolutions:

- ``conv3d``: as they are.  ``r2plus1d``: 1 x 3 x 3, then 3 x 1 x 1, with as many parameters.
- ``prop-add``, ``prop-cat``: frames are images; a 3 x 3 convolution and, where the unit strides, a 1 x 1 that strides
  in time; beside them a 3 x 1 convolution over (time, positions); both are added, or stand side by side as twice the
  channels.
- ``p3d-a``, ``p3d-b``, ``p3d-c``: spatial then temporal, both beside each other, spatial plus temporal of spatial.
- ``rank-1``: 3 x 1 x 1, 1 x 3 x 1, 1 x 1 x 3.

The paper's 33.7 M parameters and 35.6 GFLOP are those of ECO-Lite over 16 frames with 400 classes, where the 3D part
alone is counted, in multiply-accumulates.  Its P3D networks have more parameters than the definition gives; what they
add is not published. Sources: ECCV 2018, table 1 and figure 2; spec page techniques.md, 5.5; Qiu et al., ICCV 2017
(P3D).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from simhw.errors import ShapeError
from simhw.roofline.layers.network import Conv, Linear, Network, NetworkLayer, Normalization, Pointwise, Pool

Size = tuple[int, ...]
VARIANTS = ("conv3d", "r2plus1d", "prop-cat", "prop-add", "p3d-a", "p3d-b", "p3d-c", "rank-1")
"""Networks of the paper's table, in its order."""
STAGES = ((128, 1), (256, 2), (512, 2))
"""Channels and stride of the 3D ResNet-18's last three stages, of two blocks each."""
INCEPTION = ((64, 64, 64, 64, 96, 32), (64, 64, 96, 64, 96, 64))
"""Channels of BN-Inception 3a and 3b: 1x1; 3x3 reduce and 3x3; double 3x3 reduce and both 3x3; pool projection."""


@dataclass
class _Builder:
    """Layers so far, and the features that the last of them gives out: channels and (frames, height, width)."""

    channels: int
    size: tuple[int, int, int]
    layers: list[NetworkLayer] = field(default_factory=list)

    def convolve(
        self, name: str, outputs: int, kernel: Size, stride: Size, inputs: int | None = None, size: Size | None = None
    ) -> Conv:
        """Add a convolution with `same` padding; one of two dimensions works on `size`."""
        padding = tuple(width // 2 for width in kernel)
        ones = (1,) * len(kernel)
        layer = Conv(name, inputs or self.channels, outputs, size or self.size, kernel, stride, padding, ones)
        self.layers.append(layer)
        return layer

    def normalise(self, name: str, channels: int, positions: int, activate: bool = True) -> None:
        self.layers.append(Normalization(f"{name}_bn", "batchnorm", channels, channels * positions))
        if activate:
            self.layers.append(Pointwise(f"{name}_relu", "relu", channels * positions))


Unit = Callable[[_Builder, str, int, int], int]
"""Adds what takes a 3 x 3 x 3 convolution's place: name, channels out, stride; gives the channels that come out."""


def eco_lite(variant: str = "conv3d", frames: int = 16, classes: int = 400) -> Network:
    """ECO-Lite on clips of a few frames of 224 x 224; one sample is one clip.

    Frames of a clip are stacked along the height wherever each is an image of its own, which leaves products and bytes
    as they are.

    Parameters
    ----------
    variant : str
        One of `VARIANTS`.
    frames : int
        A multiple of 4.
    classes : int

    Raises
    ------
    ShapeError
        There is no such variant, or the frames are no multiple of 4.
    """
    if variant not in _UNITS:
        raise ShapeError(f"no 3D variant {variant!r}: give one of {', '.join(VARIANTS)}")
    if frames < 4 or frames % 4:
        raise ShapeError(f"{frames} frames; give a multiple of 4")
    layers, channels = _frame_network(frames)
    build = _Builder(channels, (frames, 28, 28), layers)
    for number, (width, stride) in enumerate(STAGES, start=3):
        for block in range(2):
            _residual_block(build, f"res{number}{'ab'[block]}", width, stride if block == 0 else 1, variant)
    build.layers.append(Pool("global_pool", "average", build.channels, build.size, (1, 1, 1), build.size))
    build.layers.append(Linear("fc", build.channels, classes))
    return Network(f"eco-lite-{variant}", tuple(build.layers), "ECO-Lite, ECCV 2018; 3D part after arXiv 2407.16514")


def three_dimensional_macs(network: Network) -> int:
    """Multiply-accumulates of the part behind the frames' network, which the paper's GFLOP count."""
    return sum(layer.macs for layer in network.layers if layer.name.startswith("res"))


def _frame_network(frames: int) -> tuple[list[NetworkLayer], int]:
    """BN-Inception up to the double 3x3 branch of block 3c, on every frame."""
    build = _Builder(3, (1, 224 * frames, 224))

    def convolve(name: str, inputs: int, outputs: int, width: int, edge: int, stride: int = 1) -> None:
        layer = build.convolve(name, outputs, (width, width), (stride, stride), inputs, (edge * frames, edge))
        build.normalise(name, outputs, prod(layer.out_size))

    def pool(name: str, kind: str, channels: int, edge: int, stride: int) -> None:
        size, out = (edge * frames, edge), (edge // stride * frames, edge // stride)
        build.layers.append(Pool(name, "max" if kind == "max" else "average", channels, size, out, (3, 3)))

    convolve("conv1", 3, 64, 7, 224, 2)
    pool("pool1", "max", 64, 112, 2)
    convolve("conv2_reduce", 64, 64, 1, 56)
    convolve("conv2", 64, 192, 3, 56)
    pool("pool2", "max", 192, 56, 2)
    inputs = 192
    for block, (single, reduce, three, double_reduce, double, projection) in zip("ab", INCEPTION, strict=True):
        name = f"inception_3{block}"
        convolve(f"{name}_1x1", inputs, single, 1, 28)
        convolve(f"{name}_3x3_reduce", inputs, reduce, 1, 28)
        convolve(f"{name}_3x3", reduce, three, 3, 28)
        convolve(f"{name}_double_reduce", inputs, double_reduce, 1, 28)
        convolve(f"{name}_double_1", double_reduce, double, 3, 28)
        convolve(f"{name}_double_2", double, double, 3, 28)
        pool(f"{name}_pool", "average", inputs, 28, 1)
        convolve(f"{name}_projection", inputs, projection, 1, 28)
        inputs = single + three + double + projection
        build.layers.append(Pointwise(f"{name}_concatenate", "copy", inputs * 28 * 28 * frames))
    convolve("inception_3c_double_reduce", inputs, 64, 1, 28)
    convolve("inception_3c_double_1", 64, 96, 3, 28)
    return build.layers, 96


def _residual_block(build: _Builder, name: str, width: int, stride: int, variant: str) -> None:
    unit = _UNITS[variant]
    inputs, size = build.channels, build.size
    outputs = unit(build, f"{name}_1", width, stride)
    positions = prod(build.size)
    build.normalise(f"{name}_1", outputs, positions)
    build.channels = outputs
    outputs = unit(build, f"{name}_2", width, 1)
    build.channels = outputs
    build.normalise(f"{name}_2", outputs, positions, activate=False)
    if outputs != inputs:
        _shortcut(build, f"{name}_shortcut", inputs, outputs, size, stride, flat=variant.startswith("prop"))
        build.normalise(f"{name}_shortcut", outputs, positions, activate=False)
    build.layers.append(Pointwise(f"{name}_add", "add", outputs * positions, inputs=2))
    build.layers.append(Pointwise(f"{name}_relu", "relu", outputs * positions))


def _shortcut(build: _Builder, name: str, inputs: int, outputs: int, size: Size, stride: int, flat: bool) -> None:
    """A 1x1x1 convolution; flat, a 1x1 that strides in space and one that strides in time."""
    if not flat:
        build.convolve(name, outputs, (1, 1, 1), (stride,) * 3, inputs, size)
        return
    frames, height, width = size
    layer = build.convolve(f"{name}_space", outputs, (1, 1), (stride, stride), inputs, (frames * height, width))
    if stride > 1:
        build.convolve(f"{name}_time", outputs, (1, 1), (stride, 1), outputs, (frames, prod(layer.out_size) // frames))


def _conv3d(build: _Builder, name: str, width: int, stride: int) -> int:
    build.size = _three(build.convolve(name, width, (3, 3, 3), (stride,) * 3).out_size)
    return width


def _r2plus1d(build: _Builder, name: str, width: int, stride: int) -> int:
    """Middle channels that leave the parameters as they were (Tran et al., CVPR 2018)."""
    middle = 27 * build.channels * width // (9 * build.channels + 3 * width)
    return _chain(build, name, (((1, 3, 3), (1, stride, stride), middle), ((3, 1, 1), (stride, 1, 1), width)))


def _p3d_a(build: _Builder, name: str, width: int, stride: int) -> int:
    return _chain(build, name, (((1, 3, 3), (1, stride, stride), width), ((3, 1, 1), (stride, 1, 1), width)))


def _p3d_b(build: _Builder, name: str, width: int, stride: int) -> int:
    layer = build.convolve(f"{name}_space", width, (1, 3, 3), (stride,) * 3)
    build.convolve(f"{name}_time", width, (3, 1, 1), (stride,) * 3)
    return _added(build, name, width, layer)


def _p3d_c(build: _Builder, name: str, width: int, stride: int) -> int:
    layer = build.convolve(f"{name}_space", width, (1, 3, 3), (stride,) * 3)
    build.convolve(f"{name}_time", width, (3, 1, 1), (1, 1, 1), width, layer.out_size)
    return _added(build, name, width, layer)


def _rank_one(build: _Builder, name: str, width: int, stride: int) -> int:
    return _chain(
        build,
        name,
        (((3, 1, 1), (stride, 1, 1), width), ((1, 3, 1), (1, stride, 1), width), ((1, 1, 3), (1, 1, stride), width)),
    )


def _proposed(build: _Builder, name: str, width: int, stride: int, concatenate: bool) -> int:
    frames, height, breadth = build.size
    space = build.convolve(f"{name}_space", width, (3, 3), (stride, stride), size=(frames * height, breadth))
    positions = prod(space.out_size) // frames
    if stride > 1:
        build.convolve(f"{name}_stride", width, (1, 1), (stride, 1), width, (frames, positions))
    time = build.convolve(f"{name}_time", width, (3, 1), (stride, stride * stride), size=(frames, height * breadth))
    values = width * prod(time.out_size)
    build.size = (time.out_size[0], height // stride, breadth // stride)
    if concatenate:
        build.layers.append(Pointwise(f"{name}_concatenate", "copy", 2 * values))
        return 2 * width
    build.layers.append(Pointwise(f"{name}_sum", "add", values, inputs=2))
    return width


def _chain(build: _Builder, name: str, parts: tuple[tuple[Size, Size, int], ...]) -> int:
    """Convolutions one after another, each but the last with normalisation and activation."""
    inputs, size = build.channels, build.size
    for index, (kernel, stride, width) in enumerate(parts):
        layer = build.convolve(f"{name}_{index}", width, kernel, stride, inputs, size)
        inputs, size = width, _three(layer.out_size)
        if index < len(parts) - 1:
            build.normalise(f"{name}_{index}", width, prod(size))
    build.size = size
    return inputs


def _added(build: _Builder, name: str, width: int, layer: Conv) -> int:
    build.size = _three(layer.out_size)
    build.layers.append(Pointwise(f"{name}_sum", "add", width * prod(build.size), inputs=2))
    return width


def _three(size: Size) -> tuple[int, int, int]:
    frames, height, width = size
    return frames, height, width


_UNITS: dict[str, Unit] = {
    "conv3d": _conv3d,
    "r2plus1d": _r2plus1d,
    "prop-cat": lambda build, name, width, stride: _proposed(build, name, width, stride, concatenate=True),
    "prop-add": lambda build, name, width, stride: _proposed(build, name, width, stride, concatenate=False),
    "p3d-a": _p3d_a,
    "p3d-b": _p3d_b,
    "p3d-c": _p3d_c,
    "rank-1": _rank_one,
}
