"""Packages with entry points, as pip would have installed them."""

from pathlib import Path

from tests.places import ROOT

BITSERIAL = ROOT / "tests" / "pe" / "bitserial"
"""A package with a processing element, its machine, a device and a technique; docs/plugins.md explains it."""


def plug(folder: Path, entry: str, group: str = "simhw.pe", name: str = "other") -> Path:
    """The folder of an installed package that has one entry point; it goes on the path."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    return folder
