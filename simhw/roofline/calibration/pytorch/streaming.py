"""Fit of streaming kernels measured in PyTorch: groups of kernels one after another, each to the rows that it runs in.

Beside the rows of single kernels stand those of steps of the fitted half whose operator is certain
(`simhw.roofline.calibration.pytorch.step_kernels`): batch norm with channels last was measured nowhere else.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from simhw.machine.dotted import assign, leaf
from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.kernels import Timed
from simhw.roofline.calibration.pytorch.step_kernels import Profile, matched, read_profiles
from simhw.roofline.calibration.pytorch.steps import read_steps
from simhw.roofline.calibration.pytorch.streaming_rows import read_streaming, read_updates
from simhw.roofline.calibration.score import Score, score_of, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.streaming import StreamingParameters, predict_streaming
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.operators import Streaming

OUTLIER = 0.05
"""Deviation beyond which a row counts less than by its square."""
HELD = 0.02
"""Weight of a constant's deviation from its start, as a logarithm, in that of a row's time."""
FIRST_BYTES = 3e5
"""Traffic below which an elementwise kernel takes nothing but its launch."""
COUNTER = r"CUDAFunctorOnSelf_add<long>"
"""A kernel that does nothing but begin and end: it counts a batch norm's steps."""
SEVERAL = 4
"""Rows of a step's kernel of one shape that count, of those that repeated blocks bring."""

STARTS = {
    "dram_bytes_per_s": (1e11, 4e12, 1e13),
    "start_s": (1e-8, 1e-6, 1e-4),
    "piece_s": (1e-10, 1e-8, 1e-5),
    "row_s": (1e-10, 1e-7, 1e-4),
    "value_s": (1e-13, 1e-10, 1e-5),
    "rows_to_fill": (0.02, 2.0, 64.0),
    "cold_rows_to_fill": (0.02, 4.0, 64.0),
    "near_bytes": (4e6, 1.3e7, 3e7),
    "resident_bytes": (3.1e7, 3.6e7, 4.4e7),
    "spilled_bytes": (4.5e7, 5.2e7, 9e7),
    "near_bytes_per_s": (6e12, 1.2e13, 3e13),
    "far_bytes_per_s": (4e12, 5.6e12, 1e13),
    "shared_s": (1e-8, 2e-6, 1e-5),
    "partial_s": (1e-8, 2.5e-7, 1e-6),
    "byte_s": (1e-13, 4e-11, 1e-8),
    "loads_per_s": (2e11, 1.3e12, 1e13),
    "block_bytes_per_s": (1e10, 1e11, 1e12),
}
"""Lowest, first and highest value of a search, by a constant's last name."""


@dataclass(frozen=True)
class Group:
    """Constants that are fitted together.

    Attributes
    ----------
    constants : tuple of str
        Dotted names under ``streaming``.
    rows : tuple of str
        Kinds of rows, as `Timed` has them.
    starts : mapping of str to float
        Where some of the constants set out, where that is not as `STARTS` has it.
    """

    constants: tuple[str, ...]
    rows: tuple[str, ...]
    starts: Mapping[str, float]


def case(name: str, *constants: str, rows: Sequence[str], **starts: float) -> Group:
    """Constants of one kernel: of a kind, or of a function in some case."""
    prefix = f"functions.{name}.kernel" if "." in name else f"kernels.{name}"
    return Group(
        tuple(f"{prefix}.{each}" for each in constants),
        tuple(rows),
        {f"{prefix}.{each}": start for each, start in starts.items()},
    )


