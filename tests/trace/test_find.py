"""Where a trace is looked for."""

import os
from pathlib import Path

import pytest

from simhw import Trace, load_trace
from simhw.errors import TraceError
from simhw.trace.find import find_trace
from tests.trace_files import convolution


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    folders = {name: tmp_path / name for name in ("current", "first", "second", "bundled")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.chdir(folders["current"])
    monkeypatch.setenv("SIMHW_TRACES", f"{folders['first']}{os.pathsep}{folders['second']}")
    monkeypatch.setattr("simhw.trace.find.bundled_folder", lambda: folders["bundled"])
    return folders


def test_trace_is_looked_up_in_order_with_or_without_suffix(places: dict[str, Path]) -> None:
    for name in ("bundled", "second", "first"):
        Trace([convolution(name)]).save(places[name] / "net.npz")
        assert find_trace("net") == places[name] / "net.npz"
        assert find_trace("net.npz") == places[name] / "net.npz"
        assert load_trace("net").layers[0].name == name
    Trace([convolution("here")]).save(places["current"] / "net.npz")
    assert load_trace("net").layers[0].name == "here"
    assert load_trace(places["second"] / "net").layers[0].name == "second"


def test_unknown_trace_lists_where_it_was_looked_for_and_what_there_is(places: dict[str, Path]) -> None:
    Trace([convolution()]).save(places["bundled"] / "resnet50.npz")
    with pytest.raises(TraceError) as caught:
        find_trace("resnet51")
    message = str(caught.value)
    assert message.startswith("resnet51: no such trace; looked in the current folder, ")
    assert all(str(places[name]) in message for name in ("first", "second", "bundled"))
    assert message.endswith("traces found: resnet50")


def test_folder_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="is a folder"):
        find_trace(tmp_path)


def test_bundled_folder_is_the_one_of_this_checkout_or_wheel() -> None:
    from simhw.trace.find import bundled_folder

    folder = bundled_folder()
    assert folder is not None
    assert (folder / "README.md").is_file()
