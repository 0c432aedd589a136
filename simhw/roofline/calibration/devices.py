"""Which fits make the constants of a device, and how they compare with those that its file states."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import StatisticsError

from simhw.errors import SimhwError
from simhw.machine.dotted import leaf
from simhw.progress import track
from simhw.roofline.calibration import ascend, convolution, gemm, power, recurrent, streaming
from simhw.roofline.calibration.benchmarks import V100, Benchmarks
from simhw.roofline.calibration.measurements import READERS, read_measurements
from simhw.roofline.calibration.pytorch import attention as pytorch_attention
from simhw.roofline.calibration.pytorch import convolution as pytorch_convolution
from simhw.roofline.calibration.pytorch import gemm as pytorch_gemm
from simhw.roofline.calibration.pytorch import host, step_kernels, streaming_rows, whole_steps
from simhw.roofline.calibration.pytorch import power as pytorch_power
from simhw.roofline.calibration.pytorch import recurrent as pytorch_recurrent
from simhw.roofline.calibration.pytorch import streaming as pytorch_streaming
from simhw.roofline.calibration.pytorch.h200_convolution import SEARCHED
from simhw.roofline.calibration.pytorch.kernels import read_kernels
from simhw.roofline.calibration.score import Score
from simhw.roofline.device import Device
from simhw.roofline.gpu.values import GpuValues

Reader = Callable[[Path], object]
Fit = Callable[[Path], tuple[dict[str, float], list[Score]]]


@dataclass(frozen=True)
class Fits:
    """What makes the constants of a device.

    Attributes
    ----------
    readers : tuple of callable
        Of all files that the fits take: one that cannot be read is told before a fit of minutes begins.
    fits : dict of str to callable
        By what they fit.
    """

    readers: tuple[Reader, ...]
    fits: Mapping[str, Fit]


def _of_gpu(benchmarks: Benchmarks) -> Fits:
    kernels = (partial(read_measurements, name=benchmarks.file(each)) for each in READERS)
    rooms = {
        "gemm": gemm.calibrate,
        "convolution": convolution.calibrate,
        "streaming": streaming.calibrate,
        "recurrent": recurrent.calibrate,
        "power": power.calibrate,
    }
    return Fits(
        (*kernels, partial(power.watts, benchmarks=benchmarks)),
        {name: partial(fit, benchmarks=benchmarks) for name, fit in rooms.items()},
    )


def _of_ascend(device: str) -> Fits:
    return Fits((partial(ascend.read_rows, device=device),), {"ascend": partial(ascend.calibrate, device=device)})


def _of_pytorch(name: str, device: str) -> Fits:
    """Of a GPU that was measured in PyTorch: half of the shapes of each file are fitted, the others scored.

    `name` begins the names of the files; `device` is the same, or the path of the device's file.
    """
    return Fits(
        (
            *(partial(read_kernels, device=name, what=what) for what in ("gemm", "conv", "other")),
            partial(streaming_rows.read_streaming, device=name),
            partial(step_kernels.read_all_profiles, device=name),
        ),
        {
            "gemm": partial(pytorch_gemm.calibrate, device=device, starts=pytorch_gemm.H200),
            "convolution": partial(pytorch_convolution.calibrate, device=device, searched=SEARCHED),
            "attention": partial(pytorch_attention.calibrate, device=device, searches=pytorch_attention.H200),
            "recurrent": partial(pytorch_recurrent.calibrate, device=device),
            "streaming": partial(pytorch_streaming.calibrate, device=device),
            "host": partial(host.calibrate, device=device),
            "power": partial(pytorch_power.calibrate, device=device),
            "steps": partial(whole_steps.calibrate, device=device),
        },
    )


FITS: dict[str, Fits] = {
    "v100": _of_gpu(V100),
    "ascend310": _of_ascend("ascend310"),
    "h200": _of_pytorch("h200", "h200"),
}
"""Fits by device; boards of one chip share its constants."""


@dataclass(frozen=True)
class Fitted:
    """A constant as the measurements give it, beside what the device's file states."""

    name: str
    fitted: float
    stated: float


def fits_of(device: Device, where: str) -> Fits:
    """The fits of a device: those of its name; else, of a GPU whose file has the sections of one that was measured in
    PyTorch, that one's, with its searches.

    Raises
    ------
    SimhwError
        There are none.
    """
    if device.name in FITS:
        return FITS[device.name]
    if isinstance(device.values, GpuValues) and device.values.pipelined_gemm is not None:
        return _of_pytorch(device.name, where)
    raise SimhwError(
        f"no constants of {device.name} are fitted; there are fits for {', '.join(FITS)}, and for files that extend "
        "parts of an h200"
    )


def calibrate(device: Device, folder: Path, where: str | None = None) -> tuple[list[Fitted], list[Score]]:
    """Fit a device's constants to a folder of measurements, and score its models on rows that no fit saw.

    Parameters
    ----------
    device : Device
    folder : Path
    where : str, optional
        The device's file, if it is not one that comes with simhw.

    Raises
    ------
    SimhwError
        Nothing is fitted for the device, the folder is missing, a file of it cannot be read, or its rows are too few.
    """
    found_fits = fits_of(device, where or device.name)
    if not folder.is_dir():
        raise SimhwError(f"{folder}: no such folder; give the one that holds the measurements")
    for read in found_fits.readers:
        read(folder)
    values = device.values.model_dump()
    constants: list[Fitted] = []
    scores: list[Score] = []
    for fitted, found in _results(found_fits.fits, folder):
        constants += [Fitted(name, value, float(leaf(values, name))) for name, value in fitted.items()]
        scores += found
    return constants, scores


def _results(fits: Mapping[str, Fit], folder: Path) -> Iterator[tuple[dict[str, float], list[Score]]]:
    for name, fit in track(fits.items(), "fitting", len(fits)):
        try:
            yield fit(folder)
        except StatisticsError:
            raise SimhwError(
                f"{folder}: too few rows to fit the constants of {name}: some kind of kernel has none"
            ) from None
