"""Fit of a GPU's power to the energy of whole steps: what a waiting and a working board take, and an energy for each
operation and byte.

The step model counts operations and bytes; the time is the measured one.  Costs are none below zero, and squares of
relative errors least.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from simhw.errors import SimhwError
from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.host import estimates
from simhw.roofline.calibration.pytorch.steps import MeasuredStep, read_steps
from simhw.roofline.calibration.score import Score
from simhw.roofline.device import load_device
from simhw.roofline.estimate import StepEstimate
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Streaming

MATRIX: tuple[Number, ...] = ("fp32", "tf32", "bf16")
"""Numbers of products."""
WAITING, WORKING, VECTOR, DRAM = "waiting_w", "working_w", "vector", "dram"
NAMES = (WAITING, WORKING, *MATRIX, VECTOR, DRAM)
PICO = 1e-12
HELD = 0.02
"""Weight of a cost's deviation from its start, relative to it, in that of a step's energy."""
START = {WAITING: 120.0, WORKING: 130.0, "fp32": 4.0, "tf32": 0.6, "bf16": 0.4, VECTOR: 5.0, DRAM: 45.0}
"""Watts of a waiting board and more of a working one; pJ of an operation and a byte.  Of the order of published costs:
a board that idles at full clocks takes about a sixth of its power, HBM3 about 4 pJ a bit with its way through the chip,
and peaks of 60, 400 and 800 TFLOP/s leave so much of 700 W for an operation (derived).
"""


def features(step: MeasuredStep, predicted: StepEstimate) -> list[float]:
    """Amounts of a step in the order of `NAMES`: seconds, seconds of kernels, operations by number, and bytes."""
    busy_s = min(step.eager_s, step.graph_s or predicted.device_s)
    operations = dict.fromkeys((*MATRIX, VECTOR), 0.0)
    moved = 0.0
    for work, prediction in predicted.work:
        operator = prediction.operator
        operations[VECTOR if isinstance(operator, Streaming) else operator.number] += work.times * operator.flops
        moved += work.times * prediction.dram_bytes
    return [step.eager_s, busy_s, *(PICO * each for each in operations.values()), PICO * moved]


def fit(steps: Sequence[MeasuredStep], predicted: Sequence[StepEstimate]) -> dict[str, float]:
    """Costs by `NAMES`: watts, and pJ of an operation and of a byte.

    Raises
    ------
    StatisticsError
        No step has an energy.
    """
    known = [
        (features(step, each), step.energy_j) for step, each in zip(steps, predicted, strict=True) if step.energy_j
    ]
    fmean(energy for _, energy in known)
    start = np.array([START[name] for name in NAMES])
    # In units of where the search sets out, so that all are held alike; then relative to each step's energy.
    amounts: npt.NDArray[np.float64] = np.array([row for row, _ in known]) * start
    energies = np.array([energy for _, energy in known])
    held = HELD * len(known) ** 0.5
    equations = np.vstack([amounts / energies[:, None], held * np.eye(len(NAMES))])
    wanted = np.concatenate([np.ones(len(known)), np.full(len(NAMES), held)])
    found, _ = nnls(equations, wanted)
    return dict(zip(NAMES, (float(each) for each in found * start), strict=True))


def calibrate(folder: Path, device: str) -> tuple[dict[str, float], list[Score]]:
    """Costs fitted to one half of the networks; whole steps are scored by
    `simhw.roofline.calibration.pytorch.whole_steps`.
    """
    loaded = load_device(device)
    fitted, _ = halves(read_steps(folder, loaded.name))
    try:
        costs = fit(fitted, estimates(fitted, loaded))
    except KeyError as error:
        raise SimhwError(f"{folder}: a step of {device} works in {error}, which has no cost of its own") from None
    matrix = {f"power.matrix_pj_per_flop.{number}": costs[number] for number in MATRIX}
    vector = {f"power.vector_pj_per_flop.{number}": costs[VECTOR] for number in MATRIX}
    return {
        "power.constant_w": costs[WAITING],
        "power.active_w": costs[WAITING] + costs[WORKING],
        **matrix,
        **vector,
        "power.dram_pj_per_byte": costs[DRAM],
    }, []
