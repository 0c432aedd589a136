"""Layers for the tests of lowering, and the products that it makes of them."""

from math import prod

import numpy as np

from simhw.bfloat16 import to_float32
from simhw.trace.layer import Layer


def integers(rng, *shape):
    """Small integers: exact in bfloat16 and in any order of summation, so results compare with ==."""
    return rng.integers(-3, 4, size=shape).astype(np.float32)


def numbered(*shape):
    """Bit patterns that name their place: element i of the flat tensor is i + 1 (0 is left for padding)."""
    return np.arange(1, prod(shape) + 1, dtype=np.uint16).reshape(shape)


def conv_layer(seed, images, group_in, group_out, sizes, kernel, stride, padding, dilation, groups):
    rng = np.random.default_rng(seed)
    a = integers(rng, images, groups * group_in, *sizes)
    w = integers(rng, groups * group_out, group_in, *kernel)
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(sizes, padding, dilation, kernel, stride, strict=True)
    ]
    g = integers(rng, images, groups * group_out, *out)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Layer("conv", "conv", geometry, a=a, w=w, g=g)


def values(bits):
    return to_float32(bits).astype(np.float64)


def products(families):
    """(family, product index, X Y^T in float64) of every product."""
    for family in families:
        for index in range(family.count):
            x, y = family.product(index)
            assert x.shape == (family.m, family.k())
            assert y.shape == (family.n, family.k())
            yield family, index, values(x.rows(0, family.m)) @ values(y.rows(0, family.n)).T


# images, channels and outputs of a group, sizes, kernel, stride, padding, dilation, groups
GEOMETRIES = {
    "3x3 same": (2, 3, 2, (5, 6), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "3x3 stride 2": (2, 3, 2, (6, 7), (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "1x1 stride 2": (2, 5, 3, (4, 5), (1, 1), (2, 2), (0, 0), (1, 1), 1),
    "even kernel stride 2": (1, 2, 2, (7, 6), (4, 2), (2, 2), (1, 0), (1, 1), 1),
    "unused tail": (1, 2, 2, (8, 9), (3, 3), (3, 3), (0, 0), (1, 1), 1),
    "7x7 stride 2 padding 3": (1, 3, 2, (9, 9), (7, 7), (2, 2), (3, 3), (1, 1), 1),
    "stride 2 dilation 2": (1, 2, 2, (9, 8), (3, 3), (2, 2), (2, 1), (2, 2), 1),
    "stride 2 dilation 3": (1, 2, 2, (10, 9), (3, 2), (2, 2), (1, 2), (3, 3), 1),
    "unequal per dimension": (2, 2, 3, (6, 9), (2, 3), (1, 3), (0, 2), (2, 1), 1),
    "grouped": (2, 2, 3, (5, 4), (3, 3), (1, 2), (1, 1), (1, 1), 3),
    "depthwise": (2, 1, 1, (5, 5), (3, 3), (2, 2), (1, 1), (1, 1), 4),
    "depthwise multiplier": (1, 1, 2, (4, 5), (3, 3), (1, 1), (1, 1), (1, 1), 3),
    "1d": (2, 3, 2, (11,), (3,), (2,), (1,), (2,), 1),
    "3d": (1, 2, 2, (4, 3, 5), (2, 3, 2), (2, 1, 2), (1, 0, 1), (1, 1, 2), 1),
    "padding beyond the kernel": (1, 2, 2, (2, 2), (1, 1), (1, 1), (2, 2), (1, 1), 1),
    "stride beyond the input": (1, 2, 2, (2, 2), (2, 2), (5, 5), (0, 0), (1, 1), 1),
}
