"""Fixtures that several test modules share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.cli_runs import some_trace
from tests.plugged import BITSERIAL

# The same examples in every run: a test that fails fails for everyone.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a command, which holds `some.npz`."""
    monkeypatch.chdir(tmp_path)
    some_trace().save("some.npz")
    return tmp_path


@pytest.fixture
def bitserial(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of the bit-serial PE as pip would have installed it: it and its entry points are on the path."""
    from simhw.pe.registry import processing_element

    monkeypatch.syspath_prepend(BITSERIAL)
    yield
    processing_element.cache_clear()
