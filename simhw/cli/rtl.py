"""`simhw rtl`: a machine's hardware."""

import argparse
from typing import Any

from simhw.cli import rtl_area


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser: argparse.ArgumentParser = commands.add_parser("rtl", help="a machine's hardware")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    rtl_area.add_parser(actions)
