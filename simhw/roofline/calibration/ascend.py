"""Fit of an Ascend to images per second of whole networks, one network left out at a time.

Two constants are fitted: the time of an operator beside its work, and the share of its stages that the longest does not
hide.  The time of a network is linear in both, so that each network is predicted three times and every fit after that
is arithmetic.  Fitted are networks of two-dimensional convolutions, ReLU, pooling and sums alone, whose groups are
either of one channel or as wide as the layout's innermost dimension: for these a compiler's graph has the operators
that a list of layers tells.  Slices and concatenations may become copies to another layout, other functions and narrow
groups kernels of their own, of which no list tells.  Networks with them are scored, too, by the constants of the fitted
ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scipy.optimize import minimize

from simhw.errors import SimhwError, quoted
from simhw.roofline.ascend.values import AscendValues
from simhw.roofline.calibration.measured_rows import measured_rows
from simhw.roofline.calibration.score import Score, score_of, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.layers.network import Conv, Linear, Network, Normalization, Pointwise, Pool
from simhw.roofline.networks.catalogue import load_network
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
        Sums of the operators' longest stages, and of the others.
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
    textbook_s: float

    def predicted_s(self, operator_s: float, exposed: float) -> float:
        """Seconds with other constants."""
        return self.longest_s + exposed * self.hidden_s + operator_s * self.operators


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


def _parts(network: Network, batch: int, ascend: AscendValues) -> tuple[float, float, float, float]:
    """Operators, longest stages, other stages, and the textbook's seconds."""
    counted, hidden = (
        ascend.model_copy(
            update={"achieved": ascend.achieved.model_copy(update={"operator_s": UNIT_S, "exposed": exposed})}
        )
        for exposed in (0.0, 1.0)
    )
    work = step(network, Run(batch, "inference", "fp16", "fused"))
    operators = longest_s = both_s = textbook_s = 0.0
    for each in work:
        prediction = counted.predict(each.operator)
        launched = prediction.times_s["launch"] / UNIT_S
        operators += launched
        longest_s += prediction.seconds - UNIT_S * launched
        both_s += hidden.predict(each.operator).seconds - UNIT_S * launched
        textbook_s += textbook_seconds(each.operator, ascend.hardware)
    return operators, longest_s, both_s - longest_s, textbook_s


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
            fmean(abs(row.predicted_s(operator_s, exposed) / row.seconds - 1) for row in rows if row.model == model)
            for model in models
        )

    starts = ([1.0, 0.5], [2.0, 0.9])
    best = min(
        (minimize(error, start, method="Nelder-Mead") for start in starts), key=lambda result: float(result.fun)
    ).x
    return abs(float(best[0])) * UNIT_S, min(abs(float(best[1])), 1.0)


def calibrate(folder: Path, device: str) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to all plain networks, and the errors on each network left out, and on the networks that no fit
    saw.

    Raises
    ------
    SimhwError
        As `read_rows`, or there are fewer than two plain networks, so that none can be left out.
    """
    ascend = load_device(device).values
    if not isinstance(ascend, AscendValues):
        raise SimhwError(f"device {quoted(device)} is no Ascend; only those are fitted to whole networks")
    file = measured_file(device)
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
    scores, held = [], []
    for model in models:
        constants = fit([row for row in plain if row.model != model])
        own = [(row, row.predicted_s(*constants)) for row in plain if row.model == model]
        scores.append(_score(file, model, "the other plain networks", own))
        held += own
    together = [_score(file, "plain networks", "the other plain networks, each left out in turn", held)]
    predicted = [(row, row.predicted_s(operator_s, exposed)) for row in others]
    if predicted:
        together.append(_score(file, "networks that are not plain", "plain networks", predicted))
    for model in sorted({row.model for row in others}):
        own = [pair for pair in predicted if pair[0].model == model]
        scores.append(_score(file, f"{model} (not plain)", "plain networks", own))
    return {"achieved.operator_s": operator_s, "achieved.exposed": exposed}, [*together, *scores]


def _score(file: str, name: str, fitted_on: str, rows: Sequence[tuple[MeasuredNetwork, float]]) -> Score:
    # Of images per second, which is what was measured.
    measured = [1 / row.seconds for row, _ in rows]
    predicted, textbook = [1 / seconds for _, seconds in rows], [1 / row.textbook_s for row, _ in rows]
    batches = ", ".join(str(batch) for batch in sorted({row.batch for row, _ in rows}))
    return score_of(name, fitted_on, f"{file}, batch {batches}", predicted, measured, textbook)
