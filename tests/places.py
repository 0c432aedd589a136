"""Where things lie: a test that moves to another folder still finds them."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""
SHARED = ROOT.parent / "shared"
"""Measurements and cases that may lie beside the checkout; tests that need them are skipped without it."""