RATE, START, ROW, VALUE, FILL = "dram_bytes_per_s", "start_s", "row_s", "value_s", "rows_to_fill"
PIECE = "piece_s"
BLOCKS = (START, ROW, VALUE, FILL, "cold_rows_to_fill")
RESIDENCY = ("near_bytes", "resident_bytes", "spilled_bytes", "near_bytes_per_s", "far_bytes_per_s")
H200 = (
    Group(
        (
            *(f"residency.{each}" for each in RESIDENCY),
            *(f"kernels.{kind}.{each}" for kind in ("elementwise", "activation") for each in (RATE, START, VALUE)),
        ),
        ("add forward", "mul forward", "relu forward", "relu backward"),
        {"kernels.elementwise.start_s": 1e-7, "kernels.activation.start_s": 1e-7},
    ),
    case("gelu.any", RATE, START, VALUE, rows=["gelu forward"]),
    case("gelu_grad.any", RATE, START, VALUE, rows=["gelu backward"]),
    case("softmax.warp", RATE, START, VALUE, FILL, rows=["softmax forward"], rows_to_fill=12.0),
    case("softmax.block", START, VALUE, rows=["softmax forward"]),
    case("softmax_grad.warp", START, VALUE, FILL, rows=["softmax backward"], rows_to_fill=12.0),
    case("softmax_grad.block", START, VALUE, rows=["softmax backward"]),
    case("layernorm.vectors", START, ROW, FILL, rows=["layer_norm forward"]),
    case("layernorm.scalars", START, ROW, "byte_s", rows=["layer_norm forward"], row_s=6e-7),
    Group(
        (
            *(f"functions.layernorm_grad.any.kernel.{each}" for each in (START, ROW, VALUE)),
            *(f"functions.layernorm_weight_grad.tall.kernel.{each}" for each in (START, VALUE)),
        ),
        ("layer_norm backward",),
        {"functions.layernorm_grad.any.kernel.row_s": 1e-8},
    ),
    case("batchnorm.four_bytes", RATE, *BLOCKS, rows=["batch_norm forward", "batchnorm of a step"], row_s=1e-6),
    case("batchnorm.two_bytes", RATE, *BLOCKS, PIECE, rows=["batch_norm forward", "batchnorm of a step"], row_s=1e-6),
    case("batchnorm.channels_last", RATE, START, VALUE, rows=["batchnorm of a step"]),
    case(
        "batchnorm_grad.four_bytes", RATE, *BLOCKS, rows=["batch_norm backward", "batchnorm_grad of a step"], row_s=1e-6
    ),
    case(
        "batchnorm_grad.two_bytes",
        *(RATE, *BLOCKS, PIECE),
        rows=["batch_norm backward", "batchnorm_grad of a step"],
        row_s=1e-6,
    ),
    case("batchnorm_grad.channels_last", RATE, START, VALUE, rows=["batchnorm_grad of a step"]),
    case("batchnorm_inference.planes", START, ROW, VALUE, rows=["batchnorm_inference of a step"]),
    case("max_pool.planes", START, ROW, VALUE, rows=["max_pool forward", "max_pool of a step"]),
    case("max_pool.channels_last", VALUE, rows=["max_pool of a step"], value_s=5e-10),
    case("max_pool_grad.planes", START, ROW, VALUE, rows=["max_pool backward", "max_pool_grad of a step"]),
    case("max_pool_grad.channels_last", VALUE, rows=["max_pool_grad of a step"], value_s=1e-9),
    case("embedding", RATE, START, VALUE, rows=["embedding forward"]),
    case("nll_loss.any", START, VALUE, rows=["cross_entropy forward"], value_s=2e-6),
    case("clone.small", START, rows=["copy forward"]),
    case("clone.large", RATE, START, rows=["copy forward", "bandwidth"]),
    case("widen.any", START, VALUE, rows=["widen of a step"]),
    Group(
        (
            *(f"column_sums.{each}" for each in (START, "shared_s", "thread_row_s", "partial_s", "loads_per_s")),
            "kernels.reduction.dram_bytes_per_s",
        ),
        ("sum forward",),
        {"column_sums.thread_row_s": 4e-8, "column_sums.start_s": 2e-6},
    ),
    Group(("multi_tensor.block_bytes_per_s", "kernels.optimizer.start_s"), ("sgd", "adamw", "adamw_fused"), {}),
)
"""Groups in the order in which they are fitted: what elementwise kernels tell of the L2, the others need."""


def predicted_s(row: Timed, parameters: StreamingParameters, hardware: GpuHardware, stream_s: float) -> float:
    """Seconds of a row; single kernels were measured in a stream, where each takes `stream_s` more than in a graph."""
    more = 0.0 if row.kind.endswith("of a step") else stream_s
    seconds = 0.0
    for operator in row.operators:
        assert isinstance(operator, Streaming), "the files hold streaming kernels alone"
        seconds += predict_streaming(operator, hardware, parameters).seconds + more * parameters.launches(operator)
    return seconds


def _takes(group: Group, parameters: StreamingParameters, row: Timed) -> bool:
    """Whether a row runs in a kernel whose constants are fitted."""
    if row.kind not in group.rows:
        return False
    cases = {tuple(name.split(".")[1:3]) for name in group.constants if name.startswith("functions.")}
    if not cases:
        return True
    for operator in row.operators:
        assert isinstance(operator, Streaming)
        taken = next(
            (name for name, each in parameters.functions.get(operator.name, {}).items() if each.takes(operator)), None
        )
        if (operator.name, taken) in cases:
            return True
    return False


