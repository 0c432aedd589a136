"""`simhw sweep`: many points of machines, traces and switches, run by processes or a cluster, and what came of them."""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.errors import SimhwError, quoted

if TYPE_CHECKING:
    import pandas as pd

SHOW = "show"
MOST_ROWS = 40
"""Points that are shown where no one asked for all; of more only the Pareto front."""


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "sweep",
        help="run many variants, and find those that no other one beats",
        description="Run every point of a sweep file that a store has no result of, and show the store.  What is "
        "stopped, in whatever way, goes on with the same command.  `simhw sweep show STORE` only shows.  The exit code "
        "is 1 where a point failed.",
        epilog="Example: simhw sweep sweep.yaml --jobs 2 --plot sweep.png",
    )
    parser.add_argument(
        "file", metavar="FILE", help=f"a sweep file (.yaml), or the word {SHOW}: run nothing, and show a store"
    )
    parser.add_argument(
        "store",
        metavar="STORE",
        nargs="?",
        help="where results are kept, an SQLite file (default: the sweep file's name with .db, in the current folder)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs", metavar="N", type=int, help="processes (default: one per processor core; 0: none but this one)"
    )
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="run on the workers of a Dask scheduler, such as tcp://host:8786"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"show every point (default: of over {MOST_ROWS} the Pareto front alone)"
    )
    parser.add_argument("--out", metavar="FILE", help="write a row per point to a .csv, .json or .parquet file")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw speed-up, area, energy and all axes to a .png, .svg or .pdf file"
    )
    parser.add_argument("--html", metavar="FILE", help="write all of it as a page for the browser, in one .html file")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.files.writing import PAGE_SUFFIXES, PICTURE_SUFFIXES, TABLE_SUFFIXES, check_targets

    check_targets((arguments.out, TABLE_SUFFIXES), (arguments.plot, PICTURE_SUFFIXES), (arguments.html, PAGE_SUFFIXES))
    return _show(arguments) if arguments.file == SHOW else _run(arguments)


def _show(arguments: argparse.Namespace) -> int:
    if arguments.store is None:
        raise SimhwError("sweep show: give the store, such as sweep.db")
    if arguments.jobs is not None or arguments.scheduler is not None:
        raise SimhwError("sweep show runs nothing; leave --jobs and --scheduler out")
    from simhw.sweeps.store import read_store

    _report(arguments, read_store(arguments.store), arguments.store, [])
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from simhw.files.writing import check_suffix
    from simhw.sweeps.store import SUFFIXES
    from simhw.sweeps.sweep import run_sweep

    if arguments.jobs is not None and arguments.jobs < 0:
        raise SimhwError(f"--jobs {quoted(arguments.jobs)}: give a number of processes, or 0 for none but this one")
    if arguments.store is not None:
        check_suffix(arguments.store, SUFFIXES)
    done = run_sweep(arguments.file, arguments.store, arguments.jobs, arguments.scheduler)
    told = [("sweep", f"{arguments.file}: {done.run:,} points run, {done.known:,} known before")]
    if done.equal:
        told.append(("", f"{done.equal:,} more are equal to another one, and ran once with it"))
    _report(arguments, done.frame, str(done.store), told)
    return 1 if done.failed else 0


def _report(arguments: argparse.Namespace, frame: "pd.DataFrame", store: str, told: list[tuple[str, str]]) -> None:
    """Write the files that are asked for, then print the points."""
    from simhw.cli.terminal import facts, show
    from simhw.files.writing import write_frame
    from simhw.report.sweep_tables import FRONT_LINE, caution_lines, error_lines, sweep_facts, sweep_sheet
    from simhw.sweeps.front import pareto_front

    front = pareto_front(frame)
    written = []
    if arguments.out is not None:
        write_frame(frame.assign(pareto=front), arguments.out)
        written.append(f"table written to {arguments.out}")
    if arguments.plot is not None:
        from simhw.report.sweep_plots import plot_sweep

        plot_sweep(frame, front, arguments.plot)
        written.append(f"plot written to {arguments.plot}")
    if arguments.html is not None:
        from simhw.report.page.sweep import sweep_page
        from simhw.report.page.write import write_page
        from simhw.sweeps.description import as_file
        from simhw.sweeps.store import read_about

        about = read_about(store)
        page = sweep_page(frame, front, store, as_file(about.description), about.made_by, [arguments.command_line])
        write_page(page, arguments.html)
        written.append(f"page written to {arguments.html}")
    show(*facts([*told, *sweep_facts(frame, store)]))
    done = frame[frame["status"] == "done"]
    if len(done):
        only_front = len(done) > MOST_ROWS and not arguments.all
        show(sweep_sheet(frame, front, only_front), FRONT_LINE)
        if only_front:
            show(f"{int(front.sum()):,} of {len(done):,} points; --all shows every one.")
        show(*caution_lines(frame))
    show(*error_lines(frame), *written)
