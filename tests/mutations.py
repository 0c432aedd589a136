"""Damage done to good files, the same in every run, and what may come of reading them: success, or one clear line."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from simhw.errors import SimhwError

LONGEST_LINE = 400
ODD_NUMBERS = (
    0,
    -1,
    1,
    2,
    7,
    63,
    255,
    256,
    65535,
    2**30,
    2**31,
    2**40,
    2**53,
    2**63,
    2**64,
    10**30,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
)
ODD_VALUES: tuple[Any, ...] = (
    *ODD_NUMBERS,
    None,
    True,
    "",
    "x",
    "é\u202e\x00",
    "9" * 5000,
    [],
    {},
    [[]],
    [1, 2, 3],
    {"value": 1},
    "x" * 70_000,
)
ODD_TEXT = (
    "0",
    "-1",
    "1e308",
    "nan",
    "inf",
    "064",
    "1:30",
    "0x10",
    "99999999999",
    "9" * 5000,
    "",
    ",",
    ";",
    "\t",
    ":",
    "{}",
    "[",
    "#",
    "\x00",
    "é",
    "\ufeff",
    "&a",
    "*a",
)


def fuzz(cases: int) -> pytest.MarkDecorator:
    """Parametrise a test by a range of seeds: `cases` of them by default, ten times as many others where slow tests
    run.
    """
    return pytest.mark.parametrize(
        "seeds",
        [
            pytest.param(range(cases), id="some"),
            pytest.param(range(cases, 11 * cases), id="many", marks=pytest.mark.slow),
        ],
    )


def generators(seeds: range) -> Iterator[tuple[int, random.Random]]:
    """Each case's seed and its generator of random numbers."""
    for seed in seeds:
        yield seed, random.Random(seed)


def accepted(action: Callable[[], object], what: str) -> bool:
    """True where the action succeeds, False where it is refused in one line; anything else fails the test, naming
    `what`.
    """
    try:
        action()
    except SimhwError as error:
        line = f"simhw: {error}"
        assert len(line) <= LONGEST_LINE, f"{what}: an error of {len(line)} characters"
        assert "\n" not in line, f"{what}: an error of several lines"
        return False
    except BaseException as error:
        raise AssertionError(f"{what}: {type(error).__name__} came through: {str(error)[:200]}") from error
    return True


def mutated_bytes(rng: random.Random, content: bytes) -> bytes:
    """Content with one to four places overwritten, cut out, repeated or cut off."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged) + 1)
        length = min(rng.choice((1, 2, 4, 8, 64, 1024)), len(damaged) - at)
        match rng.randrange(6):
            case 0:
                damaged[at : at + length] = rng.randbytes(length)
            case 1:
                damaged[at : at + length] = rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * length
            case 2:
                del damaged[at : at + length]
            case 3:
                damaged[at:at] = damaged[at : at + length]
            case 4:
                damaged[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
            case _:
                if rng.random() < 0.25:
                    del damaged[at:]
                elif at < len(damaged):
                    damaged[at] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def mutated_text(rng: random.Random, text: str) -> str:
    """Text with one to three words or lines replaced, dropped, repeated or exchanged."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, rng.choice(lines))
            case 2:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                line = lines[at]
                first, last = sorted((rng.randint(0, len(line)), rng.randint(0, len(line))))
                lines[at] = line[:first] + rng.choice(ODD_TEXT) + line[min(last, first + 6) :]
        text = "\n".join(lines)
    return text


def mutated_tree(rng: random.Random, tree: Any) -> Any:
    """A copy of nested mappings and lists with one to three places replaced, dropped, repeated or renamed."""
    tree = _copied(tree)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            return rng.choice(ODD_VALUES)
        holder, key = rng.choice(places)
        match rng.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, _copied(holder[key]))
            case 1:
                holder[rng.choice(("", "x", "value", "extends", "é" * 300))] = holder.pop(key)
            case 2:
                other_holder, other_key = rng.choice(places)
                if other_key in other_holder if isinstance(other_holder, dict) else other_key < len(other_holder):
                    holder[key] = _copied(other_holder[other_key])
            case _:
                holder[key] = _copied(rng.choice(ODD_VALUES))
    return tree


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key, value in list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)):
            yield tree, key
            yield from _places(value)
