"""How well a model predicts measured kernels, beside the textbook roofline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from simhw.errors import SimhwError
from simhw.roofline.ascend.hardware import AscendHardware
from simhw.roofline.calibration.measurements import Measured
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.operators import Operator, Streaming


@dataclass(frozen=True)
class Score:
    """The error of a model on kernels that it was not fitted to.

    Attributes
    ----------
    name : str
        What was scored: a kind of kernel.
    fitted_on, scored_on : str
        Files and rows; they share none.
    rows : int
        Kernels scored.
    mape, median_ape, textbook_mape : float
        Mean and median absolute percentage error, and the mean one of the textbook roofline [percent].
    """

    name: str
    fitted_on: str
    scored_on: str
    rows: int
    mape: float
    median_ape: float
    textbook_mape: float


def percentage_errors(predicted: Sequence[float], measured: Sequence[float]) -> list[float]:
    """Absolute error of each prediction [percent of the measured value].

    Raises
    ------
    SimhwError
        Nothing was measured, or the two differ in length.
    """
    if not measured or len(predicted) != len(measured):
        raise SimhwError(f"cannot score {len(predicted)} predictions against {len(measured)} measurements")
    return [100.0 * abs(guess - truth) / truth for guess, truth in zip(predicted, measured, strict=True)]


def mape(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """Mean absolute percentage error [percent]; raises as `percentage_errors`."""
    return fmean(percentage_errors(predicted, measured))


def textbook_seconds(operator: Operator, hardware: GpuHardware | AscendHardware) -> float:
    """The textbook roofline: operations at the peak rate or bytes at the peak bandwidth, whichever takes longer."""
    rate = hardware.vector_flops_per_s if isinstance(operator, Streaming) else hardware.matrix_flops_per_s
    return max(operator.flops / rate(operator.number), operator.dram_bytes / hardware.dram_bytes_per_s)


def score(
    name: str,
    fitted_on: str,
    scored_on: str,
    rows: Sequence[Measured],
    predicted_s: Callable[[Operator], float],
    hardware: GpuHardware,
) -> Score:
    """Score predicted seconds against measured rows.

    Raises
    ------
    SimhwError
        There are no rows.
    """
    predicted, textbook = (
        [predicted_s(row.operator) for row in rows],
        [textbook_seconds(row.operator, hardware) for row in rows],
    )
    return score_of(name, fitted_on, scored_on, predicted, [row.seconds for row in rows], textbook)


def score_of(
    name: str,
    fitted_on: str,
    scored_on: str,
    predicted: Sequence[float],
    measured: Sequence[float],
    textbook: Sequence[float],
) -> Score:
    """Score predictions and the textbook's against what was measured, in whatever unit.

    Raises
    ------
    SimhwError
        There is nothing to score.
    """
    errors = percentage_errors(predicted, measured)
    return Score(name, fitted_on, scored_on, len(errors), fmean(errors), median(errors), mape(textbook, measured))
