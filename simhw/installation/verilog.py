"""Simulators of Verilog: programs of the system, which compare simhw's hardware with its models at length."""

import shutil
import subprocess

SIMULATORS = {"verilator": "--version", "iverilog": "-V"}
"""Programs, and the option with which each tells its version."""
SECONDS = 10.0


def verilog_simulators() -> dict[str, str | None]:
    """The first line that each program tells of itself, None where it is not there or does not answer."""
    return {name: _told(name, option) for name, option in SIMULATORS.items()}


def _told(name: str, option: str) -> str | None:
    program = shutil.which(name)
    if program is None:
        return None
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return next(iter(done.stdout.splitlines()), None)
