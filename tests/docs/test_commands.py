"""Every command and example of the pages runs as printed, and prints what is shown."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from simhw.cli import parser
from tests.docs.reader import BLOCK, Block, Reader, arguments_of, blocks, shows
from tests.docs.test_pages import PATHS
from tests.places import ROOT

CONTRIBUTIONS = "CONTRIBUTING.md"
"""Its commands change a checkout: `test_contributing.py` follows them."""
BLOCKS = [block for path in PATHS for block in blocks(path)]
NOT_RUN = [block for block in BLOCKS if block.reason is not None]
QUICK = {
    "docs/area.md",
    "docs/dram-requests.md",
    "docs/machine-files.md",
    "docs/memory.md",
    "docs/results-schema.md",
    "docs/trace-import.md",
}
"""The others take more than a second."""
FOLLOWED = [
    path
    for path in PATHS
    if path != CONTRIBUTIONS
    and any(block.reason is None and (block.commands or block.language == "python") for block in blocks(path))
]

Followed = Callable[[str], Reader]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """The reader who has followed a page; each is followed once."""
    readers: dict[str, Reader] = {}

    def follow(page: str) -> Reader:
        if page not in readers:
            reader = Reader(tmp_path_factory.mktemp("reader"))
            reader.follow(page)
            readers[page] = reader
        return readers[page]

    return follow


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[] if path in QUICK else pytest.mark.slow) for path in FOLLOWED]
)
def test_a_page_runs_as_printed(path: str, followed: Followed) -> None:
    followed(path)


@pytest.mark.parametrize("block", NOT_RUN, ids=[f"{block.where} {block.reason}" for block in NOT_RUN])
def test_what_is_not_run_says_why(block: Block) -> None:
    assert re.fullmatch(r": \w.{10,} ", block.reason or ""), "write: <!-- not run: REASON -->"
    assert block.commands or block.language == "python", "it would not be run anyway"


@pytest.mark.parametrize("path", PATHS)
def test_a_mark_is_right_before_what_it_is_about(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not re.search(r"^ *<!-- not run", BLOCK.sub("", text), re.MULTILINE)


@pytest.mark.parametrize("path", PATHS)
def test_commands_are_understood(path: str) -> None:
    """Those that are not run, or not in every run of the tests, as well."""
    for block in blocks(path):
        for command in block.commands:
            arguments = arguments_of(command)
            if arguments is not None:
                parser().parse_args(arguments)


def unknown(mention: str) -> list[str]:
    """Words of a command within a sentence or a table that simhw does not know; it may leave out what a run needs."""
    _, *words = re.sub(r"[\[\]]|\.\.\.", " ", mention).split()
    command: argparse.ArgumentParser = parser()
    while words and not words[0].startswith("-"):
        below = [each for each in command._actions if isinstance(each, argparse._SubParsersAction)]
        if not below:
            break
        name = words.pop(0)
        if name not in below[0].choices:
            return [name]
        command = below[0].choices[name]
    return [word for word in words if word.startswith("--") and word not in command._option_string_actions]


@pytest.mark.parametrize("path", [path for path in PATHS if path != CONTRIBUTIONS])
def test_commands_in_sentences_and_tables_have_the_options_that_they_name(path: str) -> None:
    text = BLOCK.sub("", (ROOT / path).read_text(encoding="utf-8"))
    mentions = re.findall(r"`(simhw [^`]+)`", text)
    assert {mention: words for mention in mentions if (words := unknown(mention))} == {}


@pytest.mark.slow
def test_the_sweep_of_its_page_has_the_points_that_it_asks_for(followed: Followed) -> None:
    reader = followed("docs/sweeps.md")
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (points,) = re.search(r"asks for [\dx ()+]+ = (\d+) points", text).groups()  # type: ignore[union-attr]
    ran, equal = (
        int(re.search(pattern, reader.printed)[1])  # type: ignore[index]
        for pattern in (r"(\d+) points run", r"(\d+) more are equal")
    )
    assert ran + equal == int(points)
    assert (reader.folder / "sweep.png").stat().st_size
    assert "latin_hypercube" in (reader.folder / "sweep.html").read_text(encoding="utf-8")
    assert len(pd.read_csv(reader.folder / "sweep.csv")) == ran
    assert "overall_speedup" in reader.printed
    assert len(reader.names["points"]) == 3  # type: ignore[arg-type]
    # Forward, input gradient, weight gradient and total of each.
    assert len(reader.names["operations"]) == 12  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_tutorial_has_fewer_than_ten_commands_and_leaves_a_picture_and_a_page(followed: Followed) -> None:
    assert sum(len(block.commands) for block in blocks("docs/tutorial.md")) < 10
    folder = followed("docs/tutorial.md").folder
    assert {"variants.png", "variants.html"} <= {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_three_lines_in_a_loop_capture_the_steps_that_they_name(followed: Followed) -> None:
    assert {path.name for path in followed("README.md").folder.glob("trace-*")} == {"trace-100.npz", "trace-2000.npz"}


def test_the_protocol_of_the_memory_page_takes_the_cycles_that_it_says(followed: Followed) -> None:
    (said,) = [block for block in blocks("docs/memory.md") if block.language == "python"]
    ours, mine = re.search(r"# ([\d,]+) and ([\d,]+)$", said.code, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert f"{ours} cycles with ours, {mine} with this one" in followed("docs/memory.md").printed


PAGE = """
```sh
echo one two three > kept && cat kept
```

