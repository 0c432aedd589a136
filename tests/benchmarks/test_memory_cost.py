"""What the memory model adds to an exact run of the bundled trace: pairs of runs, with and without it, in turn; and how
a run's time grows with the batch.

``pytest tests/benchmarks/test_memory_cost.py --benchmark-only -m ""`` on an idle machine; ``extra_info`` holds the
ratios.
"""

import time

import numpy as np
import pytest

from simhw import load_machine, load_trace, simulate

PAIRS = 7


@pytest.mark.parametrize("name", ["fpraker", "tensordash"])
def test_memory_model_beside_the_tiles_alone(benchmark, name):
    trace = load_trace("resnet50.npz")
    modelled, ideal = load_machine(name), load_machine(name, **{"memory.model": "ideal"})

    def seconds(machine):
        started = time.process_time()
        simulate(trace, machine, progress=False)
        return time.process_time() - started

    seconds(modelled)  # compiles, and plans the blockings that later runs find
    pairs = [(seconds(modelled), seconds(ideal)) for _ in range(PAIRS)]
    benchmark.extra_info["ratios"] = [round(with_ / without, 3) for with_, without in pairs]
    benchmark.extra_info["median_ratio"] = round(float(np.median(benchmark.extra_info["ratios"])), 3)
    benchmark.pedantic(simulate, (trace, modelled), {"progress": False}, rounds=3)


@pytest.mark.parametrize("batch", [4, 64, 256, 1024, 4096])
@pytest.mark.parametrize("name", ["fpraker", "tensordash"])
def test_growth_with_the_batch(benchmark, name, batch):
    """Work on the tiles is that of the captured images, so that what grows are the memories: their block steps, once
    tensors outgrow the buffers, and the containers of each.
    """
    trace, machine = load_trace("resnet50.npz"), load_machine(name)
    simulate(trace, machine, progress=False, batch=batch)  # compiles, and plans the blockings that later runs find
    benchmark.pedantic(simulate, (trace, machine), {"progress": False, "batch": batch}, rounds=3)
