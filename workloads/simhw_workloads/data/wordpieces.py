"""Word pieces: BERT's tokens.  A word is cut into the longest pieces that the vocabulary has, from its start on.

Source: Devlin et al., NAACL 2019; the vocabulary is that of the pretrained model.
"""

from pathlib import Path

import numpy as np
import torch

from simhw.errors import WorkloadError
from simhw_workloads.data.files import data_text
from simhw_workloads.data.text import Sample
from simhw_workloads.task import Task, accuracy, cross_entropy

PADDING, UNKNOWN, FIRST, LAST = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100
"""Characters; a longer word is unknown, as in the published tokenizer."""


class WordPieces:
    """A vocabulary of word pieces.

    Parameters
    ----------
    pieces : list of str
        In their order; pieces that go on within a word begin with ``##``.

    Raises
    ------
    WorkloadError
        A special piece is missing, or padding is not the first.
    """

    def __init__(self, pieces: list[str]) -> None:
        self._numbers = {piece: number for number, piece in enumerate(pieces)}
        for special in (PADDING, UNKNOWN, FIRST, LAST):
            if special not in self._numbers:
                raise WorkloadError(f"a vocabulary of {len(pieces)} word pieces without {special}")
        if self._numbers[PADDING] != 0:
            raise WorkloadError(f"a vocabulary of word pieces whose first is not {PADDING}")

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self._numbers)

    def cut(self, word: str) -> list[int]:
        """The pieces of a word in lower case; the unknown piece where some part has none."""
        found: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self._numbers), None)
            if end is None or len(word) > _LONGEST_WORD:
                return [self._numbers[UNKNOWN]]
            found.append(self._numbers[mark + word[start:end]])
            start = end
        return found

    def line(self, words: tuple[str, ...], tokens: int) -> list[int]:
        """A text of at most `tokens` pieces between its two marks."""
        pieces = [piece for word in words for piece in self.cut(word)]
        return [self._numbers[FIRST], *pieces[: tokens - 2], self._numbers[LAST]]

    def classification(self, name: str, train: list[Sample], test: list[Sample], tokens: int) -> Task:
        """Classification of texts; inputs (B, tokens) int64, filled up with 0, targets (B,) int64."""

        def columns(samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
            numbers = np.zeros((len(samples), tokens), np.int64)
            for row, (words, _) in enumerate(samples):
                line = self.line(words, tokens)
                numbers[row, : len(line)] = line
            return torch.from_numpy(numbers), torch.tensor([label for _, label in samples])

        return Task(name, columns(train), columns(test), lambda rows: (rows[0], rows[1]), cross_entropy, accuracy)


def read_word_pieces(path: Path) -> WordPieces:
    """The vocabulary of a ``vocab.txt``: a piece a line.

    Raises
    ------
    WorkloadError
        The file cannot be read, or is no such vocabulary.
    """
    text = data_text(path, "a vocabulary of word pieces (vocab.txt)", longest_bytes=1 << 24)
    return WordPieces(text.split("\n")[:-1] if text.endswith("\n") else text.split("\n"))
