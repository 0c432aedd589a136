"""Fit of an Ascend to images per second of whole networks, one network left out at a time.

Three constants are fitted: the time of an operator beside its work, the share of its stages that the longest does not
hide, and the rate at which data change layout.  The time of a network is linear in the first two and in one over the
third, so that each network is predicted twice and every fit after that is arithmetic.

The first two are fitted to networks of two-dimensional convolutions, ReLU, pooling and sums alone, whose groups are
either of one channel or as wide as the layout's innermost dimension: for these a compiler's graph has the operators
that a list of layers tells.  The rate is fitted to those of the other networks that change layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean

from scipy.optimize import minimize, minimize_scalar

from simhw.errors import SimhwError, quoted
from simhw.roofline.ascend.values import AscendValues
from simhw.roofline.calibration.measured_rows import measured_rows
from simhw.roofline.calibration.score import Score, score_of, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.layers.network import Conv, Linear, Network, Normalization, Pointwise, Pool
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.forward import is_relayout
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step

NETWORKS = {
    "AlexNet": "alexnet",
    "C3D": "c3d",
    "CSPResneXt50": "cspresnext50",
    "DPN131": "dpn131",
    "Deit_Small": "vit-s",
    "DnCNN": "dncnn",
    "EfficientNet-B3": "efficientnet-b3",
    "HRNet-Image-Classification": "hrnet-w18",
    "InceptionResnetV2": "inception-resnet-v2",
    "MobileNet-v1": "mobilenet-v1",
    "OSNet": "osnet_x1_0",
    "RegNetX-1.6GF": "regnetx-1.6gf",
    "ReID_for_Pytorch": "reid-strong-baseline",
    "Res2Net101_v1b": "res2net101-v1b",
    "ResNet18": "resnet18",
    "ResNet34": "resnet34",
    "Se-Resnext101": "se-resnext101",
    "Shufflenetv2+": "shufflenetv2-plus-small",
    "Sknet50": "sk-resnet50",
    "Squeezenet1_1": "squeezenet1_1",
    "spnasnet_100": "spnasnet_100",
    "xception": "xception",
}
"""Layer lists of the models that the file names and that can be built."""
CLIPS = {"C3D": 10}
"""Samples of the list in one of the file's: a video is ten clips."""
FUNCTIONS = {"relu", "relu6", "add", "fork", "dropout"}
UNIT_S = 1e-5
UNFITTED = 1.0
"""A rate for networks that do not change layout."""
RATES = (log(0.1), log(100.0))
"""Logarithms of bytes per cycle and core between which the rate of a change of layout is searched."""


@dataclass(frozen=True)
class MeasuredNetwork:
    """A row of the file, and the parts of its predicted time.

    Attributes
    ----------
    model, network, batch : str, Network, int
    seconds : float
        Measured, of a batch.
    operators : float
        Operators that are launched.
    longest_s, hidden_s : float
        Sums of the operators' longest stages, and of the others, but for changes of layout.
    relaid_s : float
        Sum of the changes of layout, at a byte per cycle and core.
    textbook_s : float
        Sum of the larger of operations at the peak and bytes at the peak bandwidth.
    """

    model: str
    network: Network
    batch: int
    seconds: float
    operators: float
    longest_s: float
    hidden_s: float
    relaid_s: float
    textbook_s: float

    def predicted_s(self, operator_s: float, exposed: float, relayout: float) -> float:
        """Seconds with other constants."""
        return self.longest_s + exposed * self.hidden_s + operator_s * self.operators + self.relaid_s / relayout


def measured_file(device: str) -> str:
    """Name of the file that tells of a device, without ``.csv``."""
    return f"{device}_fps"


def read_rows(folder: Path, device: str) -> list[tuple[str, int, float]]:
    """Model, batch and images per second of the measured networks that can be built.

    Raises
    ------
    SimhwError
        The file is missing or cannot be read; names the row.
    """
    rows = [
        (row.text("model"), row.count("batch"), row.quantity("images_per_second"))
        for row in measured_rows(folder, measured_file(device))
    ]
    return [row for row in rows if row[0] in NETWORKS]


def read_networks(folder: Path, ascend: AscendValues) -> list[MeasuredNetwork]:
    """Measured networks that can be built; raises as `read_rows`."""
    rows = read_rows(folder, ascend.name)
    parts = {
        key: _parts(load_network(NETWORKS[key[0]]), key[1] * CLIPS.get(key[0], 1), ascend)
        for key in {row[:2] for row in rows}
    }
    return [
        MeasuredNetwork(model, load_network(NETWORKS[model]), batch, batch / rate, *parts[model, batch])
        for model, batch, rate in rows
    ]


def _parts(network: Network, batch: int, ascend: AscendValues) -> tuple[float, float, float, float, float]:
    """Operators, seconds of longest stages, of other stages and of changes of layout, and the textbook's, which knows
    no layouts.
    """
    units = {"operator_s": UNIT_S, "relayout": 1.0}
    counted, hidden = (
        ascend.model_copy(update={"achieved": ascend.achieved.model_copy(update=units | {"exposed": exposed})})
        for exposed in (0.0, 1.0)
    )
    operators = longest_s = both_s = relaid_s = textbook_s = 0.0
    for each in step(network, Run(batch, "inference", "fp16", "fused"), ascend.compiler):
        prediction = counted.predict(each.operator)
        launched = prediction.times_s["launch"] / UNIT_S
        operators += launched
        worked_s = prediction.seconds - UNIT_S * launched
        if is_relayout(each.operator):
            relaid_s += worked_s
            continue
        longest_s += worked_s
        both_s += hidden.predict(each.operator).seconds - UNIT_S * launched
        textbook_s += textbook_seconds(each.operator, ascend.hardware)
    return operators, longest_s, both_s - longest_s, relaid_s, textbook_s


