"""Benches on one small trace, for figures."""

from pathlib import Path

from simhw.reproduce.bench import Bench
from simhw.reproduce.facts import Paper
from simhw.reproduce.networks import Captured, Network, Step
from simhw.reproduce.simulations import Store
from simhw.trace.reader import trace_hash
from tests.cli_runs import some_trace

NETWORKS = ("VGG16", "SNLI", "ResNet18")
"""The last one is not in the mean."""


def small_bench(folder: Path, paper: Paper = "fpraker", networks: tuple[str, ...] = NETWORKS) -> Bench:
    """Networks that all have the same step, and one that has none."""
    path = folder / "small.npz"
    some_trace().save(path)
    step = Step(str(path), trace_hash(path), 4)
    captured = [Captured(Network(name=name, counts=name != "ResNet18"), (step,)) for name in networks]
    return Bench(paper, [*captured, Captured(Network(name="absent"), ())], Store(folder / "kept"))
