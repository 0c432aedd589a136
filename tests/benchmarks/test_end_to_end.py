"""A whole training step end to end, beside the bare kernel: what lowering, planning, Python and threads cost on top.

Run with ``pytest tests/benchmarks/test_end_to_end.py --benchmark-only`` on an idle machine; ``extra_info`` holds rates
and ratios.
"""

import time

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, simulate
from simhw.bfloat16 import from_float32
from simhw.pe.passes import whole_tiles

# The stem of ResNet-50 and convolutions of each of its stages, images a quarter as wide: (channels, outputs, size,
# kernel, stride).
SHAPES = [
    (3, 64, 56, 7, 2),
    (64, 64, 14, 1, 1),
    (64, 64, 14, 3, 1),
    (64, 256, 14, 1, 1),
    (128, 128, 14, 3, 2),
    (128, 512, 7, 1, 1),
    (256, 256, 7, 3, 2),
    (512, 2048, 2, 1, 1),
]


def step():
    rng = np.random.default_rng(0)

    def values(shape, zeros):
        return from_float32(np.where(rng.random(shape) < zeros, 0, rng.standard_normal(shape)).astype(np.float32))

    layers = []
    for number, (channels, outputs, size, kernel, stride) in enumerate(SHAPES):
        padding = kernel // 2
        out = (size + 2 * padding - kernel) // stride + 1
        tensors = {
            "a": values((2, channels, size, size), 0.5),
            "w": values((outputs, channels, kernel, kernel), 0.0),
            "g": values((2, outputs, out, out), 0.5),
        }
        operations = ["forward", "weight_grad"] if number == 0 else None
        layers.append(
            Layer(f"conv{number}", "conv2d", {"stride": stride, "padding": padding}, **tensors, operations=operations)
        )
    return Trace(layers)


def kernel_seconds_per_mac(machine):
    """The tile alone, on rows laid out already: 128 rows of X against 32 of Y over a reduction of 2,304."""
    rng = np.random.default_rng(1)
    x = from_float32(np.maximum(rng.standard_normal((128, 2304), np.float32), 0))
    y = whole_tiles([from_float32(rng.standard_normal((32, 2304), np.float32))], machine.tile.tile_y)
    prepared = machine.tile.prepare(y)
    machine.tile.run(x, prepared)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        machine.tile.run(x, prepared)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / (128 * 32 * 2304)


@pytest.mark.parametrize("workers", [1, 2])
def test_fpraker_end_to_end_against_its_kernel(benchmark, workers):
    trace, machine = step(), load_machine("fpraker")
    results = simulate(trace, machine, 1.0, workers=workers, progress=False)
    benchmark.pedantic(simulate, (trace, machine, 1.0), {"workers": workers, "progress": False}, rounds=3)
    macs = results.total.macs
    seconds, kernel = benchmark.stats.stats.min, kernel_seconds_per_mac(machine)
    benchmark.extra_info.update(
        macs=macs,
        macs_per_second=macs / seconds,
        kernel_macs_per_second=1 / kernel,
        share_of_kernel_rate=macs * kernel / seconds,
        # Slots of partial tiles and sets are simulated as well: the kernel's work is larger than the layers'.
        occupancy=results.total.occupancy,
    )
    print(
        f"\n{workers} workers: {macs / seconds / 1e6:.0f} M MAC/s, kernel {1e-6 / kernel:.0f}, share "
        f"{macs * kernel / seconds:.2f}"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_tensordash_end_to_end(benchmark, workers):
    trace = step()
    results = simulate(trace, "tensordash", 1.0, workers=workers, progress=False)
    benchmark.pedantic(simulate, (trace, "tensordash", 1.0), {"workers": workers, "progress": False}, rounds=3)
    benchmark.extra_info["macs_per_second"] = results.total.macs / benchmark.stats.stats.min
    print(f"\n{workers} workers: {results.total.macs / benchmark.stats.stats.min / 1e6:.0f} M MAC/s")
    # A schedule serves every column: far beyond a MAC a nanosecond.
    assert results.total.macs / benchmark.stats.stats.min > 1e9
