"""How fast tensors are compressed and decompressed: uncompressed bytes a second on one core.

Run with `pytest tests/benchmarks/test_benchmark_compression.py --benchmark-only -s` on an idle machine; every benchmark
prints its rate and keeps it in `extra_info`.  Activations are Gaussian with the negative half zero, as after a ReLU,
gradients Gaussian.  Nothing is asserted about time.
"""

import numpy as np
import pytest

from simhw.bfloat16 import from_float32
from simhw.compression import CODECS

# Shape and channel axis: groups along an outer axis, along the last one, and short ones.
TENSORS = {
    "convolution 56 x 56": ((8, 256, 56, 56), 1),
    "convolution 7 x 7": ((64, 512, 7, 7), 1),
    "weights 3 x 3": ((512, 512, 3, 3), 1),
    "linear": ((4096, 3072), -1),
    "image, 3 channels": ((32, 3, 224, 224), 1),
    "attention, rows of 197": ((64, 197, 197), -1),
}


def tensor(kind: str, shape: tuple[int, ...]):
    values = np.random.default_rng(0).standard_normal(shape, np.float32)
    return from_float32(np.maximum(values, 0) if kind == "activations" else 1e-3 * values)


@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("kind", ["activations", "gradients"])
@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("codec", CODECS)
def test_compression(benchmark, codec, name, kind, direction):
    shape, axis = TENSORS[name]
    values = tensor(kind, shape)
    encoded = CODECS[codec].encode(values, axis)
    CODECS[codec].decode(encoded)  # compiles
    if direction == "encode":
        benchmark.pedantic(CODECS[codec].encode, (values, axis), rounds=10, iterations=1)
    else:
        benchmark.pedantic(CODECS[codec].decode, (encoded,), rounds=10, iterations=1)
    rate = values.nbytes / benchmark.stats.stats.min
    benchmark.extra_info.update(bytes_per_s=rate, compressed_over_raw=encoded.ratio)
    print(
        f"\n{codec:5s}{direction}  {name:24s}{kind:12s}{rate / 1e6:8,.0f} MB/s   compressed / raw {encoded.ratio:.3f}",
        end="",
    )
