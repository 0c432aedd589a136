"""The pages: sentences that one can read, links that lead somewhere, names that exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.docs.reader import BLOCK, blocks
from tests.places import ROOT

pytestmark = pytest.mark.usefixtures("bitserial")  # whose parts docs/plugins.md shows

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "traces" / "README.md",
    ROOT / "reports" / "README.md",
]
PATHS = [str(page.relative_to(ROOT)) for page in PAGES]
LONGEST_SENTENCE = 40
"""Words; most sentences have fewer than 25."""

LINKED = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
IN_CHECKOUT = {"simhw", "simhw_workloads", "bitserial_pe"}
"""Packages whose names are checked; another's may not be installed."""
IN_FOLDERS = re.compile(
    r"\b(?:simhw|tests|docs|workloads|notebooks|traces|reports)/[\w./*-]*(?:\w\.(?:py|md|yaml|ipynb)\b|/(?=`))"
)
"""A file of the checkout, or a folder that ends in a stroke."""


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def sentences(text: str) -> list[str]:
    """Those of paragraphs and lists, without code, tables and headings; a piece of code within a line is one word."""
    blocks: list[list[str]] = [[]]
    for line in BLOCK.sub("", text).splitlines():
        item = re.match(r"\s*([-*]|\d+\.) ", line)
        if not line.strip() or line.startswith(("|", "#", "![")):
            blocks.append([])
        elif item:
            blocks.append([line[item.end() :]])
        else:
            blocks[-1].append(line)
    prose = (re.sub(r"`[^`]+`", "CODE", LINKED.sub(r"\1", " ".join(block))) for block in blocks if block)
    return [sentence for block in prose for sentence in re.split(r"(?<=[.!?:])[*)]*\s+", block)]


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links to them are written."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def resolve(name: str) -> None:
    """Import the longest module that a dotted name begins with, and ask it for the rest."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return
    raise AssertionError(f"no module: {name}")


@pytest.mark.parametrize("path", PATHS)
def test_no_sentence_is_too_long(path: str) -> None:
    found = sentences(read(path))
    assert found
    assert [sentence for sentence in found if len(sentence.split()) > LONGEST_SENTENCE] == []


def test_sentences_are_told_apart() -> None:
    prose = "# Title\n\nOne `a b c` [two three](x.md).  Four: five\nsix.\n\n- Seven.\n- Eight\n\n"
    text = prose + "| a table. | b |\n\n```\ncode. code\n```\n"
    assert sentences(text) == ["One CODE two three.", "Four:", "five six.", "Seven.", "Eight"]


@pytest.mark.parametrize("path", PATHS)
def test_links_lead_to_a_file_and_a_heading(path: str) -> None:
    page = ROOT / path
    for _, target in LINKED.findall(BLOCK.sub("", read(path))):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not heading or heading in anchors(linked), target


def test_the_index_names_every_page() -> None:
    linked = {target for _, target in LINKED.findall(read("docs/README.md"))}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == {"README.md"}


@pytest.mark.parametrize("path", PATHS)
def test_names_of_files_exist(path: str) -> None:
    text = re.sub(r"^# .*$", "", read(path), flags=re.MULTILINE)  # an example begins with the name that it is to get
    names = [name.replace("NAME", "*") for name in IN_FOLDERS.findall(text)]
    assert [name for name in names if not list(ROOT.glob(name))] == []


@pytest.mark.parametrize("path", PATHS)
def test_names_of_modules_exist(path: str) -> None:
    for name in set(re.findall(r"`(simhw(?:\.\w+)+)", BLOCK.sub("", read(path)))):
        resolve(name)
    for block in blocks(path):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in IN_CHECKOUT:
                for each in node.names:
                    resolve(f"{node.module}.{each.name}")
