"""Pairs of sentences and how they relate: a stand-in for natural language inference, whose name says what it is of.

A premise is a sentence of a package's documentation.  Its partner is one of three: some of the premise's own words in
their order, which it entails; another sentence of the same package; a sentence of another package.
"""

import numpy as np
import torch

from simhw.errors import WorkloadError
from simhw_workloads.data.text import UNKNOWN, Sample, frequent_words
from simhw_workloads.task import Task, accuracy, cross_entropy

RELATIONS = ("its own words", "the same package", "another package")
"""An index is a class."""
_KEPT = 0.6
"""Of the premise's words, in its own words."""


def sentence_pairs(train: list[Sample], test: list[Sample], tokens: int = 24, words: int = 4000) -> Task:
    """How the second of two sentences relates to the first; a pair for each sentence, its relation drawn once.

    Parameters
    ----------
    train, test : list of Sample
        Sentences and their packages; partners come from the same list.
    tokens : int
        Of a sentence; longer ones are cut, shorter ones filled up with 0.
    words : int
        In the vocabulary.

    Returns
    -------
    Task
        Inputs (B, 2, tokens) int64, targets (B,) int64.

    Raises
    ------
    WorkloadError
        A list has sentences of one package alone, or a package with one sentence.
    """
    numbers = frequent_words(train, words)

    def columns(samples: list[Sample], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = np.random.default_rng(seed)
        relations = random.integers(len(RELATIONS), size=len(samples))
        pairs = np.zeros((len(samples), 2, tokens), np.int64)
        packages = np.array([package for _, package in samples])
        if min(np.unique(packages, return_counts=True)[1]) < 2 or len(set(packages.tolist())) < 2:
            raise WorkloadError("pairs of sentences need two packages, and two sentences of each")
        for row, (premise, package) in enumerate(samples):
            partner = premise
            if relations[row] == 0:
                kept = np.sort(random.permutation(len(premise))[: max(1, round(_KEPT * len(premise)))])
                partner = tuple(premise[place] for place in kept)
            else:
                fits = (packages == package) == (relations[row] == 1)
                fits[row] = False
                partner = samples[int(random.choice(np.flatnonzero(fits)))][0]
            for side, sentence in enumerate((premise, partner)):
                line = [numbers.get(word, UNKNOWN) for word in sentence[:tokens]]
                pairs[row, side, : len(line)] = line
        return torch.from_numpy(pairs), torch.from_numpy(relations)

    return Task(
        "pairs of documentation sentences",
        columns(train, 0),
        columns(test, 1),
        lambda rows: (rows[0], rows[1]),
        cross_entropy,
        accuracy,
    )
