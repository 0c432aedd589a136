"""Benches on one small trace, for figures."""

from pathlib import Path

from simhw.reproduce.bench import Bench
from simhw.reproduce.facts import Paper
from simhw.reproduce.networks import Captured, Network, Step
from simhw.reproduce.simulations import Store
from simhw.trace.reader import trace_hash
from tests.cli_runs import some_trace

FACTS = {"VGG16": None, "SNLI": "snli", "Detectron2": None, "ResNet18": "resnet18_fixed"}
"""Networks, and their published speed-ups in FPRaker's paper; the last one is not in the mean."""
NETWORKS = tuple(FACTS)


def small_bench(
    folder: Path, paper: Paper = "fpraker", networks: tuple[str, ...] = NETWORKS, moments: int = 1
) -> Bench:
    """Networks that all have the same step, VGG16 at several moments, and one that has none."""
    steps = []
    for number in range(1, moments + 1):
        path = folder / f"small-{number}.npz"
        some_trace().save(path)
        steps.append(Step(str(path), trace_hash(path), 4))
    captured = [
        Captured(
            Network(name=name, counts=name != "ResNet18", fact=FACTS[name] if paper == "fpraker" else None),
            tuple(steps) if name == "VGG16" else (steps[0],),
        )
        for name in networks
    ]
    return Bench(paper, [*captured, Captured(Network(name="absent"), ())], Store(folder / "kept"))
