"""`simhw compare`."""

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser("compare")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    raise SystemExit(2)
