"""Machine files for the tests of machines."""

from pathlib import Path


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    """The path of a machine file that holds this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
