"""`simhw roofline calibrate`: fit a device's constants to measured kernels, and score the models on rows that no fit
saw.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simhw.report.sheet import Sheet
    from simhw.roofline.calibration.devices import Fitted
    from simhw.roofline.calibration.score import Score


def add_parser(actions: Any) -> None:
    """Add this command to the parser of `simhw roofline`."""
    parser = actions.add_parser(
        "calibrate",
        help="fit a device's constants to measured kernels, and score its models",
        description="Fit a device's constants to measurements, beside those its file states, and score its models on "
        "rows that no fit saw.",
        epilog="Example: simhw roofline calibrate --device v100 --data ../shared/data",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        default="v100",
        help="v100 (default), ascend310, h200, or the .yaml file of a GPU that extends parts of the h200",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", required=True, help="folder of the measurements; which files: docs/calibration.md"
    )
    parser.add_argument("--out", metavar="FILE", help="write the scores to a .csv, .json or .parquet file")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from dataclasses import asdict

    from simhw.cli.terminal import facts, show
    from simhw.files.writing import TABLE_SUFFIXES, check_target, write_frame
    from simhw.roofline.calibration.devices import calibrate
    from simhw.roofline.device import load_device

    if arguments.out:
        check_target(arguments.out, TABLE_SUFFIXES)
    device = load_device(arguments.device)
    constants, scores = calibrate(device, Path(arguments.data), arguments.device)
    written = []
    if arguments.out:
        import pandas as pd

        write_frame(pd.DataFrame([asdict(score) for score in scores]), arguments.out)
        written.append(f"table written to {arguments.out}")
    show(
        *facts([("device", f"{device.label}, hash {device.content_hash}"), ("data", arguments.data)]),
        _constants(constants),
        _scores(scores),
        "MAPE: mean absolute percentage error of the predicted time; textbook: of the larger of FLOP / peak and "
        "bytes / bandwidth.",
        *written,
    )
    return 0


def _constants(constants: "list[Fitted]") -> "Sheet":
    from simhw.report.sheet import Sheet

    rows = []
    for each in constants:
        difference = f"{each.fitted / each.stated - 1:+.2%}" if each.stated else "-"
        rows.append([each.name, f"{each.fitted:.5g}", f"{each.stated:.5g}", difference])
    return Sheet(
        [("constant", False), ("fitted", True), ("in the file", True), ("difference", True)], rows, name="constants"
    )


def _scores(scores: "list[Score]") -> "Sheet":
    from simhw.report.sheet import Sheet

    headings = [("rows", True), ("MAPE %", True), ("median %", True), ("textbook %", True)]
    columns = [("kernels", False), ("fitted on", False), ("scored on", False), *headings]
    rows = []
    for each in scores:
        errors = [f"{error:.1f}" for error in (each.mape, each.median_ape, each.textbook_mape)]
        rows.append([each.name, each.fitted_on, each.scored_on, f"{each.rows:,}", *errors])
    return Sheet(columns, rows, name="scores")