def is_plain(network: Network, depth: int) -> bool:
    """Whether a network is of those that are fitted; `depth` is the layout's innermost dimension."""
    return all(_is_plain(layer, depth) for layer in network.layers)


def _is_plain(layer: object, depth: int) -> bool:
    if isinstance(layer, Conv):
        width = layer.in_channels // layer.groups
        return len(layer.size) == 2 and (layer.groups == 1 or width == 1 or width >= depth)
    if isinstance(layer, Pointwise):
        return layer.function in FUNCTIONS
    return isinstance(layer, Linear | Normalization | Pool)


def fit(rows: Sequence[MeasuredNetwork]) -> tuple[float, float]:
    """Seconds of an operator, and the exposed share, with the least mean error; every network weighs the same.

    Raises
    ------
    SimhwError
        There are no rows.
    """
    if not rows:
        raise SimhwError("no measured network to fit to")
    models = sorted({row.model for row in rows})

    def error(point: Sequence[float]) -> float:
        operator_s, exposed = abs(point[0]) * UNIT_S, min(abs(point[1]), 1.0)
        return fmean(
            fmean(
                abs(row.predicted_s(operator_s, exposed, UNFITTED) / row.seconds - 1)
                for row in rows
                if row.model == model
            )
            for model in models
        )

    starts = ([1.0, 0.5], [2.0, 0.9])
    best = min(
        (minimize(error, start, method="Nelder-Mead") for start in starts), key=lambda result: float(result.fun)
    ).x
    return abs(float(best[0])) * UNIT_S, min(abs(float(best[1])), 1.0)


def fit_relayout(rows: Sequence[MeasuredNetwork], operator_s: float, exposed: float) -> float | None:
    """Bytes per cycle and core that change layout, with the least mean error of the logarithm; every network weighs the
    same.  None where no network changes layout.

    Parameters
    ----------
    rows : sequence of MeasuredNetwork
    operator_s, exposed : float
        As fitted to plain networks.
    """
    models = sorted({row.model for row in rows if row.relaid_s})
    if not models:
        return None

    def error(rate: float) -> float:
        return fmean(
            fmean(
                abs(log(row.predicted_s(operator_s, exposed, exp(rate)) / row.seconds))
                for row in rows
                if row.model == model
            )
            for model in models
        )

    return exp(float(minimize_scalar(error, bounds=RATES, method="bounded").x))


def calibrate(folder: Path, device: str) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to all networks, and the errors on each network left out.

    Networks that are not plain take the first two constants from those that are, and the rate from the others that
    change layout, or where there are none from the device's file.

    Raises
    ------
    SimhwError
        As `read_rows`, or there are fewer than two plain networks, so that none can be left out.
    """
    ascend = load_device(device).values
    if not isinstance(ascend, AscendValues):
        raise SimhwError(f"device {quoted(device)} is no Ascend; only those are fitted to whole networks")
    file, stated = measured_file(device), ascend.achieved.relayout
    rows = read_networks(folder, ascend)
    plain = [row for row in rows if is_plain(row.network, ascend.hardware.cube_depth["fp16"])]
    others = [row for row in rows if row not in plain]
    models = sorted({row.model for row in plain})
    if len(models) < 2:
        known = ", ".join(models) or "none"
        raise SimhwError(
            f"{folder / file}.csv: a fit takes rows of two networks that are plain, such as ResNet18 and ResNet34; "
            f"there are {known}"
        )
    operator_s, exposed = fit(plain)
    constants = {"achieved.operator_s": operator_s, "achieved.exposed": exposed}
    scores, held = [], []
    for model in models:
        left = fit([row for row in plain if row.model != model])
        own = [(row, row.predicted_s(*left, UNFITTED)) for row in plain if row.model == model]
        scores.append(_score(file, model, "the other plain networks", own))
        held += own
    together = [_score(file, "plain networks", "the other plain networks, each left out in turn", held)]
    if not others:
        return constants, [*together, *scores]
    fitted_on, held = "plain networks, and of the others each left out in turn", []
    for model in sorted({row.model for row in others}):
        rate = fit_relayout([row for row in others if row.model != model], operator_s, exposed) or stated
        own = [(row, row.predicted_s(operator_s, exposed, rate)) for row in others if row.model == model]
        scores.append(_score(file, f"{model} (not plain)", fitted_on, own))
        held += own
    together.append(_score(file, "networks that are not plain", fitted_on, held))
    relayout = fit_relayout(others, operator_s, exposed)
    if relayout is not None:
        constants["achieved.relayout"] = relayout
    return constants, [*together, *scores]


def _score(file: str, name: str, fitted_on: str, rows: Sequence[tuple[MeasuredNetwork, float]]) -> Score:
    # Of images per second, which is what was measured.
    measured = [1 / row.seconds for row, _ in rows]
    predicted, textbook = [1 / seconds for _, seconds in rows], [1 / row.textbook_s for row, _ in rows]
    batches = ", ".join(str(batch) for batch in sorted({row.batch for row, _ in rows}))
    return score_of(name, fitted_on, f"{file}, batch {batches}", predicted, measured, textbook)
