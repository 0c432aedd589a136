"""Commands run in a process of their own, with what they took: time and the most memory."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.places import ROOT

# Linux counts the memory of whoever starts a process as its own until it runs a program: a small process starts it.
_SMALL_PARENT = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True)
class Finished:
    """How a command ended: `peak_bytes` is the largest resident size, numpy, Numba and all."""

    code: int
    out: str
    err: str
    seconds: float
    peak_bytes: int


def run_simhw(*arguments: str, folder: Path | None = None, seconds: float = 60, encoding: str = "utf-8") -> Finished:
    """Run ``python -m simhw`` with arguments; a command that takes longer than `seconds` is killed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "workloads")])}
    with tempfile.NamedTemporaryFile("r") as peak, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        command = [sys.executable, "-S", "-c", _SMALL_PARENT, peak.name, sys.executable, "-m", "simhw", *arguments]
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder, env=environment, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        took = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        texts = (stream.read().decode(encoding) for stream in (out, err))
        return Finished(code, *texts, took, 1024 * int(peak.read() or 0))
