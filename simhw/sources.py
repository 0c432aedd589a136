"""Which sources a result was made by: kept results count only for the code that made them."""

import hashlib
from functools import lru_cache
from pathlib import Path

from simhw.version import __version__

NO_PART_IN_RESULTS = ("cli", "report", "reproduce", "roofline", "capture", "sweeps")


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Hash of all of simhw's sources that have a part in what a simulation gives."""
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if name.parts[0] not in NO_PART_IN_RESULTS:
            digest.update(f"\n{name.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def made_by() -> str:
    """What this simhw is called in what it makes: its version, and the hash of its sources."""
    return f"simhw {__version__}, sources {code_hash()}"
