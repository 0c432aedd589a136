"""YAML as people write it: numbers are decimal, words are words, and no document is larger than its text.

What stands without quotes is read by the core schema of YAML 1.2, with underscores between digits besides: ``064`` is
64, ``0o17`` 15, ``0x10`` 16; ``600e6``, ``600_000_000`` and ``.5`` are numbers; ``1:30``, ``2024-01-01``, ``off`` and
``yes`` are texts. YAML 1.1, which PyYAML constructs, makes 52 of ``064``, 90 of ``1:30``, a date, and truth values of
the two words.  Keys are texts, whatever they look like.
"""

import re
from collections.abc import Iterator
from math import isinf
from typing import Any

import yaml

from simhw.errors import quoted

MAX_DEPTH = 16
MAX_DIGITS = 40
"""Of an integer: no quantity has more, and what has fewer can be a float too."""
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{f"{sign}{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_DECIMAL = re.compile(f"[-+]?{_DIGITS}")
_PREFIXED = re.compile("0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(rf"[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.(?:{_DIGITS})?)?)(?:[eE][-+]?[0-9]+)?")
# libyaml reads ten times as fast; PyYAML's own parser gives the same events where that was not built.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str) -> Any:
    """A YAML document of mappings, lists, texts, numbers, truth values and nulls.

    Raises
    ------
    yaml.YAMLError
        It is no YAML; or it has an alias, of which a few lines make a document of any size, a tag, a key twice, a key
        that is no text, over `MAX_DEPTH` levels, a number too large, or a second document.  Says in which line.
    """
    events = yaml.parse(text, Loader=_Parser)
    try:
        next(events)  # the stream's start
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        document = _value(next(events), events, 1)
        next(events)  # the document's end
        if not isinstance(next(events), yaml.StreamEndEvent):
            raise yaml.YAMLError("more than one document")
        return document
    except yaml.MarkedYAMLError as problem:
        # PyYAML's own text is of several lines, and calls the document a "<unicode string>" each time.
        said = ", ".join(part for part in (problem.context, problem.problem) if part)
        mark = problem.problem_mark or problem.context_mark
        raise yaml.YAMLError(f"{said}, line {mark.line + 1}" if mark else said) from None
    except UnicodeEncodeError:
        raise yaml.YAMLError("a text that is no Unicode: half a pair of surrogates") from None


def _value(event: Any, events: Iterator[yaml.Event], depth: int) -> Any:
    """The value that an event begins."""
    if isinstance(event, yaml.AliasEvent):
        raise _problem(event, "aliases are not allowed")
    if event.tag is not None:
        raise _problem(event, f"could not determine a constructor for tag {quoted(event.tag)} (tags are not allowed)")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if depth >= MAX_DEPTH:
        raise _problem(event, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            items.append(_value(item, events, depth + 1))
        return items
    values: dict[str, Any] = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        if not isinstance(key, yaml.ScalarEvent) or key.tag is not None:
            raise _problem(key, "a key is a text, without tags")
        if key.value in values:
            raise _problem(key, f"{quoted(key.value)[1:-1]} stands there 2 times")
        values[_text(key.value)] = _value(next(events), events, depth + 1)
    return values


def _problem(event: Any, what: str) -> yaml.YAMLError:
    return yaml.YAMLError(f"{what}, line {event.start_mark.line + 1}")


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if not event.implicit[0]:  # in quotes, or a block of text
        return _text(text)
    if text in _WORDS:
        return _WORDS[text]
    if _DECIMAL.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise _problem(event, f"an integer of over {MAX_DIGITS} digits")
        return int(text)
    if _PREFIXED.fullmatch(text):
        return int(text, 0)
    if not _FLOAT.fullmatch(text):
        return _text(text)
    if isinf(number := float(text)):
        raise _problem(event, f"{quoted(text)} is beyond the largest number, about 1.8e308")
    return number


def _text(text: str) -> str:
    """The text, once it is sure that it can be written: half a pair of surrogates cannot."""
    text.encode()
    return text
