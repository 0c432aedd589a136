"""Fit of what the framework's processor needs for a step, call by call, to whole steps run kernel by kernel.

A step takes the longer of its kernels and its calls.  A step whose kernels take longer only says that the calls take no
longer.  Steps bound by the host were measured to 10 to 25% (spec page h200.md), and few kinds of network are among
them: so costs are held close to where they set out, which is what single calls took in a loop.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.steps import MeasuredStep, read_steps
from simhw.roofline.calibration.score import Score
from simhw.roofline.device import Device, load_device
from simhw.roofline.estimate import StepEstimate, estimate
from simhw.roofline.gpu.host import HostParameters

HELD, HELD_TOGETHER = 0.3, 0.02
"""Weight of a constant's deviation from its start, as a logarithm, in that of a step's time; and of what all calls of a
pass deviate by: how fast a processor is concerns them all.
"""
OUTLIER = 0.1
"""Deviation beyond which a step counts less than by its square: that of measurements bound by the host."""
START: Mapping[str, float] = {
    "forward.convolution": 3.5e-5,
    "forward.product": 2.5e-5,
    "forward.batchnorm": 3.5e-5,
    "forward.cast": 1.2e-5,
    "forward.other": 1.2e-5,
    "backward.convolution": 3e-5,
    "backward.product": 2e-5,
    "backward.batchnorm": 3e-5,
    "backward.cast": 1.5e-5,
    "backward.other": 1.5e-5,
    "tensor_s": 2e-6,
    "step_s": 3e-4,
}
"""Where the search sets out: calls of products, batch norms and elementwise functions in a loop (``eager_us``), a third
more for a convolution; calls of the backward pass about as long, as half of them come without Python but make a node's
result.
"""


def estimates(steps: Sequence[MeasuredStep], device: Device) -> list[StepEstimate]:
    """What the device's model says of each step.

    Its optimizer was made for a graph, so its operators are those of a graph, whichever way it ran.
    """
    return [estimate(each.network, device, each.launched("graph")) for each in steps]


def eager_s(predicted: StepEstimate) -> float:
    """Seconds of a step of a graph's operators that the framework issues one by one."""
    return max(predicted.device_s + predicted.gaps_s, predicted.host_s)


def fit(steps: Sequence[MeasuredStep], predicted: Sequence[StepEstimate]) -> dict[str, float]:
    """Constants by dotted name under ``host``; deterministic.

    Raises
    ------
    StatisticsError
        There are no steps.
    """
    fmean(step.eager_s for step in steps)
    names = list(START)
    counts = np.array([_counts(each, names) for each in predicted])
    # Kernels of a step that was run as a graph too are known; stream gaps come on top.
    device_s = np.array(
        [(step.graph_s or each.device_s) + each.gaps_s for step, each in zip(steps, predicted, strict=True)]
    )
    truth = np.log([step.eager_s for step in steps])
    start = np.log([START[name] for name in names])
    # A constant deviates with its section (forward, backward, neither), and on its own.
    sections = sorted({name.rpartition(".")[0] for name in names})
    member = np.array([[name.rpartition(".")[0] == section for section in sections] for name in names], dtype=float)

    def constants(point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.exp(start + member @ point[: len(sections)] + point[len(sections) :])

    def deviations(point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        seconds = np.maximum(device_s, counts @ constants(point))
        held = np.where(np.arange(len(point)) < len(sections), HELD_TOGETHER, HELD) * point
        return np.concatenate([np.log(seconds) - truth, held])

    first = np.full(len(sections) + len(names), 0.01)  # steps are relative, so that nothing starts at 0
    found = least_squares(deviations, first, diff_step=0.02, loss="soft_l1", f_scale=OUTLIER, max_nfev=200)
    return dict(zip(names, (float(each) for each in constants(found.x)), strict=True))


def _counts(each: StepEstimate, names: Sequence[str]) -> list[float]:
    """How often a step needs each constant: its time if that constant were a second and all others nothing."""
    counts = []
    for name in names:
        zeros: dict[str, Any] = {way: dict.fromkeys(_CALLS, 0.0) for way in ("forward", "backward")}
        zeros |= {"tensor_s": 0.0, "step_s": 0.0, "stream_s": 0.0}
        section, _, last = name.rpartition(".")
        (zeros[section] if section else zeros)[last] = 1.0
        one = HostParameters.model_validate(zeros)
        issued = (
            work.times * one.issue_s(prediction, work.phase in ("input_grad", "weight_grad"))
            for work, prediction in each.work
        )
        counts.append(one.step_s + sum(issued))
    return counts


_CALLS = ("convolution", "product", "batchnorm", "cast", "other")


def calibrate(folder: Path, device: str) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to one half of the networks; whole steps are scored by
    `simhw.roofline.calibration.pytorch.whole_steps`.
    """
    loaded = load_device(device)
    fitted, _ = halves(read_steps(folder, loaded.name))
    constants = fit(fitted, estimates(fitted, loaded))
    return {f"host.{name}": value for name, value in constants.items()}, []
