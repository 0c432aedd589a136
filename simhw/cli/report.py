"""`simhw report`: the page of results that `simhw run --save` and `simhw compare --save` wrote."""

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "report",
        help="make a web page of saved results",
        description="Make one self-contained web page of results that `simhw run --save` or `simhw compare --save` "
        "wrote.",
        epilog="Example: simhw report run.json --html run.html",
    )
    parser.add_argument("results", metavar="RESULT", nargs="+", help="what --save wrote; several go side by side")
    parser.add_argument("--html", metavar="FILE", required=True, help="the page to write")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.cli.terminal import show
    from simhw.files.writing import PAGE_SUFFIXES, check_target

    check_target(arguments.html, PAGE_SUFFIXES)
    from simhw.report.page.traces import saved_page
    from simhw.report.page.write import write_page
    from simhw.results.saved import load_results

    write_page(saved_page([load_results(path) for path in arguments.results]), arguments.html)
    show(f"page written to {arguments.html}")
    return 0
