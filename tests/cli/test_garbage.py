"""Python's search for garbage: seldom while a command runs, and not as its process ends."""

import gc
import subprocess
import sys
from contextlib import suppress

import pytest

from simhw.cli import main


@pytest.mark.parametrize(("argv", "frozen"), [("", True), ("sys.argv[1:]", False)])
def test_a_process_of_the_command_s_own_ends_without_a_search(argv: str, frozen: bool) -> None:
    # What is registered last is called first, so this sees what the command left behind.
    script = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"
        "from simhw.cli import main\n"
        "sys.argv = ['simhw', 'machine', 'list']\n"
        f"main({argv})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(frozen)


@pytest.mark.parametrize("arguments", [["machine", "list"], ["machine", "show", "nothing"], ["--version"]])
def test_the_caller_s_thresholds_stay(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = gc.get_threshold()
    with suppress(SystemExit):
        main(arguments)
    assert gc.get_threshold() == before
    capsys.readouterr()


def test_a_command_searches_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, int, int]] = []
    monkeypatch.setattr("simhw.cli._run", lambda _: found.append(gc.get_threshold()) or 0)
    assert main(["machine", "list"]) == 0
    assert found[0][0] > 10_000
