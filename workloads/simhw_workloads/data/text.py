"""Text that is on every machine: Python's own language reference, character by character, and sentences from packages'
documentation.
"""

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.task import Task, accuracy, cross_entropy

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "sklearn", "torch")
"""Whose documentation sentences come from; the number of a package is its class."""
_PER_PACKAGE = 2000
_FEWEST_WORDS = 6
UNKNOWN, FIRST = 1, 2
"""Tokens of words that are not in the vocabulary, and of the place that every sentence starts with; 0 fills up."""
_HELD_OUT = 10
"""Every tenth sample is for testing."""


Sample = tuple[tuple[str, ...], int]
"""Words of a text and its class."""


def characters(window: int = 64) -> Task:
    """A language model of characters on Python's language reference (`pydoc_data.topics`, about 465,000 characters in
    Python 3.11).

    The last tenth of the text is held out.  The text, and so every result, is that of the Python version.

    Parameters
    ----------
    window : int
        Characters that a sample predicts.

    Returns
    -------
    Task
        Inputs and targets (B, window) int64, outputs (B, window, vocabulary); scored in bits per character.
    """
    text = _reference()
    # One vocabulary of the whole text: a character that only the end has must have a number, too.
    numbers = {character: number for number, character in enumerate(sorted(set(text)))}
    return language_model(
        "Python's language reference", [numbers[character] for character in text], window, "bits per character"
    )


def language_model(name: str, numbers: list[int], window: int, metric: str, test: list[int] | None = None) -> Task:
    """Prediction of each next token of a text, in windows that do not overlap.

    Parameters
    ----------
    name : str
    numbers : list of int
        Tokens of the text.
    window : int
    metric : str
        What the mean of -log2 p is called.
    test : list of int, optional
        Tokens of the held-out text; the last tenth of `numbers` if not given.

    Raises
    ------
    WorkloadError
        The text is shorter than a few windows.
    """
    if test is None:
        cut = len(numbers) - len(numbers) // _HELD_OUT
        numbers, test = numbers[:cut], numbers[cut:]
    parts = []
    for part, tokens in (("training", numbers), ("test", test)):
        samples = (len(tokens) - 1) // window
        if samples < 1:
            raise WorkloadError(f"{name}: {len(tokens)} tokens to be the {part} text; a window takes {window + 1}")
        parts.append(torch.tensor(tokens[: samples * window + 1], dtype=torch.int64).unfold(0, window + 1, window))
    return Task(
        name,
        (parts[0],),
        (parts[1],),
        prepare=lambda columns: (columns[0][:, :-1], columns[0][:, 1:]),
        loss=_next_token_loss,
        score=lambda outputs, targets: float(_next_token_loss(outputs, targets)) / math.log(2),
        metric=metric,
        higher_is_better=False,
    )


def vocabulary_of(task: Task) -> int:
    """Number of tokens that a language task has."""
    return 1 + int(max(columns[0].max() for columns in (task.train, task.test)))


def _next_token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


@cache
def _reference() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def sentences(tokens: int = 32, words: int = 4000) -> Task:
    """Which package a sentence of documentation is from; six classes.

    Sentences are those of the docstrings of the installed packages (`PACKAGES`; their names are masked), the same for
    the same versions. Every tenth is held out.

    Parameters
    ----------
    tokens : int
        Of a sample: `FIRST`, then words; longer sentences are cut, shorter ones filled up with 0.
    words : int
        In the vocabulary: the most frequent of the training sentences.

    Returns
    -------
    Task
        Inputs (B, tokens) int64, targets (B,) int64.

    Raises
    ------
    WorkloadError
        A package is not installed.
    """
    train, test = sentence_samples()
    return text_classification("documentation sentences", train, test, frequent_words(train, words), tokens)


def frequent_words(samples: list[Sample], words: int) -> dict[str, int]:
    """A vocabulary of `words` tokens: the numbers of the most frequent words of texts, behind the special ones."""
    counts = Counter(word for found, _ in samples for word in found)
    # By count, then by the word itself, so that the vocabulary does not hang on the order of the files.
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: words - FIRST - 1]
    return {word: FIRST + 1 + index for index, word in enumerate(frequent)}


def sentence_samples() -> tuple[list[Sample], list[Sample]]:
    """The sentences of `sentences`, in words: those to train on and every tenth, in an order drawn once.

    Raises
    ------
    WorkloadError
        A package is not installed.
    """
    samples = [(words_of, label) for label, package in enumerate(PACKAGES) for words_of in _sentences(package)]
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
    samples = [samples[index] for index in order]
    return [each for index, each in enumerate(samples) if index % _HELD_OUT], samples[::_HELD_OUT]


def text_classification(
    name: str, train: list[Sample], test: list[Sample], vocabulary: dict[str, int], tokens: int
) -> Task:
    """Classification of texts; inputs (B, tokens) int64 as `sentences` gives them, targets (B,) int64."""

    def columns(samples: list[Sample]) -> tuple[Tensor, Tensor]:
        numbers = np.zeros((len(samples), tokens), np.int64)
        for row, (found, _) in enumerate(samples):
            line = [FIRST, *(vocabulary.get(word, UNKNOWN) for word in found[: tokens - 1])]
            numbers[row, : len(line)] = line
        return torch.from_numpy(numbers), torch.tensor([label for _, label in samples])

    return Task(name, columns(train), columns(test), lambda rows: (rows[0], rows[1]), cross_entropy, accuracy)


def words_in(text: str) -> tuple[str, ...]:
    """Words in lower case, and every other mark but spaces by itself."""
    return tuple(re.findall(r"[a-z]+|[0-9]+|[^\sa-z0-9]", text.lower()))


@cache
def _sentences(package: str) -> tuple[tuple[str, ...], ...]:
    found: dict[tuple[str, ...], None] = {}
    for text in _docstrings(package):
        for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text):
            # Lines of tables, examples and parameters are no sentences.
            if not sentence.endswith(".") or ">>>" in sentence or "---" in sentence:
                continue
            words = tuple("package" if word in PACKAGES else word for word in words_in(sentence))
            if len(words) >= _FEWEST_WORDS:
                found[words] = None
                if len(found) == _PER_PACKAGE:
                    return tuple(found)
    return tuple(found)


def documentation(package: str) -> tuple[tuple[str, ...], ...]:
    """Up to 2,000 sentences of a package's docstrings, in their order and each in words.

    Raises
    ------
    WorkloadError
        The package is not installed.
    """
    return _sentences(package)


def _docstrings(package: str) -> Iterator[str]:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WorkloadError(
            f"documentation sentences need {package}, which is not installed: pip install 'simhw[workloads]'"
        )
    root = Path(spec.submodule_search_locations[0])
    for path in sorted(root.rglob("*.py")):
        if "tests" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # a template, or a file of another Python version: it has no docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text
