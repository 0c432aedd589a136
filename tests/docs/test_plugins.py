"""docs/plugins.md: the files that it shows are those of the package that the tests run."""

import pytest

from tests.docs.reader import blocks
from tests.places import ROOT
from tests.plugged import BITSERIAL

SHOWN = [block.code for block in blocks("docs/plugins.md") if block.file]


@pytest.mark.parametrize("code", SHOWN, ids=[code.partition("\n")[0] for code in SHOWN])
def test_a_file_is_shown_as_it_is(code: str) -> None:
    name, _, content = code.removeprefix("# ").partition("\n")
    folder = ROOT / "tests" / "pe" if name.startswith("test_") else BITSERIAL
    assert (folder / name).read_text(encoding="utf-8") == content


def test_every_file_of_the_package_is_shown() -> None:
    names = {code.removeprefix("# ").partition("\n")[0] for code in SHOWN}
    package = {str(path.relative_to(BITSERIAL)) for path in (BITSERIAL / "bitserial_pe").rglob("*") if path.is_file()}
    code = {name for name in package if name.endswith((".py", ".yaml")) and not name.endswith("__init__.py")}
    assert names == code | {"pyproject.toml", "test_bitserial.py"}
