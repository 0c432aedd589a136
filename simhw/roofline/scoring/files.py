"""Which files of measurements a folder holds, and the errors on each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simhw.errors import SimhwError, quoted
from simhw.machine.names import device_names
from simhw.roofline.calibration.measurements import READERS
from simhw.roofline.device import Device
from simhw.roofline.scoring import kernels
from simhw.roofline.scoring.gains import Gain, gains
from simhw.roofline.scoring.kernels import Found, Half, half_of
from simhw.roofline.scoring.steps import predicted_steps, step_tables
from simhw.roofline.scoring.table import LeftOut, ScoreTable, joined
from simhw.roofline.scoring.throughput import throughput

Whole = Callable[[Path, str, Device], Found]
"""Scores a file whose rows no rule divides: folder, the file's name without ``.csv``, device."""
Divided = Callable[[Path, str, Device, Half], Found]
"""Scores a file measured in PyTorch: folder, name of the device in the file's, device, half."""

LIBRARIES = tuple(name.replace("_", "_{}_", 1) for name in READERS)
"""Names of files of DeepBench and NeuSight, with a gap for the chip."""
PYTORCH: dict[str, Divided] = {
    "{}_gemm": kernels.products,
    "{}_conv": kernels.convolutions,
    "{}_streaming": kernels.functions,
    "{}_other": kernels.others,
}
"""Kernels measured in PyTorch."""
STEPS = "{}_steps"
THROUGHPUT = "{}_fps"
UNSCORED = {
    "{}_step_kernels": "kernels of whole steps, of which most have no operator of their own; the steps are scored",
    "accelwattch_{}_power": "watts of kernels whose operations are not known",
}
"""Files that are known and not scored, and why."""


@dataclass(frozen=True)
class Scores:
    """What a folder tells of a device.

    Attributes
    ----------
    tables : list of ScoreTable
    gains : list of Gain
    left_out : list of LeftOut
    """

    tables: list[ScoreTable]
    gains: list[Gain]
    left_out: list[LeftOut]


def names_of(device: Device) -> list[str]:
    """What files may call a device: its name, and that of the chip of which it is a board (v100 for v100-pcie)."""
    chips = [name for name in device_names() if device.name.startswith(f"{name}-")]
    return [device.name, *chips]


def score_folder(device: Device, folder: Path, half: Half = "all", called: str | None = None) -> Scores:
    """Errors of a device's constants on every file of a folder that is named after it.

    Parameters
    ----------
    device : Device
    folder : Path
    half : str
        Of files measured in PyTorch, the shapes that a fit sees, those that it does not, or all.  Where one is asked
        for, files that have no halves are left out.
    called : str, optional
        What the files call the device; else as `names_of`.

    Raises
    ------
    SimhwError
        The folder is missing, has none of the files, or a row of one cannot be read.
    """
    if not folder.is_dir():
        raise SimhwError(f"{folder}: no such folder; give the one that holds the measurements")
    names = [called] if called is not None else names_of(device)
    patterns = (*PYTORCH, STEPS, THROUGHPUT, *LIBRARIES, *UNSCORED)
    present = [
        (pattern, name) for pattern in patterns for name in names if (folder / f"{pattern.format(name)}.csv").is_file()
    ]
    if not present:
        looked_for = ", ".join(f"{pattern.format(names[0])}.csv" for pattern in patterns)
        also = f" (and the same of {', '.join(names[1:])})" if names[1:] else ""
        raise SimhwError(f"{folder}: no measurements of {quoted(names[0])}; looked for {looked_for}{also}")
    scores = Scores([], [], [])
    for pattern, name in present:
        _score(pattern, name, folder, device, half, scores)
    return Scores(joined(scores.tables), scores.gains, scores.left_out)


def _score(pattern: str, name: str, folder: Path, device: Device, half: Half, scores: Scores) -> None:
    file = pattern.format(name)
    if pattern in UNSCORED:
        scores.left_out.append(LeftOut(UNSCORED[pattern], f"{file}.csv"))
    elif pattern == STEPS:
        _score_steps(folder, name, device, half, scores)
    elif pattern in PYTORCH:
        _add(PYTORCH[pattern](folder, name, device, half), scores)
    elif half != "all":
        scores.left_out.append(LeftOut("no rule divides its rows into halves", f"{file}.csv"))
    elif pattern == THROUGHPUT:
        _add(throughput(folder, name, device), scores)
    else:
        _add(kernels.library_calls(folder, file, device), scores)


def _score_steps(folder: Path, name: str, device: Device, half: Half, scores: Scores) -> None:
    steps, left = predicted_steps(folder, name, device)
    own = half_of(steps, half)
    chosen = {id(step) for step in own}
    _add((step_tables(own), left), scores)
    # A variant belongs to a half; the plain network beside it may belong to the other.
    scores.gains.extend(gain for gain in gains(steps) if id(gain.variant) in chosen)


def _add(found: Found, scores: Scores) -> None:
    tables, left = found
    scores.tables.extend(tables)
    scores.left_out.extend(left)
