"""Fixtures that several test modules share."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.cli_runs import some_trace

# The same examples in every run: a test that fails fails for everyone.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a command, which holds `some.npz`."""
    monkeypatch.chdir(tmp_path)
    some_trace().save("some.npz")
    return tmp_path
