"""Files are written whole or not at all, whatever fails; output fits the encoding of whatever it goes to."""

import errno
import os
from pathlib import Path

import pytest

from simhw.errors import LONGEST_MESSAGE, SimhwError
from simhw.files.writing import check_target, replacing
from tests.bounded import run_simhw


def test_first_error_is_told_when_cleaning_up_fails_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.csv"):
        raise ZeroDivisionError
    with pytest.raises(SimhwError, match=r"a\.csv: cannot be written: No space left"), replacing(tmp_path / "a.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_any_name_that_the_file_system_takes_can_be_written(tmp_path: Path) -> None:
    longest = tmp_path / ("n" * 251 + ".csv")
    check_target(longest, (".csv",))
    with replacing(longest) as temporary:
        temporary.write_text("whole")
    assert longest.read_text() == "whole"
    assert os.listdir(tmp_path) == [longest.name]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("n" * 300 + ".csv", "File name too long"),
        ("a\0b.csv", "NUL"),
        ("none/a.csv", "no folder"),
        ("file/a.csv", "no folder"),
        (".", "is a folder"),
    ],
)
def test_what_cannot_be_written_is_found_before_and_at_the_write(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file").write_text("")
    target = f"{tmp_path}/{name}"
    with pytest.raises(SimhwError) as found:
        check_target(target)
    assert problem in str(found.value)
    with pytest.raises(SimhwError, match="cannot be written"), replacing(target) as temporary:
        temporary.write_text("")
    assert os.listdir(tmp_path) == ["file"]


def test_two_files_of_one_folder_can_be_written_at_once(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.csv") as first, replacing(tmp_path / "b.csv") as second:
        first.write_text("a")
        second.write_text("b")
    assert (tmp_path / "a.csv").read_text() + (tmp_path / "b.csv").read_text() == "ab"


def test_an_error_is_one_line_of_at_most_400_characters() -> None:
    text = str(SimhwError("file.csv: 'x\ny" + "9" * 5000 + "' is no size; give one"))
    assert len(text) == LONGEST_MESSAGE
    assert "\n" not in text
    assert text.startswith("file.csv: 'x y999")
    assert text.endswith("999' is no size; give one")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_output_is_spelt_out_where_the_encoding_lacks_a_character(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    finished = run_simhw(
        "run", "--trace", "some", "--pe", "tensordash", "--sample", "0.5", folder=folder, encoding=encoding
    )
    assert (finished.code, finished.err) == (0, "")
    assert ("+-" if encoding == "ascii" else "±") in finished.out
    refused = run_simhw("run", "--trace", "naïve日", "--pe", "tensordash", folder=folder, encoding=encoding)
    assert refused.code == 2
    assert ("naïve日" if encoding == "utf-8" else "naive?" if encoding == "ascii" else "naïve?") in refused.err
