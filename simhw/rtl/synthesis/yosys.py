"""Yosys, by the package `pyosys`: a script in a process and a folder of its own.

What Yosys cannot do ends its process, and the names it makes count on through a process, so each script has a new one.
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from simhw.errors import SimhwError

_RUN = "from pyosys import libyosys; libyosys.run_pass('script script.ys', libyosys.Design())"


def require_yosys() -> None:
    """SimhwError where Yosys is missing."""
    if importlib.util.find_spec("pyosys") is None:
        raise SimhwError("hardware needs Yosys (the package pyosys), which is not installed: pip install 'simhw[rtl]'")


def run_yosys(script: Sequence[str], given: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    """Run a script.

    Parameters
    ----------
    script
        Commands, which name files without a folder.
    given
        The texts of the files that are there before, by name.
    wanted
        Files that it writes.

    Returns
    -------
    list of str
        The texts of those that are wanted.

    Raises
    ------
    SimhwError
        Yosys is missing, or gave an error: its last line is told.
    """
    require_yosys()
    with tempfile.TemporaryDirectory(prefix="simhw-yosys-") as name:
        folder = Path(name)
        for file, text in {**given, "script.ys": "\n".join(script)}.items():
            (folder / file).write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _RUN], cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            told = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
            raise SimhwError(f"Yosys: {told[-1].removeprefix('ERROR: ')}")
        return [(folder / file).read_text(encoding="utf-8") for file in wanted]
