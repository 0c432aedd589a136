"""Runs of `simhw run` and `simhw compare` on one small trace, and the tables they print."""

import re

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, simulate
from simhw.bfloat16 import from_float32
from simhw.cli import main
from simhw.results.step import Results
from simhw.trace.metadata import Metadata

LONG_NAME = "a.layer.[bold]whose[/bold].name." + "is.long." * 12 + "indeed"
SUBCOMMANDS = ("run", "compare")


def some_trace() -> Trace:
    """A convolution and a linear layer with half of the activations zero."""
    rng = np.random.default_rng(5)

    def relu(*shape: int) -> np.ndarray:
        return from_float32(np.maximum(rng.standard_normal(shape, dtype=np.float32), 0))

    def normal(*shape: int) -> np.ndarray:
        return from_float32(rng.standard_normal(shape, dtype=np.float32))

    conv = Layer("conv", "conv2d", {"padding": 1}, a=relu(2, 8, 6, 6), w=normal(12, 8, 3, 3), g=normal(2, 12, 6, 6))
    linear = Layer(
        LONG_NAME, "linear", a=relu(24, 40), w=normal(16, 40), g=normal(24, 16), operations=["forward", "weight_grad"]
    )
    return Trace([conv, linear], Metadata("net", "digits", "dense", step=7, batch=2))


def factorised() -> Trace:
    """The step with the linear layer as two factors of rank 4, of which the first ran forward alone."""
    rng = np.random.default_rng(6)
    conv, linear = some_trace().layers
    w1, a2, w2 = (rng.standard_normal(shape, dtype=np.float32) for shape in ((4, 40), (24, 4), (16, 4)))
    first = Layer(f"{linear.name}.0", "linear", a=linear.a, w=w1, operations=["forward"])
    second = Layer(f"{linear.name}.1", "linear", a=a2, w=w2, g=linear.g, operations=["forward", "weight_grad"])
    return Trace([conv, first, second], Metadata("net", "digits", "low rank", step=7, batch=2))


def output(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> str:
    assert main([command, "--trace", "some", *arguments]) == 0
    return capsys.readouterr().out


def details(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> str:
    """Every table, not the first screen alone."""
    return output(capsys, command, "--details", *arguments)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command leaves on standard error with exit code 2."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("simhw: ")
    return line


def rows(text: str, first: str) -> list[list[str]]:
    """Cells of the table rows that begin so, an estimate and its interval as one cell."""
    found = [line for line in text.splitlines() if line.strip().startswith(f"{first} ")]
    return [
        re.split(r"(?<!±) +(?!±)", line.strip().replace(" G ", "G ").replace(" M ", "M ").replace(" K ", "K "))
        for line in found
    ]


def result(machine: str = "fpraker", **options: object) -> Results:
    return simulate(some_trace(), load_machine(machine), progress=False, **options)  # type: ignore[arg-type]
