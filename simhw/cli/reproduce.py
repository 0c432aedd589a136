"""`simhw reproduce`: the papers' figures from captured steps, each beside what was published and how surely."""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.cli.terminal import facts, show
from simhw.errors import SimhwError, quoted

if TYPE_CHECKING:
    from pathlib import Path

    from simhw.reproduce.networks import Network
    from simhw.reproduce.training import Settings

PAPERS = ("fpraker", "tensordash")


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "reproduce",
        help="make the papers' figures anew, each number beside the published one",
        description="Take the kept steps of the papers' networks, or train and capture what is missing, simulate them, "
        "and write a page with every figure beside what was published.  What was simulated is kept: a run that was "
        "stopped goes on where it was.",
        epilog="Example: simhw reproduce fpraker --figure speedup --no-training",
    )
    parser.add_argument("paper", choices=PAPERS)
    parser.add_argument("--figure", metavar="NAME", help="make only this one anew (default: all of the paper)")
    parser.add_argument(
        "--jobs", metavar="N", type=int, default=1, help="trainings or simulations at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--runs",
        metavar="FOLDER",
        default="runs/papers",
        help="where traces, records and simulations are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", default="reports/papers", help="where the page is written (default: %(default)s)"
    )
    parser.add_argument(
        "--no-training", action="store_true", help="take what is kept and what comes with simhw, and train nothing"
    )
    parser.add_argument(
        "--scale", choices=("smoke", "full"), default="full", help="of the trainings (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the trainings (default: 0)")
    parser.add_argument(
        "--data", metavar="FOLDER", help="where the images' files lie, if not where their package puts them"
    )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.reproduce.catalogue import FIGURES

    figures = {figure.name: figure for figure in FIGURES[arguments.paper]}
    if arguments.figure is not None and arguments.figure not in figures:
        raise SimhwError(
            f"--figure {quoted(arguments.figure)}: {arguments.paper} has no such figure; it has {', '.join(figures)}"
        )
    if arguments.jobs < 1:
        raise SimhwError(f"--jobs {arguments.jobs}: give a number of at least 1")
    chosen = [figures[arguments.figure]] if arguments.figure is not None else list(figures.values())

    from simhw.reproduce.bench import Bench
    from simhw.reproduce.networks import captured, networks
    from simhw.reproduce.page import kept_sections, page_path, section_text, write_page
    from simhw.reproduce.simulations import Store
    from simhw.reproduce.training import Settings
    from simhw.version import __version__

    runs, out = _folder(arguments.runs, "--runs"), _folder(arguments.out, "--out")
    wanted, settings = networks()[arguments.paper], Settings(runs, arguments.scale, arguments.seed, arguments.data)
    if not arguments.no_training:
        _train_missing(wanted, settings, arguments.jobs)
    bench = Bench(arguments.paper, [captured(network, settings) for network in wanted], Store(runs / "simulations"))
    bench.store.run_missing(
        (simulation for figure in chosen for simulation in figure.wanted(bench)), jobs=arguments.jobs
    )
    sections = kept_sections(page_path(out, arguments.paper))
    for figure in chosen:
        sections[figure.name] = section_text(out, arguments.paper, figure, figure.made(bench))
    told = [
        f"Made by `simhw reproduce {arguments.paper}` with simhw {__version__}; the same command gives the same "
        "numbers.",
        "The paper's text could not be read. What was published is recalled; the share in brackets is the confidence "
        "in the recall.",
        "The networks are stand-ins of reduced width on data that is at hand. A network without a trace is missing.",
        f"Networks with a trace: {len(bench.present)} of {len(bench.captured)}.",
    ]
    path = write_page(out, arguments.paper, list(figures.values()), sections, told)
    shown = [("networks", ", ".join(f"{each.name} ({each.traces})" for each in bench.present) or "none")]
    if bench.absent:
        shown.append(("no trace yet", ", ".join(bench.absent)))
    show(*facts([*shown, ("figures", ", ".join(figure.name for figure in chosen))]), "", f"written to {path}")
    return 0


def _folder(name: str, option: str) -> "Path":
    from pathlib import Path

    from simhw.errors import reason

    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise SimhwError(
            f"{option} {quoted(name)}: cannot be made a folder: {reason(error)}; name one that can"
        ) from None
    return path


def _train_missing(wanted: "list[Network]", settings: "Settings", jobs: int) -> None:
    """Train, through `simhw workloads run`, every network whose steps are not kept."""
    from simhw.progress import tell
    from simhw.reproduce.networks import why_unfit
    from simhw.reproduce.training import train

    missing = []
    for name in dict.fromkeys(network.workload for network in wanted if network.workload is not None):
        reason = why_unfit(name, settings)
        if reason is not None:
            missing.append(name)
            if settings.record(name).exists():
                tell(f"{settings.record(name)}: {reason}; {name} is trained anew")
    train(missing, settings, jobs)
