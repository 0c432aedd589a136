"""What a person may ask of a capture, checked before training: models, steps, the traces' paths, numbers, names of
operators.
"""

import os
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, SupportsIndex

from torch import nn

from simhw.errors import CaptureError, SimhwError
from simhw.files.writing import check_target

MAX_STEPS = 100_000
_BRACES = re.compile(r"\{[^{}]*\}")


def models_of(given: Any) -> dict[str, nn.Module]:
    """The models to name layers after, each under its name; a single one has none.

    Raises
    ------
    CaptureError
        It is no model and no mapping of names to models.
    """
    if isinstance(given, nn.Module):
        return {"": given}
    if not isinstance(given, Mapping) or not given:
        raise CaptureError(f"model is {_shown(given)}: give a torch.nn.Module, or a mapping of names to several")
    for name, model in given.items():
        if not isinstance(name, str) or not isinstance(model, nn.Module):
            raise CaptureError(f"model {_shown(name)} is {_shown(model)}: give a mapping of names to torch.nn.Modules")
    return dict(given)


def steps_of(given: Any) -> frozenset[int]:
    """The numbers of the steps to capture.

    Raises
    ------
    CaptureError
        They are not numbers from 1 on, none, or more than `MAX_STEPS`.
    """
    problem = CaptureError(
        f"steps={_shown(given)}: give the numbers of the steps to capture, counted from 1, such as steps={{100, 2000}}"
    )
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise problem
    try:
        # Not all of an iterable that may have no end.
        steps = frozenset(_index(step) for step in islice(given, MAX_STEPS + 1))
    except TypeError:
        raise problem from None
    if len(steps) > MAX_STEPS:
        raise CaptureError(f"steps has more than {MAX_STEPS:,} numbers: choose those that differ")
    if not steps or min(steps) < 1:
        raise problem
    return steps


def whole_number(option: str, given: Any, least: int, what: str) -> int | None:
    """An option that is a whole number of at least so much, or None.

    Raises
    ------
    CaptureError
        It is something else.
    """
    if given is None:
        return None
    try:
        number = _index(given)
    except TypeError:
        number = least - 1
    if number < least:
        raise CaptureError(f"{option}={_shown(given)}: give {what}")
    return number


def text(option: str, given: Any) -> str:
    """An option that the trace repeats.

    Raises
    ------
    CaptureError
        It is no text that a file can hold.
    """
    if not isinstance(given, str):
        raise CaptureError(f"{option}={_shown(given)}: give a text")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise CaptureError(f"{option}={_shown(given)}: has a character that no file can hold") from None
    return given


def operators_of(given: Any) -> frozenset[str]:
    """The operators to let pass.

    Raises
    ------
    CaptureError
        They are not several texts.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise CaptureError(
            f"ignore={_shown(given)}: give a set of operators as refusals name them, such as "
            f"ignore={{'library::operator'}}"
        )
    names = tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise CaptureError(f"ignore={_shown(given)}: operators are given by name, as refusals name them")
    return frozenset(names)


def pattern_of(given: Any, fields: tuple[str, ...]) -> str:
    """A pattern of the traces' paths, in which only these fields stand for something.

    Raises
    ------
    CaptureError
        It is no path, or its last part has other braces.
    """
    try:
        pattern = os.fsdecode(given)
    except TypeError:
        raise CaptureError(f"path={_shown(given)}: give the path of the trace files") from None
    known = " and ".join(f"{{{field}}}" for field in fields)
    for found in _BRACES.findall(Path(pattern).name):
        if found[1:-1] not in fields:
            raise CaptureError(f"{pattern}: {found} stands for nothing in the name of a trace; {known} can be used")
    return pattern


def check_paths(pattern: str, paths: Iterable[Path], wanted: int, fields: str = "{step}") -> None:
    """Find out before training that the traces cannot be written.

    Raises
    ------
    CaptureError
        Fewer paths than traces, a folder that is not there or cannot be written to, or a name that cannot be had.
    """
    each = set(paths)
    if len(each) < wanted:
        raise CaptureError(f"{pattern}: {wanted} steps would be written to one file; put {fields} into its name")
    # One path of each folder, the one with the longest name.
    for folder, path in {path.parent: path for path in sorted(each, key=lambda path: len(os.fsencode(path)))}.items():
        if not os.path.isdir(folder):
            raise CaptureError(f"{folder}: no such folder; make it before training, so that the trace can be written")
        try:
            check_target(path)
        except SimhwError as error:
            raise CaptureError(f"{error}; the trace could not be written after training") from None


def _index(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        raise TypeError
    return given.__index__()


def _shown(given: Any) -> str:
    """A value of a person's, short."""
    if given is None or isinstance(given, str | bytes | int | float):
        shown = ascii(given)
    elif isinstance(given, list | tuple | set | frozenset | range):
        shown = ascii(given) if len(given) < 10 else f"a {type(given).__name__} of {len(given)}"
    else:
        shown = f"a {type(given).__name__}"
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
