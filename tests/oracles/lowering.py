"""The three operations of a convolution by their definition, one scalar product at a time; shares nothing with
simhw.lowering.
"""

from itertools import product

import numpy as np


def contributions(a_shape, w_shape, geometry):
    """Every (output, input, weight) index triple with ``O[output] += A[input] * W[weight]``, padding left out."""
    images, _, *sizes = a_shape
    outputs, group_channels, *kernel = w_shape
    stride, padding, dilation, groups = geometry
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(sizes, padding, dilation, kernel, stride, strict=True)
    ]
    for image, o, position in product(range(images), range(outputs), product(*map(range, out))):
        group = o // (outputs // groups)
        for c, tap in product(range(group_channels), product(*map(range, kernel))):
            place = [y * s + k * d - p for y, s, k, d, p in zip(position, stride, tap, dilation, padding, strict=True)]
            if all(0 <= i < n for i, n in zip(place, sizes, strict=True)):
                yield (image, o, *position), (image, group * group_channels + c, *place), (o, c, *tap)


def count(a_shape, w_shape, geometry):
    """Products of two values in each of the three operations: they are the same triples, each read with another index
    as its output.
    """
    return sum(1 for _ in contributions(a_shape, w_shape, geometry))


def forward(a, w, geometry, out_shape):
    result = np.zeros(out_shape)
    for output, source, weight in contributions(a.shape, w.shape, geometry):
        result[output] += a[source] * w[weight]
    return result


def input_grad(a, w, g, geometry):
    result = np.zeros(a.shape)
    for output, source, weight in contributions(a.shape, w.shape, geometry):
        result[source] += g[output] * w[weight]
    return result


def weight_grad(a, w, g, geometry):
    result = np.zeros(w.shape)
    for output, source, weight in contributions(a.shape, w.shape, geometry):
        result[weight] += g[output] * a[source]
    return result
