"""A reader who follows a page to the letter: every command and every example in Python, in the page's order.

He sits in a folder of his own with an installed simhw, and brings what no page can print: a network of his own, arrays,
and captured steps.  A block of code is

- a file, where it begins with a comment that is a file's name;
- an example in Python; all of a page share their names;
- commands of the shell, where it says ``sh`` or ``console`` or begins with one of simhw;
- else, without a language, what the commands before it print.

A block that cannot be run says so where it is printed: ``<!-- not run: REASON -->`` on the line before it.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

import simhw
from simhw.bfloat16 import from_float32
from simhw.cli import main
from tests.places import ROOT
from tests.plugged import BITSERIAL

BLOCK = re.compile(
    r"(?:^<!-- not run(?P<reason>[^\n]*?)-->\n)?^```(?P<language>[\w{}-]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NAMED = re.compile(r"# ([\w./-]+\.\w+)\n")
"""The first line of a block that is a file."""
AND, REDIRECTED = re.compile(r"\s+&&\s+"), re.compile(r"(.*?)\s+>\s+(\S+)")
PRINTED = ".printed"
INSTALLS = re.compile(r"python3 -m venv|\S+python -m (pip|pytest)\b|\. \S+activate$")
"""What makes the environment of the tests, or runs them: `.ci/run` does it, by the README."""


@dataclass(frozen=True)
class Block:
    """A block of code of a page, and the line it begins in."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None
    """Why it is not run."""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        named = NAMED.match(self.code)
        return named[1] if named else None

    @cached_property
    def commands(self) -> list[str]:
        """Its shell commands, one after the other."""
        shell = self.language in {"sh", "console"} or (not self.language and self.code.startswith("simhw "))
        lines = self.code.splitlines() if shell and not self.file else []
        return [part for line in lines for part in AND.split(line.removeprefix("$ "))]

    @property
    def is_output(self) -> bool:
        return not self.language and not self.commands


def blocks(page: str) -> list[Block]:
    """The blocks of code of a page of the checkout."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("code")), found["language"], found["code"], found["reason"])
        for found in BLOCK.finditer(text)
    ]


def arguments_of(command: str) -> list[str] | None:
    """What a command gives to simhw, wherever that is installed; None of another program's."""
    program, *arguments = shlex.split(REDIRECTED.sub(r"\1", command), comments=True) or [""]
    return arguments if program in {"simhw", ".venv/bin/simhw"} else None


def shows(shown: str, printed: str) -> bool:
    """Whether a line of a page is what was printed: the same words in the same order, perhaps with columns left out."""
    words = iter(printed.split())
    return all(word in words for word in shown.split())


@dataclass
class Reader:
    """What a reader of a page has: a folder, names in Python, and what was printed to him."""

    folder: Path
    names: dict[str, object] = field(default_factory=dict)

    @property
    def printed(self) -> str:
        return (self.folder / PRINTED).read_text(encoding="utf-8")

    def follow(self, page: str) -> None:
        """Run every block of a page.

        Raises
        ------
        AssertionError
            A command fails, or does not print what the page shows.
        """
        _bring_files(self.folder)
        with _at_home(self.folder):
            for block in blocks(page):
                if block.reason is None:
                    self._do(block)

    def _do(self, block: Block) -> None:
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            self._python(block)
        elif block.is_output:
            printed = self.printed.splitlines()
            missing = [line for line in block.code.splitlines() if not any(shows(line, each) for each in printed)]
            assert not missing, f"{block.where}: simhw does not print what is shown: {missing}"
        for command in block.commands:
            self._command(command, block.where)

    def _python(self, block: Block) -> None:
        # Lines before it, so that a traceback names the line of the page.
        code = compile("\n" * block.line + block.code, block.page, "exec")
        for name in set(code.co_names) & set(BROUGHT) - set(self.names):
            self.names |= BROUGHT[name]()
        with self._output(PRINTED):
            exec(code, self.names)

    def _command(self, command: str, where: str) -> None:
        if not command or INSTALLS.match(command):
            return
        arguments, redirected = arguments_of(command), REDIRECTED.fullmatch(command)
        if arguments is None:
            with self._output(PRINTED) as out:
                subprocess.run(["sh", "-ec", command], stdout=out, check=True)
        else:
            with self._output(redirected[2] if redirected else PRINTED):
                assert main(arguments) == 0, f"{where}: {command}"

    @contextlib.contextmanager
    def _output(self, name: str) -> Iterator[io.TextIOBase]:
        """Send standard output to a file of his."""
        path = self.folder / Path(name).expanduser()
        with open(path, "a" if name == PRINTED else "w", encoding="utf-8") as out, contextlib.redirect_stdout(out):
            yield out


