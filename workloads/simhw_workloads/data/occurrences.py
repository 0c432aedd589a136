"""Which words occur in which pages of documentation: implicit feedback, as of users who watched films.

A page is some sentences of one package in a row, and stands for a user; a word stands for a film.  Few words occur in
most pages and most in few, as with films.  The data set's name says what it is of.
"""

import numpy as np
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.data.text import PACKAGES, documentation
from simhw_workloads.task import Task

CANDIDATES = 100
"""Words of which one occurs in a held-out page, as in the published evaluation."""
BEST = 10
"""A hit is the right word among so many."""
_SENTENCES_PER_PAGE = 20
_FEWEST_PAGES, _MOST_SHARE = 3, 0.5
"""Of a word: in fewer pages it cannot be learnt, in more it tells nothing."""


def occurrences(pages: int | None = None, negatives: int = 4) -> Task:
    """Does a word occur in a page?

    Of each page one word is held out.  The others are the samples, each with words that do not occur, drawn once.

    Parameters
    ----------
    pages : int, optional
        The first so many of each package; all if not given.
    negatives : int
        For each word that occurs.

    Returns
    -------
    Task
        Inputs (B, 2) int64, pages and words; targets (B,) float32, 1 where the word occurs.  Scored by the share of
        held-out words among the best ten of a hundred, for which the first so many hundreds of test samples are taken.
    """
    found = _pages(pages)
    counts: dict[str, int] = {}
    for words in found:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    kept = sorted(word for word, count in counts.items() if _FEWEST_PAGES <= count <= _MOST_SHARE * len(found))
    number = {word: index for index, word in enumerate(kept)}
    if len(kept) <= CANDIDATES:
        raise WorkloadError(f"{len(found)} pages have {len(kept)} words in common; {CANDIDATES} are needed")
    random = np.random.default_rng(0)
    train: list[tuple[int, int, float]] = []
    test: list[tuple[int, int, float]] = []
    for page, words in enumerate(found):
        there = np.array(sorted(number[word] for word in words if word in number), np.int64)
        absent = np.setdiff1d(np.arange(len(kept)), there)
        if len(there) < 2 or len(absent) < CANDIDATES - 1:
            continue
        held_out = int(random.integers(len(there)))
        for occurs in np.delete(there, held_out):
            train.append((page, int(occurs), 1.0))
            train += [(page, int(other), 0.0) for other in random.choice(absent, negatives)]
        test.append((page, int(there[held_out]), 1.0))
        test += [(page, int(other), 0.0) for other in random.choice(absent, CANDIDATES - 1, replace=False)]
    return Task(
        f"words in {len(found)} pages of documentation",
        _columns(train),
        _columns(test),
        prepare=lambda columns: (columns[0], columns[1]),
        loss=nn.functional.binary_cross_entropy_with_logits,
        score=hit_ratio,
        metric=f"hits among the best {BEST} of {CANDIDATES}",
    )


def hit_ratio(outputs: Tensor, targets: Tensor) -> float:
    """Share of whole groups of `CANDIDATES` samples whose right one, of target 1, is among the `BEST` largest.

    A word whose output is as large as that of the right one stands before it.
    """
    whole = len(outputs) // CANDIDATES * CANDIDATES
    groups, targets = (each[:whole].reshape(-1, CANDIDATES) for each in (outputs, targets))
    right = groups.gather(1, targets.argmax(1, keepdim=True))
    before = (groups >= right).sum(1) - 1
    return float((before < BEST).float().mean())


def _pages(most: int | None) -> list[set[str]]:
    pages: list[set[str]] = []
    for package in PACKAGES:
        sentences = documentation(package)
        whole = len(sentences) // _SENTENCES_PER_PAGE
        for page in range(whole if most is None else min(most, whole)):
            part = sentences[page * _SENTENCES_PER_PAGE : (page + 1) * _SENTENCES_PER_PAGE]
            pages.append({word for words in part for word in words if word.isalpha() and len(word) > 1})
    return pages


def _columns(samples: list[tuple[int, int, float]]) -> tuple[Tensor, Tensor]:
    return (
        torch.tensor([each[:2] for each in samples], dtype=torch.int64),
        torch.tensor([each[2] for each in samples], dtype=torch.float32),
    )
