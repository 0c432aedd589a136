"""Lowering must not dominate a simulation: rows at about a nanosecond a value, preparation at less per tensor value."""

import numpy as np
import pytest

from simhw.lowering import lower
from simhw.trace.layer import Layer

# Several times what was measured on a busy machine (0.1 to 1.4 and 0.04 to 0.6 ns): a benchmark fails when a fast path
# is lost, not when the machine is busier.
LARGEST_NS_PER_VALUE = 5.0
LARGEST_NS_PER_TENSOR_VALUE = 4.0


def layer(channels, outputs, size, kernel, stride):
    rng = np.random.default_rng(0)
    padding = kernel // 2
    out = (size + 2 * padding - kernel) // stride + 1
    shapes = {"a": (4, channels, size, size), "w": (outputs, channels, kernel, kernel), "g": (4, outputs, out, out)}
    tensors = {name: rng.integers(0, 1 << 16, size=shape).astype(np.uint16) for name, shape in shapes.items()}
    return Layer("conv", "conv", {"stride": stride, "padding": padding}, **tensors)


LAYERS = {
    "3x3": (64, 64, 56, 3, 1),
    "3x3 stride 2": (128, 128, 56, 3, 2),
    "7x7 stem": (3, 64, 224, 7, 2),
    "1x1 deep": (1024, 256, 14, 1, 1),
}


def every_row(family):
    """Gather all rows of X of up to 8 products, 16 rows at a time, and give the number of values."""
    total = 0
    for index in range(min(family.count, 8)):
        x, _ = family.product(index)
        for start in range(0, family.m, 16):
            total += x.rows(start, start + 16).size
    return total


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
def test_rows_are_gathered_at_memory_speed(benchmark, name, operation):
    family = lower(layer(*LAYERS[name]), operation, 8)[0]
    values = every_row(family)
    benchmark(every_row, family)
    ns_per_value = benchmark.stats.stats.min / values * 1e9
    benchmark.extra_info["ns_per_value"] = ns_per_value
    assert ns_per_value < LARGEST_NS_PER_VALUE


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
def test_preparing_tensors_costs_little_beside_simulating_them(benchmark, name, operation):
    conv = layer(*LAYERS[name])
    families = benchmark(lambda: [family.product(0) for family in lower(conv, operation, 8)])
    assert families
    values = sum(conv.source(t).read().size for t in "awg")
    ns_per_value = benchmark.stats.stats.min / values * 1e9
    benchmark.extra_info["ns_per_tensor_value"] = ns_per_value
    assert ns_per_value < LARGEST_NS_PER_TENSOR_VALUE