```
one three
```

<!-- not run: needs what nobody has -->
```sh
false
```

```python
a = 1
```

```yaml
# deep/file.yaml
b: 2
```

```python
print(open("deep/file.yaml").read(), a + 1)
```
"""


def follow(tmp_path: Path, text: str) -> Reader:
    (tmp_path / "page.md").write_text(text)
    (tmp_path / "reader").mkdir()
    reader = Reader(tmp_path / "reader")
    reader.follow(str(tmp_path / "page.md"))
    return reader


def test_the_reader_does_what_a_page_says_in_its_order(tmp_path: Path) -> None:
    reader = follow(tmp_path, PAGE)
    assert reader.printed == "one two three\n# deep/file.yaml\nb: 2\n 2\n"


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("one three", "three one", "does not print what is shown"),
        ("<!-- not run: needs what nobody has -->\n", "", "false"),
        ("a = 1", "a = 1 / 0", "division by zero"),
        ("```python\na = 1\n", "```\nsimhw machine show nothing\n", "page.md:15: simhw machine show nothing"),
    ],
)
def test_a_page_that_does_not_run_is_found(before: str, after: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=problem):
        follow(tmp_path, PAGE.replace(before, after))


@pytest.mark.parametrize(
    ("shown", "is_shown"), [("a  c", True), ("a b  c", True), ("c a", False), ("a d", False), ("", True)]
)
def test_columns_may_be_left_out(shown: str, is_shown: bool) -> None:
    assert shows(shown, " a b c ") is is_shown


@pytest.mark.parametrize(
    ("mention", "words"),
    [
        ("simhw run --trace T [--details] ... --html f.html", []),
        ("simhw run", []),
        ("simhw trace", []),
        ("simhw run --detail", ["--detail"]),
        ("simhw trace shake", ["shake"]),
        ("simhw roofline ranks --pe fpraker", ["--pe"]),
    ],
)
def test_words_that_simhw_does_not_know_are_found(mention: str, words: list[str]) -> None:
    assert unknown(mention) == words


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("simhw run --pe 'a b'  # why", ["run", "--pe", "a b"]),
        (".venv/bin/simhw doctor", ["doctor"]),
        ("python simhw", None),
    ],
)
def test_commands_of_simhw_are_told_from_others(command: str, arguments: list[str] | None) -> None:
    assert arguments_of(command) == arguments
