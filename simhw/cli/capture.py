"""`simhw capture`: train a workload and write traces of chosen steps; short for ``simhw workloads run --capture``."""

from typing import Any

from simhw.cli import training


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "capture",
        help="train a workload and write traces of chosen steps (needs PyTorch)",
        description="Train a workload and write traces of chosen steps.  Your own training loop takes three lines: "
        "see the README.",
        epilog="Example: simhw capture small-cnn-digits --out small-{step}.npz --steps early,late",
    )
    parser.add_argument(
        "workload", metavar="WORKLOAD", nargs="?", help="a name of `simhw workloads list`; without it they are listed"
    )
    parser.add_argument(
        "--out",
        dest="capture",
        metavar="FILE",
        default="trace-{step}.npz",
        help="the trace files; {phase} and {step} are the step's (default: %(default)s)",
    )
    training.add_options(parser, steps="early,late")
    parser.set_defaults(execute=training.execute)
