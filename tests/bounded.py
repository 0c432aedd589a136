"""Commands run in a process of their own, with what they took: time and the most memory."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


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
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "simhw", *arguments], stdout=out, stderr=err, cwd=folder, env=environment)
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if time.perf_counter() - started > seconds:
                process.kill()
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        return Finished(process.returncode, out.read().decode(encoding), err.read().decode(encoding), took, usage.ru_maxrss * 1024)
