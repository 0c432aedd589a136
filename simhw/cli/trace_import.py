"""`simhw trace import`: a training step from arrays that another simulator reads, as a trace."""

import argparse
from typing import Any


def add_parser(actions: Any) -> None:
    """Add this command to the parser of `simhw trace`."""
    parser = actions.add_parser(
        "import",
        help="make a trace of a folder with a .npy file per layer and tensor (DNNsim)",
        description="Make a trace of a training step whose tensors lie in .npy files, one per layer and tensor, beside "
        "a trace_params.csv: the layout of DNNsim.",
        epilog="Example: simhw trace import arrays --epoch 0 --batch 0 --out step.npz",
    )
    parser.add_argument("folder", metavar="FOLDER", help="with trace_params.csv, weights/, input/ and outGrad/")
    parser.add_argument("--out", metavar="FILE", required=True, help="the .npz file to write")
    parser.add_argument("--network", metavar="NAME", help="which one, where the folder has several under models/")
    parser.add_argument("--epoch", metavar="N", type=int, help="number of the epoch in the files' names")
    parser.add_argument("--batch", metavar="N", type=int, help="number of the batch in the files' names")
    parser.add_argument(
        "--rounding",
        choices=("rne", "truncate"),
        default="rne",
        help="to bfloat16: to the nearest, ties to even (default), or by dropping the low bits, as DNNsim does",
    )
    parser.add_argument(
        "--nonfinite", choices=("error", "zero"), default="error", help="what NaN and infinity become (default: error)"
    )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Import the step and write it."""
    from dataclasses import replace
    from pathlib import Path

    from simhw.cli.terminal import show
    from simhw.files.writing import check_target
    from simhw.trace.layer_files import import_folder

    check_target(arguments.out, (".npz",))
    trace = import_folder(
        Path(arguments.folder),
        arguments.network,
        arguments.epoch,
        arguments.batch,
        arguments.rounding,
        arguments.nonfinite,
    )
    trace.metadata = replace(trace.metadata, capture_command=arguments.command_line)
    trace.save(arguments.out)
    step = trace.metadata.extra
    show(
        f"{arguments.out}: {len(trace.layers)} layers of {trace.metadata.model}, epoch {step['epoch']}, batch "
        f"{step['batch']}; {Path(arguments.out).stat().st_size:,} bytes"
    )
    return 0
