"""Fit of LSTM layers measured in PyTorch: a step's time, and its product's share, of the two chains.

A backward row measures both gradients; weight_grad is taken as it stands in the device's file, and the rest is
input_grad's.  Calls of a layer are held, too: the fitted shapes have all the same number of steps, which cannot tell a
call from its steps.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.optimize import least_squares

from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.kernels import Timed, read_kernels
from simhw.roofline.calibration.score import Score, score_of, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.gpu.recurrent import RecurrentParameters, predict_recurrent
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Recurrent
from simhw.trace.layer import Operation

CHAINS: tuple[Operation, ...] = ("forward", "input_grad")
NUMBERS: tuple[Number, ...] = ("fp32", "bf16")
OUTLIER = 0.05
"""Relative error beyond which a row counts by its size, not by its square."""
LEAST_SHARE = 0.01
"""Of a product: a step takes at least a little of it."""


def seconds_of(row: Timed, gpu: GpuValues, parameters: RecurrentParameters) -> float:
    """What a row measured: one operation, or both gradients."""
    return sum(
        predict_recurrent(each, gpu.hardware, parameters, gpu.products).seconds
        for each in row.operators
        if isinstance(each, Recurrent)
    )


def fit_chain(
    rows: Sequence[Timed], gpu: GpuValues, parameters: RecurrentParameters, number: Number, operation: Operation
) -> RecurrentParameters:
    """Step and product's share of one chain: least absolute relative errors, of which the scores are means.

    One shape of few that the library takes another kernel for does not draw the others with it.

    Raises
    ------
    StatisticsError
        There are no rows.
    """
    fmean(row.seconds for row in rows)

    def tried(step_s: float, share: float) -> RecurrentParameters:
        chains = {each: dict(table) for each, table in parameters.chains.items()}
        chains[number][operation] = chains[number][operation].model_copy(
            update={"step_s": step_s, "product_share": share}
        )
        return parameters.model_copy(update={"chains": chains})

    unit = 1e-6
    least, step, whole = (
        np.array([seconds_of(row, gpu, tried(*point)) for row in rows])
        for point in ((0.0, LEAST_SHARE), (unit, LEAST_SHARE), (0.0, 1.0))
    )
    truth = np.array([row.seconds for row in rows])
    features = np.stack([(step - least) / truth, (whole - least) / truth], axis=1)
    wanted = (truth - least) / truth
    # A product in a chain takes no longer than alone.
    steps, shares = least_squares(
        lambda point: features @ point - wanted,
        [1.0, 0.5],
        jac=lambda _: features,
        bounds=([0.0, 0.0], [np.inf, 1.0]),
        x_scale=[10.0, 1.0],
        loss="soft_l1",
        f_scale=OUTLIER,
    ).x
    return tried(float(steps) * unit, LEAST_SHARE + float(shares) * (1.0 - LEAST_SHARE))


def calibrate(folder: Path, device: str) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to one half of the shapes, and the errors that these leave on the other; `device` is a name or
    the path of a file, whose `name` the files of measurements begin with.
    """
    gpu = load_device(device).values
    assert isinstance(gpu, GpuValues)
    fitted_rows, scored_rows = halves([row for row in read_kernels(folder, gpu.name, "other") if row.kind == "lstm"])
    fitted = gpu.recurrent
    constants: dict[str, float] = {}
    found = []
    for number in NUMBERS:
        for operation in CHAINS:
            fitted = fit_chain(_own(fitted_rows, number, operation), gpu, fitted, number, operation)
            chain = fitted.chains[number][operation]
            name = f"recurrent.chains.{number}.{operation}"
            constants |= {f"{name}.step_s": chain.step_s, f"{name}.product_share": chain.product_share}
            found.append(scored(_own(scored_rows, number, operation), gpu, fitted, f"{gpu.name}_other"))
    return constants, found


def scored(rows: Sequence[Timed], gpu: GpuValues, parameters: RecurrentParameters, file: str) -> Score:
    """Errors of one chain."""
    direction = "forward" if rows[0].operators[0].operation == "forward" else "backward"  # type: ignore[union-attr]
    return score_of(
        f"lstm {rows[0].number} {direction}",
        f"even shapes of {file}",
        f"odd shapes of {file}",
        [seconds_of(row, gpu, parameters) for row in rows],
        [row.seconds for row in rows],
        [sum(textbook_seconds(each, gpu.hardware) for each in row.operators) for row in rows],
    )


def _own(rows: Sequence[Timed], number: Number, operation: Operation) -> list[Timed]:
    return [
        row
        for row in rows
        if row.number == number and isinstance(row.operators[0], Recurrent) and row.operators[0].operation == operation
    ]
