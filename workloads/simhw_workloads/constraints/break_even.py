"""Hardware break-even: how few weights of a layer must be left before pruning it pays on a machine.

A machine that skips zeros has logic for it, which costs area, power or parallel units.  A layer that is pruned by less
than its break-even is better left dense.  Any machine that simhw simulates can be asked: a captured step of the layer
runs on it, with fewer and fewer weights, beside the dense layer on the machine's baseline.  Source: ADMM-NN
(arXiv 1812.11677), which asks a synthesised design of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from torch import nn

from simhw.bfloat16 import BF16Array
from simhw.capture import Capture
from simhw.errors import WorkloadError
from simhw.simulation.api import simulate
from simhw.trace.layer import InMemory, Layer, Operation
from simhw.trace.reader import load_trace
from simhw.trace.trace import Trace
from simhw_workloads.task import Task

Cost = Literal["time", "energy"]
"""What pruning is to save."""
WITH_WEIGHTS = ("forward", "input_grad")
"""Operations that multiply by weights.  The weight gradient does not: pruning never makes it faster."""
DENSITIES = tuple(share / 10 for share in range(10, 0, -1))
"""Where machines are asked."""
WORTH = 1.05
"""The gain at which pruning pays.  Ours: a layer that gains less than a twentieth does not pay for its indices."""


def captured_layers(model: nn.Module, task: Task, samples: int, seed: int = 0) -> dict[str, Layer]:
    """The layers of a training step of a model on the first samples of a task; the model stays as it is.

    Raises
    ------
    WorkloadError
        The task has no samples to take.
    """
    if samples < 1:
        raise WorkloadError(f"{samples} samples are to be captured; give at least 1")
    torch.manual_seed(seed)
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    with TemporaryDirectory(prefix="simhw-break-even-") as folder:
        path = Path(folder) / "step.npz"
        with Capture(model, path, batch=samples) as capture, capture.step():
            batch = task.rows(torch.arange(samples))
            task.loss(model(batch.inputs), batch.targets).backward()  # type: ignore[no-untyped-call]  # torch's
        model.zero_grad()
        model.load_state_dict(statistics)
        return {layer.name: _in_memory(layer) for layer in load_trace(path).layers}


def thinned(layer: Layer, density: float) -> Layer:
    """A layer with all but its largest weights zero, and without its weight gradient.

    Parameters
    ----------
    layer : Layer
    density : float
        Share of the weights that stay.
    """
    w = layer.w.copy()
    magnitude = (w & 0x7FFF).ravel()
    gone = np.argsort(magnitude, kind="stable")[: magnitude.size - max(1, round(density * magnitude.size))]
    w.reshape(-1)[gone] = 0
    return _like(layer, w, [each for each in layer.operations if each in WITH_WEIGHTS])


def _in_memory(layer: Layer) -> Layer:
    return _like(layer, layer.w, layer.operations)


def _like(layer: Layer, w: BF16Array, operations: Iterable[Operation]) -> Layer:
    return Layer(
        layer.name,
        layer.kind,
        layer.geometry,
        InMemory(layer.a),
        InMemory(w),
        InMemory(layer.g),
        operations=tuple(operations),
        shapes=layer.shapes,
    )


@dataclass(frozen=True)
class PrunedCost:
    """What a layer's forward pass and input gradient take with fewer and fewer weights.

    Attributes
    ----------
    dense : float
        With all weights, on the machine or on its baseline, whichever takes less.
    pruned : dict of density to float
        On the machine.
    """

    dense: float
    pruned: dict[float, float]

    def gain(self, density: float) -> float:
        """How many times less it takes with that share of its weights."""
        return self.dense / self.pruned[density]

    def break_even(self, worth: float = WORTH) -> float | None:
        """The largest share of the weights at which pruning gains as much as it is worth; None where it never does."""
        return max((density for density in self.pruned if self.gain(density) >= worth), default=None)


def pruned_cost(layer: Layer, machine: str, densities: Iterable[float] = DENSITIES, of: Cost = "time") -> PrunedCost:
    """Ask a machine, memories aside, what a captured layer takes without its smallest weights.

    Parameters
    ----------
    layer : Layer
    machine : str
        Any that simhw simulates, by name or file, that has a baseline.
    densities : iterable of float
        Shares of the weights that are left.
    of : {"time", "energy"}

    Raises
    ------
    WorkloadError
        The machine has no baseline.
    """
    own, baseline = _costs(layer, 1.0, machine, of)
    if isnan(baseline):
        raise WorkloadError(f"machine {machine} has no baseline: there is nothing that pruning should be better than")
    return PrunedCost(min(own, baseline), {density: _costs(layer, density, machine, of)[0] for density in densities})


def _costs(layer: Layer, density: float, machine: str, of: Cost) -> tuple[float, float]:
    """What a layer takes with that share of its weights, on a machine and on its baseline."""
    total = simulate(Trace([thinned(layer, density)]), machine, progress=False).total
    return (total.time_s, total.baseline_time_s) if of == "time" else (total.energy_j, total.baseline_energy_j)


def paying(
    layers: Mapping[str, Layer], densities: Mapping[str, float], machine: str, of: Cost = "time"
) -> tuple[dict[str, float], dict[str, float]]:
    """The layers that pruning to those densities pays for on a machine, and the gain of each layer.

    Parameters
    ----------
    layers : mapping of path to Layer
        Captured, as by `captured_layers`.
    densities : mapping of path to float
    machine : str
    of : {"time", "energy"}
    """
    gains = {
        path: pruned_cost(layers[path], machine, (density,), of).gain(density) for path, density in densities.items()
    }
    return {path: density for path, density in densities.items() if gains[path] >= WORTH}, gains
