"""What the tests of the trace file share."""

from pathlib import Path

import pytest

from tests.trace_files import small_trace


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.npz"
    small_trace().save(path)
    return path
