"""Which fits make the constants of a device, and how they compare with those that its file states."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import StatisticsError

from simhw.errors import SimhwError
from simhw.machine.dotted import leaf
from simhw.progress import track
from simhw.roofline.calibration import ascend, convolution, gemm, power, recurrent, streaming
from simhw.roofline.calibration.measurements import FILES, read_measurements
from simhw.roofline.calibration.score import Score
from simhw.roofline.device import Device

Fit = Callable[[Path], tuple[dict[str, float], list[Score]]]

READERS: dict[str, tuple[Callable[[Path], object], ...]] = {
    "v100": (*(partial(read_measurements, name=name) for name in FILES), power.watts),
    "ascend310": (ascend.read_rows,),
}
"""Readers of all that a device's fits take, by device: a file that cannot be read is told before a fit of minutes
begins.
"""
FITS: dict[str, dict[str, Fit]] = {
    "v100": {
        "gemm": gemm.calibrate,
        "convolution": convolution.calibrate,
        "streaming": streaming.calibrate,
        "recurrent": recurrent.calibrate,
        "power": power.calibrate,
    },
    "ascend310": {"ascend": ascend.calibrate},
}
"""Fits by device and what they fit; boards of one chip share its constants."""


@dataclass(frozen=True)
class Fitted:
    """A constant as the measurements give it, beside what the device's file states."""

    name: str
    fitted: float
    stated: float


def calibrate(device: Device, folder: Path) -> tuple[list[Fitted], list[Score]]:
    """Fit a device's constants to a folder of measurements, and score its models on rows that no fit saw.

    Raises
    ------
    SimhwError
        Nothing is fitted for the device, the folder is missing, a file of it cannot be read, or its rows are too few.
    """
    if device.name not in FITS:
        raise SimhwError(f"no constants of {device.name} are fitted; there are fits for {', '.join(FITS)}")
    if not folder.is_dir():
        raise SimhwError(f"{folder}: no such folder; give the one that holds the measurements")
    for read in READERS[device.name]:
        read(folder)
    values = device.values.model_dump()
    constants: list[Fitted] = []
    scores: list[Score] = []
    for fitted, found in _results(FITS[device.name], folder):
        constants += [Fitted(name, value, float(leaf(values, name))) for name, value in fitted.items()]
        scores += found
    return constants, scores


def _results(fits: dict[str, Fit], folder: Path) -> Iterator[tuple[dict[str, float], list[Score]]]:
    for name, fit in track(fits.items(), "fitting", len(fits)):
        try:
            yield fit(folder)
        except StatisticsError:
            raise SimhwError(
                f"{folder}: too few rows to fit the constants of {name}: some kind of kernel has none"
            ) from None
