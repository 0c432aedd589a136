"""`simhw roofline score`: errors of a device's constants as they are shipped, on measured kernels and steps."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simhw.cli.roofline_options import add_device_options
from simhw.errors import SimhwError

if TYPE_CHECKING:
    from simhw.report.sheet import Item
    from simhw.roofline.scoring.files import Scores

MOST_WORST = 10_000


def add_parser(actions: Any) -> None:
    """Add this command to the parser of `simhw roofline`."""
    parser = actions.add_parser(
        "score",
        help="errors of a device's constants, as they are, on measurements",
        description="Errors of a device's constants, as its file states them, on a folder of measured kernels and "
        "steps: nothing is fitted.",
        epilog="Example: simhw roofline score --device h200 --data ../shared/data --half scored --worst 10",
    )
    add_device_options(parser)
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        required=True,
        help="folder of the measurements; files named after the device are taken: docs/calibration.md",
    )
    parser.add_argument(
        "--files", metavar="NAME", help="what the files' names call the device (default: its name, or its chip's)"
    )
    parser.add_argument(
        "--half",
        choices=("fitted", "scored", "all"),
        default="all",
        help="of files measured in PyTorch, the shapes that `simhw roofline calibrate` fits to, or those that it does "
        "not; other files then are left out (default: all)",
    )
    parser.add_argument("--details", action="store_true", help="add a table of each file by kind, precision and size")
    parser.add_argument("--worst", metavar="N", type=int, default=0, help="add the N rows that are farthest off")
    parser.add_argument("--out", metavar="FILE", help="write a row per measurement to a .csv, .json or .parquet file")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.cli.roofline_options import chosen_device
    from simhw.cli.terminal import facts, show
    from simhw.files.writing import TABLE_SUFFIXES, check_target, write_frame
    from simhw.report.score_tables import score_frame
    from simhw.roofline.scoring.files import score_folder

    if not 0 <= arguments.worst <= MOST_WORST:
        raise SimhwError(f"--worst {arguments.worst}: give a number of rows from 0 to {MOST_WORST:,}")
    if arguments.out:
        check_target(arguments.out, TABLE_SUFFIXES)
    device = chosen_device(arguments.device, arguments.set)
    scores = score_folder(device, Path(arguments.data), arguments.half, arguments.files)
    show(
        *facts(
            [
                ("device", f"{device.label}, hash {device.content_hash}"),
                ("data", arguments.data),
                ("rows", HALVES[arguments.half]),
            ]
        ),
        *_told(scores, arguments),
    )
    if arguments.out:
        write_frame(score_frame(scores), arguments.out)
        show(f"table written to {arguments.out}")
    return 0


HALVES = {
    "all": "all, those that the constants were fitted to among them",
    "fitted": "shapes that `simhw roofline calibrate` fits to",
    "scored": "shapes that `simhw roofline calibrate` does not fit to",
}


def _told(scores: "Scores", arguments: argparse.Namespace) -> "list[Item]":
    from simhw.report.score_tables import gain_summary_sheet, left_out_lines, summary_sheet, worst_sheet

    told: list[Item] = []
    if scores.tables:
        told += [summary_sheet(scores.tables), ""]
    if scores.gains:
        told += [gain_summary_sheet(scores.gains), ""]
    if arguments.details:
        told += _details(scores)
    if arguments.worst and scores.tables:
        told += [f"The {arguments.worst} rows that are farthest off:", worst_sheet(scores.tables, arguments.worst), ""]
    told += left_out_lines(scores)
    if scores.tables:
        told.append(
            "mean, median: of the absolute error of the prediction, in percent of what was measured; bias: with its "
            "sign; textbook: of the larger of FLOP / peak and bytes / bandwidth; a precision or size: mean of its rows."
        )
    if not arguments.details:
        told.append("More: --details (by kind, and what sizes mean), --worst N (rows that are farthest off).")
    return told


def _details(scores: "Scores") -> "list[Item]":
    from simhw.report.score_tables import HOW, gain_sheet, score_sheet, title_line

    told: list[Item] = []
    for table in scores.tables:
        told += [title_line(table), score_sheet(table), ""]
    for launch in HOW:
        if any(gain.launch == launch for gain in scores.gains):
            told += [f"Gains in throughput, steps {HOW[launch]}:", gain_sheet(scores.gains, launch), ""]
    return told