@contextlib.contextmanager
def _at_home(folder: Path) -> Iterator[None]:
    """In a folder, which is also the home, with this interpreter and simhw, and the package of docs/plugins.md."""
    from simhw.pe.registry import processing_element

    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        programs = folder / ".bin"
        programs.mkdir()
        (programs / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (programs / "python").chmod(0o755)
        if "XDG_CACHE_HOME" not in os.environ:  # another home has no compiled kernels
            patch.setenv("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        patch.setenv("HOME", str(folder))
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "workloads"))), prepend=os.pathsep)
        patch.syspath_prepend(BITSERIAL)
        yield
    processing_element.cache_clear()


def _bring_files(folder: Path) -> None:
    """What pages take to be the reader's own: captured steps, a sweep, a layer list, and a checkout's folders."""
    for name in ("mine", "my-dense", "my-lowrank", "full"):
        shutil.copyfile(ROOT / "traces" / "small_cnn.npz", folder / f"{name}.npz")
    for name in ("traces", "reports"):
        (folder / name).mkdir()
    (folder / "traces" / "resnet50.npz").symlink_to(ROOT / "traces" / "resnet50.npz")
    (folder / "sweep.yaml").write_text("traces: small_cnn\nmachines: fpraker\ngrid: {tiles: [18, 36]}\n")
    (folder / "mine.yaml").write_text(
        "name: mine\nsource: a page\ninput: [3, 32, 32]\nlayers: [conv: {name: stem, out: 16, kernel: 3, padding: 1}]\n"
    )
    _bring_arrays(folder / "arrays")


def _bring_arrays(folder: Path) -> None:
    """A step of a network of one layer as docs/trace-import.md describes it."""
    (folder / "models" / "alexnet").mkdir(parents=True)
    (folder / "models" / "alexnet" / "trace_params.csv").write_text("fc8,,5,1,1,1,0\n")
    for kind, ending, shape in (("input", "in", (2, 7)), ("weights", "w", (5, 7)), ("outGrad", "outGrad", (2, 5))):
        held = folder / "net_traces" / "alexnet" / kind
        held.mkdir(parents=True)
        np.save(held / f"fc8-0-3-{ending}.npy", np.ones(shape, np.float32))


def _network() -> dict[str, object]:
    """A network in training, which takes long enough for the steps that pages capture."""
    import torch
    from torch import nn

    class MyModel(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
            self.append(nn.Linear(16, 10))

    torch.manual_seed(0)
    model = MyModel()
    return {
        "MyModel": MyModel,
        "model": model,
        "criterion": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.01),
        "loader": [(torch.rand(2, 3, 8, 8), torch.randint(10, (2,))) for _ in range(2001)],
    }


def _operands() -> dict[str, object]:
    rows = from_float32(np.random.default_rng(0).standard_normal((2, 8, 16), dtype=np.float32))
    return {"a": rows[0], "b": rows[1]}


BROUGHT: dict[str, Callable[[], dict[str, object]]] = {
    "model": _network,
    "MyModel": _network,
    "a": _operands,
    "layer": lambda: {"layer": simhw.load_trace("small_cnn").layers[0]},
}
"""Names that pages use and that are the reader's own, and what they hold.  A page's own come first."""
