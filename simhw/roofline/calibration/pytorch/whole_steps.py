"""How well whole steps are predicted that no fit of the host or of power saw: as a graph, one by one, in energy."""

from collections.abc import Sequence
from pathlib import Path

from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.host import eager_s, estimates
from simhw.roofline.calibration.pytorch.steps import MeasuredStep, read_steps
from simhw.roofline.calibration.score import Score, score_of, textbook_seconds
from simhw.roofline.device import Device, load_device
from simhw.roofline.estimate import StepEstimate
from simhw.roofline.gpu.values import GpuValues


def calibrate(folder: Path, device: str) -> tuple[dict[str, float], list[Score]]:
    """No constants; scores of the device's file on the steps of networks that no fit saw."""
    loaded = load_device(device)
    _, scored = halves(read_steps(folder, loaded.name))
    return {}, scores(scored, loaded, f"{loaded.name}_steps")


def scores(steps: Sequence[MeasuredStep], device: Device, file: str) -> list[Score]:
    """Errors of steps as a graph, kernel by kernel, and of their energy; those that were not measured so are left out.

    Raises
    ------
    SimhwError
        None was measured so.
    """
    predicted = estimates(steps, device)
    textbook = [textbook_s(each) for each in predicted]
    assert isinstance(device.values, GpuValues)
    most_w = device.values.power.tdp_w

    def one(name: str, known: Sequence[float | None], found: Sequence[float], simple: Sequence[float]) -> Score:
        rows = [(a, b, c) for a, b, c in zip(known, found, simple, strict=True) if a is not None]
        return score_of(
            f"step, {name}",
            f"even networks of {file}, and kernels",
            f"odd networks of {file}",
            [b for _, b, _ in rows],
            [a for a, _, _ in rows],
            [c for _, _, c in rows],
        )

    return [
        one("graph", [step.graph_s for step in steps], [each.seconds for each in predicted], textbook),
        one("eager", [step.eager_s for step in steps], [eager_s(each) for each in predicted], textbook),
        one(
            "energy",
            [step.energy_j for step in steps],
            [_eager_energy_j(each) for each in predicted],
            [most_w * seconds for seconds in textbook],
        ),
    ]


def textbook_s(predicted: StepEstimate) -> float:
    """The textbook roofline of every operator, one after the other."""
    hardware = predicted.device.values.hardware
    return sum(work.times * textbook_seconds(prediction.operator, hardware) for work, prediction in predicted.work)


def _eager_energy_j(predicted: StepEstimate) -> float:
    """Energy was measured of steps issued kernel by kernel."""
    waiting_s = eager_s(predicted) - predicted.device_s
    return sum(each.mid for each in predicted.energies_j) + predicted.device.values.waiting_w * waiting_s
