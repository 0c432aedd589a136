"""What a technique gains in a whole step, measured and predicted: a variant beside the plain network, run alike."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from simhw.roofline.operators import Layout
from simhw.roofline.scoring.kernels import short_place
from simhw.roofline.scoring.steps import PredictedStep
from simhw.roofline.step.run import Launch

BASES = ("", "dense", "MHA")
"""Variants that the others of a model are set beside."""
CLEAR_PERCENT = 5.0
"""Measured gain or loss from which its sign counts: steps that the host issues vary by as much."""


@dataclass(frozen=True)
class Gain:
    """The throughput that a variant gains.

    Attributes
    ----------
    variant : PredictedStep
    launch : str
    measured, predicted : float
        More throughput than the plain network's [percent]; below zero it loses.
    """

    variant: PredictedStep
    launch: Launch
    measured: float
    predicted: float

    @property
    def name(self) -> str:
        """Model and variant."""
        return f"{self.variant.measured.model} {self.variant.measured.variant}"

    @property
    def layout(self) -> Layout:
        """Of the images."""
        return self.variant.measured.run.layout

    @property
    def place(self) -> str:
        """``FILE:ROW``."""
        return short_place(self.variant.measured.place)

    @property
    def deviation(self) -> float:
        """Points of percent between the two."""
        return abs(self.predicted - self.measured)

    @property
    def clear(self) -> bool:
        """Whether the measured gain is large enough for its sign to count."""
        return abs(self.measured) > CLEAR_PERCENT

    @property
    def wrong_sign(self) -> bool:
        """Whether a clear gain is predicted as a loss, or the other way round."""
        return self.clear and self.measured * self.predicted <= 0


@dataclass(frozen=True)
class GainErrors:
    """How well some gains are predicted.

    Attributes
    ----------
    gains, clear, wrong_signs : int
    measured, predicted : float
        Means [percent].
    deviation : float
        Mean [points].
    """

    gains: int
    clear: int
    wrong_signs: int
    measured: float
    predicted: float
    deviation: float


def gain_errors(gains: Sequence[Gain]) -> GainErrors:
    """Errors of some gains.

    Raises
    ------
    StatisticsError
        There are none.
    """
    return GainErrors(
        len(gains),
        sum(each.clear for each in gains),
        sum(each.wrong_sign for each in gains),
        fmean(each.measured for each in gains),
        fmean(each.predicted for each in gains),
        fmean(each.deviation for each in gains),
    )


def gains(steps: Sequence[PredictedStep]) -> Iterator[Gain]:
    """Every variant beside the first row of its model's plain network in the same batch, mode, precision and layout."""
    plain: dict[Hashable, PredictedStep] = {}
    for step in steps:
        if step.measured.variant in BASES:
            plain.setdefault(_run_of(step), step)
    for step in steps:
        base = plain.get(_run_of(step))
        if base is None or step.measured.variant in BASES:
            continue
        measured = percent(base.measured.eager_s, step.measured.eager_s)
        yield Gain(step, "eager", measured, percent(base.eager.seconds, step.eager.seconds))
        if base.measured.graph_s is not None and step.measured.graph_s is not None:
            measured = percent(base.measured.graph_s, step.measured.graph_s)
            yield Gain(step, "graph", measured, percent(base.graph.seconds, step.graph.seconds))


def percent(base_s: float, variant_s: float) -> float:
    """More throughput."""
    return 100.0 * (base_s / variant_s - 1.0)


def _run_of(step: PredictedStep) -> Hashable:
    run = step.measured.run
    return step.measured.model, run.batch, run.mode, run.precision, run.layout
