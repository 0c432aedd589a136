"""What a run holds in memory: the weights of a large layer once, whatever its operations do with them."""

from pathlib import Path

import numpy as np
import pytest

from simhw.trace.layer import Layer
from simhw.trace.metadata import Metadata
from simhw.trace.trace import Trace
from tests.bounded import run_simhw

OUTPUTS, INPUTS = 4096, 25088
"""Of the first fully connected layer of VGG16: 196 MiB of weights."""


def peak_bytes(machine: str, trace: str | Path) -> int:
    """The most memory that a run takes, the interpreter and the libraries with it."""
    ended = run_simhw("run", "--trace", str(trace), "--pe", machine, "--sample", "1")
    assert ended.code == 0, ended.err
    return ended.peak_bytes


@pytest.mark.slow
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("machine", ["fpraker", "tensordash"])
def test_a_run_holds_little_more_than_its_largest_layer(machine: str, compress: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # Few different values: they compress well.
    a, w, g = ((rng.integers(0, 8, shape) * 0x40 + 0x3C00).astype(np.uint16) for shape in _shapes())
    layer = Layer("fc", "linear", a=a, w=w, g=g)
    Trace([layer], Metadata("fc", batch=1)).save(tmp_path / "fc.npz", compress=compress)
    # What is held whatever the trace: the interpreter, the libraries and the kernels.
    beside = peak_bytes(machine, "small_cnn")
    assert peak_bytes(machine, tmp_path / "fc.npz") - beside < 1.3 * (a.nbytes + w.nbytes + g.nbytes)


def _shapes() -> tuple[tuple[int, int], ...]:
    return (1, INPUTS), (OUTPUTS, INPUTS), (1, OUTPUTS)