def fit_group(
    group: Group, rows: Sequence[Timed], parameters: StreamingParameters, hardware: GpuHardware, stream_s: float
) -> dict[str, float]:
    """Constants of a group by dotted name: least squares on logarithms of time, outliers damped; deterministic.

    Raises
    ------
    StatisticsError
        No row runs in the group's kernels.
    """
    own = [row for row in rows if _takes(group, parameters, row)]
    fmean(row.seconds for row in own)
    truth = np.log([row.seconds for row in own])
    searches = [STARTS[_kind(name)] for name in group.constants]
    low, high = (np.log([search[place] for search in searches]) for place in (0, 2))
    start = np.log([group.starts.get(name, search[1]) for name, search in zip(group.constants, searches, strict=True)])
    stated = parameters.model_dump()

    def named(point: npt.NDArray[np.float64]) -> dict[str, float]:
        return {name: math.exp(value) for name, value in zip(group.constants, point, strict=True)}

    def deviations(point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        tried = with_constants(stated, named(point))
        seconds = [predicted_s(row, tried, hardware, stream_s) for row in own]
        return np.concatenate([np.log(seconds) - truth, HELD * (point - start)])

    found = least_squares(
        deviations, start, bounds=(low, high), diff_step=0.02, loss="soft_l1", f_scale=OUTLIER, max_nfev=60
    )
    return named(found.x)


def _kind(name: str) -> str:
    last = name.rpartition(".")[2]
    return "start_s" if last == "thread_row_s" else last


def with_constants(stated: Mapping[str, Any], constants: Mapping[str, float]) -> StreamingParameters:
    """Parameters with some constants changed, by dotted name."""
    values: dict[str, Any] = deepcopy(dict(stated))
    for name, value in constants.items():
        assign(values, name, round(value) if isinstance(leaf(stated, name), int) else value, "a fit")
    return StreamingParameters.model_validate(values)


def launch_costs(rows: Sequence[Timed], profiles: Sequence[Profile]) -> tuple[float, float, float]:
    """Seconds from a kernel's end to the next one's start in a graph; of the smallest kernel with this; and what a
    stream adds.

    A graph's time less that of its kernels is gaps.  The smallest kernel of a step counts batches.  In a stream the
    smallest elementwise kernels take longer.
    """
    graphs = [(each.measured.graph_s, each) for each in profiles if each.measured.graph_s is not None]
    gap_s = median(max(0.0, seconds - each.device_s) / len(each.kernels) for seconds, each in graphs)
    least_s = median(seconds for each in profiles for name, seconds in each.kernels if COUNTER in name)
    small_s = median(
        row.seconds
        for row in rows
        if row.kind in ("add forward", "mul forward", "relu forward") and row.operators[0].dram_bytes < FIRST_BYTES
    )
    return gap_s, gap_s + least_s, max(0.0, small_s - gap_s - least_s)


def fit(
    rows: Sequence[Timed],
    profiles: Sequence[Profile],
    groups: Sequence[Group],
    parameters: StreamingParameters,
    hardware: GpuHardware,
) -> tuple[dict[str, float], StreamingParameters, float]:
    """All constants by dotted name, the parameters with them, and what a stream adds to a kernel [s]."""
    gap_s, launch_s, stream_s = launch_costs(rows, profiles)
    own = [*rows, *few_of_each([row for each in profiles for row in matched(each, gap_s)])]
    constants = {"launch_s": launch_s}
    parameters = with_constants(parameters.model_dump(), constants)
    for group in groups:
        found = fit_group(group, own, parameters, hardware, stream_s)
        constants |= found
        parameters = with_constants(parameters.model_dump(), found)
    return constants, parameters, stream_s


def few_of_each(rows: Sequence[Timed]) -> list[Timed]:
    """At most `SEVERAL` rows of one shape and number: blocks repeat, and count no more for it."""
    seen: dict[object, int] = {}
    kept = []
    for row in rows:
        key = row.operators
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= SEVERAL:
            kept.append(row)
    return kept


def calibrate(folder: Path, device: str, groups: Sequence[Group] = H200) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to one half of the shapes, and the errors that these leave on the other."""
    values = load_device(device).values
    assert isinstance(values, GpuValues)
    fitted_rows, scored_rows = halves(read_streaming(folder, values.name))
    fitted_updates, scored_updates = halves(read_updates(folder, values.name))
    fitted_steps, _ = halves(read_steps(folder, values.name))
    profiles = read_profiles(folder, values.name, fitted_steps)
    constants, parameters, stream_s = fit(
        [*fitted_rows, *fitted_updates], profiles, groups, values.streaming, values.hardware
    )
    seconds: Callable[[Timed], float] = lambda row: predicted_s(row, parameters, values.hardware, stream_s)  # noqa: E731
    scores = scored(scored_rows, seconds, values.hardware, f"{values.name}_streaming")
    scores += scored(scored_updates, seconds, values.hardware, f"{values.name}_other")
    return {f"streaming.{name}": value for name, value in constants.items()} | {"host.stream_s": stream_s}, scores


def scored(rows: Sequence[Timed], seconds: Callable[[Timed], float], hardware: GpuHardware, file: str) -> list[Score]:
    """Errors by kind of row, and of all."""
    kinds: dict[str, list[Timed]] = {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row)
    return [
        score_of(
            name,
            f"even shapes of {file}",
            f"odd shapes of {file}",
            [seconds(row) for row in own],
            [row.seconds for row in own],
            [sum(textbook_seconds(operator, hardware) for operator in row.operators) for row in own],
        )
        for name, own in (*kinds.items(), (f"all of {file}", list(rows)))
    ]
