"""Kernels of whole steps, read from ``DEVICE_step_kernels.csv``: what a profiler saw, in order, by name.

Only kernels whose operator is certain are taken from it: batch norms, which come in the order of the layers, and the
copies that widen gradients and the pools around them, of which there is one size each or whose sizes sort them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from simhw.roofline.calibration.measured_rows import measured_rows
from simhw.roofline.calibration.pytorch.kernels import Timed
from simhw.roofline.calibration.pytorch.steps import MeasuredStep, read_steps
from simhw.roofline.compression.decompose import is_shortcut
from simhw.roofline.layers.network import Network
from simhw.roofline.operators import Streaming
from simhw.roofline.step.step import Phase, Work, step

Kernel = tuple[str, float]
"""Name and seconds."""
COLUMNS = ("model", "variant", "batch", "mode", "precision", "layout")


@dataclass(frozen=True)
class Profile:
    """The kernels of one eager step.

    Attributes
    ----------
    measured : MeasuredStep
    kernels : tuple of Kernel
    """

    measured: MeasuredStep
    kernels: tuple[Kernel, ...]

    @property
    def device_s(self) -> float:
        """Seconds of all kernels, gaps between them left out."""
        return sum(seconds for _, seconds in self.kernels)


@dataclass(frozen=True)
class Series:
    """Kernels that belong together: from one whose name has `first` to the next whose name has `last`.

    Attributes
    ----------
    function : str
        Of the operator that they are.
    phase : str
    first, last : str
        Patterns.
    """

    function: str
    phase: Phase
    first: str
    last: str


SERIES = (
    Series(
        "batchnorm", "forward", r"FillFunctor<int>|batch_norm_collect|bn_fw_tr", r"batch_norm_transform_input|bn_fw_tr"
    ),
    Series("batchnorm_inference", "forward", r"direct_copy_kernel", r"batch_norm_transform_input"),
    Series("batchnorm_grad", "input_grad", r"FillFunctor<int>", r"batch_norm_backward_elemt_channels_last"),
    Series("batchnorm_grad", "input_grad", r"batch_norm_backward_kernel|bn_bw", r"batch_norm_backward_kernel|bn_bw"),
    Series("max_pool", "forward", r"max_pool_forward", r"max_pool_forward"),
    Series("max_pool_grad", "input_grad", r"FillFunctor<(float|c10)", r"max_pool_backward"),
)
"""What is taken in the order of the layers."""
FEW = 3
"""Small kernels of the same name that are no operators of the step: the loss casts too."""
SORTED = (Series("widen", "weight_grad", r"unrolled_elementwise_kernel<.*direct_copy", r""),)
"""What is taken by size: the longest kernel is the largest operator's."""


def read_profiles(folder: Path, device: str, steps: Sequence[MeasuredStep]) -> list[Profile]:
    """The kernels of each of the steps that the file has.

    Raises
    ------
    SimhwError
        The file is missing, or a row of it cannot be read.
    """
    known = {
        (each.model, each.variant, each.run.batch, each.run.mode, each.run.precision, each.run.layout): each
        for each in steps
    }
    rows = measured_rows(folder, f"{device}_step_kernels")
    profiles = []
    for key, group in groupby(rows, lambda row: tuple(row.text(column) for column in COLUMNS)):
        found = known.get((*key[:2], int(key[2]) if key[2].isdecimal() else 0, *key[3:]))
        kernels = tuple((row.text("kernel"), row.quantity("us") * 1e-6) for row in group)
        if found is not None:
            profiles.append(Profile(found, kernels))
    return profiles


def read_all_profiles(folder: Path, device: str) -> list[Profile]:
    """The kernels of every step, and with them the steps; raises as `read_profiles` and `read_steps`."""
    return read_profiles(folder, device, read_steps(folder, device))


def matched(profile: Profile, gap_s: float) -> Iterator[Timed]:
    """Operators of a step and their measured seconds, a gap after each kernel included.

    A series whose kernels are not as many as the operators is passed over: the step model runs it otherwise.
    """
    work = step(profile.measured.network, profile.measured.run)
    order = _executed(profile.measured.network)
    for series in SERIES:
        own = _own(work, series)
        own.sort(key=lambda each: order[each.layer], reverse=series.phase != "forward")
        found = list(_runs(profile.kernels, series))
        if own and len(own) == len(found):
            yield from (
                _timed(each, sum(seconds + gap_s for _, seconds in kernels), profile)
                for each, kernels in zip(own, found, strict=True)
            )
    for series in SORTED:
        own = sorted(_own(work, series), key=lambda each: each.operator.dram_bytes)
        times = sorted(seconds for name, seconds in profile.kernels if re.search(series.first, name))
        if own and len(own) <= len(times) <= len(own) + FEW:
            largest = times[len(times) - len(own) :]
            yield from (_timed(each, time + gap_s, profile) for each, time in zip(own, largest, strict=True))


def _timed(work: Work, seconds: float, profile: Profile) -> Timed:
    operator = work.operator
    assert isinstance(operator, Streaming)
    shape = (operator.name, operator.rows, operator.columns)
    return Timed((operator,), seconds, None, f"{operator.name} of a step", shape, profile.measured.place)


def _own(work: Sequence[Work], series: Series) -> list[Work]:
    return [
        each
        for each in work
        if isinstance(each.operator, Streaming)
        and each.operator.name == series.function
        and (each.phase == series.phase)
    ]


def _runs(kernels: Sequence[Kernel], series: Series) -> Iterator[list[Kernel]]:
    """Kernels from the nearest `first` before a `last`, up to it."""
    since: list[Kernel] | None = None
    for kernel in kernels:
        if re.search(series.first, kernel[0]):
            since = []
        if since is not None:
            since.append(kernel)
            if re.search(series.last, kernel[0]):
                yield since
                since = None


def _executed(network: Network) -> dict[str, int]:
    """Places of layers in the order in which PyTorch's ResNet runs them: a block's shortcut first."""
    names = [layer.name for layer in network.layers]
    block = {name: ".".join(name.split(".")[:2]) if name.startswith("layer") else name for name in names}
    first = {each: place for place, each in reversed(list(enumerate(block[name] for name in names)))}
    shortcuts = {layer.name for layer in network.layers if is_shortcut(layer)}
    ordered: Callable[[str], tuple[int, bool]] = lambda name: (first[block[name]], name not in shortcuts)  # noqa: E731
    return {name: place for place, name in enumerate(sorted(names, key=ordered))}
