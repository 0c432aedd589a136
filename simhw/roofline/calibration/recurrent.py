"""Fit of recurrent cells to DeepBench's, cross-validated by source: a kind of cell of one application is held out at a
time.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from scipy.optimize import minimize

from simhw.errors import SimhwError
from simhw.roofline.calibration.benchmarks import Benchmarks
from simhw.roofline.calibration.measurements import Measured, read_measurements
from simhw.roofline.calibration.score import Score, percentage_errors, score_of, textbook_seconds
from simhw.roofline.gpu.products import predict_product
from simhw.roofline.gpu.recurrent import product_of
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.numbers import BYTES, Number
from simhw.roofline.operators import GATES, Recurrent
from simhw.trace.layer import OPERATIONS, Operation

FILES: dict[Number, str] = {"fp32": "deepbench_rnn_fp32", "fp16": "deepbench_rnn_fp16mix"}
UNITS = 1e-5, 1e-5, 1.0
"""Of call, step and product's share, so that the search's steps fit all three."""
GRADIENT_UNIT = 1e-11
STARTS = (6.0, 2.0, 1.0), (3.0, 4.0, 0.7)

Features = tuple[float, float, float]
"""Products one after another, seconds of one alone, and bytes of gradients that are added to."""


def _features(row: Measured, gpu: GpuValues) -> Features:
    cell = row.operator
    assert isinstance(cell, Recurrent), "the files hold recurrent cells alone"
    length = 1 if cell.operation == "weight_grad" else cell.steps
    product = predict_product(product_of(cell, cell.hidden, length), gpu.hardware, gpu.products)
    gradients = 2.0 * BYTES[cell.number] * GATES[cell.cell] * cell.hidden**2 if cell.operation == "weight_grad" else 0.0
    return float(length), product.seconds, gradients


def fit(rows: Sequence[Measured], gpu: GpuValues) -> tuple[float, float, float]:
    """Constants of one operation and number: call [s], step [s] (weight_grad: seconds per byte of gradients), and the
    product's share.

    Raises
    ------
    SimhwError
        There are no rows.
    """
    if not rows:
        raise SimhwError("no measured recurrent cell to fit to")
    found = [_features(row, gpu) for row in rows]
    truth = [row.seconds for row in rows]
    units = _units(rows)

    def error(point: Sequence[float]) -> float:
        constants = [abs(value) * unit for value, unit in zip(point, units, strict=True)]
        return fmean(percentage_errors([_seconds(each, constants) for each in found], truth))

    options = {"maxiter": 3000, "maxfev": 3000, "xatol": 1e-5, "fatol": 1e-6}
    results = [minimize(error, start, method="Nelder-Mead", options=options) for start in STARTS]
    best = min(results, key=lambda result: float(result.fun)).x
    first, second, third = (abs(float(value)) * unit for value, unit in zip(best, units, strict=True))
    return first, second, third


def _units(rows: Sequence[Measured]) -> tuple[float, float, float]:
    cell = rows[0].operator
    assert isinstance(cell, Recurrent)
    return (UNITS[0], GRADIENT_UNIT, UNITS[2]) if cell.operation == "weight_grad" else UNITS


def _seconds(features: Features, constants: Sequence[float]) -> float:
    length, product_s, gradients = features
    call_s, step, share = constants
    return call_s + length * share * product_s + step * (gradients or length)


def calibrate(folder: Path, benchmarks: Benchmarks) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to all rows, and errors on sources held out."""
    gpu = benchmarks.library
    constants: dict[str, float] = {}
    scores = []
    for number, file in FILES.items():
        measured = read_measurements(folder, benchmarks.file(file))
        for operation in OPERATIONS:
            rows = [
                row for row in measured if isinstance(row.operator, Recurrent) and row.operator.operation == operation
            ]
            call_s, step, share = fit(rows, gpu)
            name = f"recurrent.chains.{number}.{operation}"
            constants |= {f"{name}.call_s": call_s, f"{name}.product_share": share}
            if operation == "weight_grad":
                constants[f"recurrent.gradient_bytes_per_s.{number}"] = 1.0 / step
            else:
                constants[f"{name}.step_s"] = step
            scores.append(_held_out(rows, number, operation, benchmarks))
    return constants, scores


def _held_out(rows: Sequence[Measured], number: Number, operation: Operation, benchmarks: Benchmarks) -> Score:
    gpu, file = benchmarks.library, benchmarks.file(FILES[number])
    predicted: list[float] = []
    held: list[Measured] = []
    groups = sorted({row.group for row in rows})
    for group in groups:
        constants = fit([row for row in rows if row.group != group], gpu)
        own = [row for row in rows if row.group == group]
        predicted += [_seconds(_features(row, gpu), constants) for row in own]
        held += own
    others = f"{file}, the other {len(groups) - 1} sources"
    scored = f"{file}, each source in turn"
    textbook = [textbook_seconds(row.operator, gpu.hardware) for row in held]
    return score_of(
        f"recurrent {number} {operation}", others, scored, predicted, [row.seconds for row in held], textbook
    )
