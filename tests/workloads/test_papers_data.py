"""Stand-in data of the networks of the papers: pages and words, pairs of sentences."""

import math

import pytest
import torch

from simhw.errors import WorkloadError
from simhw_workloads.data import occurrences as pages
from simhw_workloads.data.captions import (
    END,
    FIRST_CLASS,
    HIGH,
    LARGE,
    LOW,
    NEXT,
    PADDING,
    SMALL,
    VOCABULARY,
    WORDS,
    caption,
    captions,
)
from simhw_workloads.data.occurrences import CANDIDATES, hit_ratio, occurrences
from simhw_workloads.data.scenes import scenes
from simhw_workloads.data.sentence_pairs import RELATIONS, sentence_pairs
from simhw_workloads.data.text import UNKNOWN, Sample
from simhw_workloads.detection.loss import EMPTY

# Words in pages


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Two packages of 30 pages; a word stands in every third of them, in two, or in all."""
    words = [f"w{chr(97 + index % 26)}{chr(97 + index // 26)}" for index in range(240)]
    found: list[set[str]] = []
    for page in range(60):
        found.append({word for index, word in enumerate(words) if (index + page) % 3 == 0} | {"everywhere"})
    for page in (3, 7):
        found[page].add("rare")
    sentences = [tuple(sorted(page)) for page in found for _ in range(20)]
    monkeypatch.setattr(pages, "PACKAGES", ("one", "two"))
    monkeypatch.setattr(pages, "documentation", lambda name: sentences[:600] if name == "one" else sentences[600:])
    return found


def test_a_sample_is_one_if_the_word_is_in_the_page_and_each_page_holds_one_out(library: list[set[str]]):
    task = occurrences(negatives=2)
    kept = sorted({word for page in library for word in page} - {"rare", "everywhere"})
    for inputs, targets in (task.train, task.test):
        there = [kept[word] in library[page] for page, word in inputs.tolist()]
        assert there == (targets == 1).tolist()
    held_out = {tuple(pair) for pair in task.test[0][task.test[1] == 1].tolist()}
    trained = {tuple(pair) for pair in task.train[0][task.train[1] == 1].tolist()}
    assert len(held_out) == 60
    assert not held_out & trained
    # 80 of the 240 words are in a page; one is held out, and two that are not there go with each other one.
    assert len(trained) == 60 * 79
    assert len(task) == 60 * 79 * 3
    assert task.tests == 60 * CANDIDATES
    assert torch.equal(occurrences(negatives=2).train[0], task.train[0])
    assert len(occurrences(pages=15).train[0].unique(dim=0)[:, 0].unique()) == 30


def test_pages_with_few_words_in_common_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "documentation", lambda _: [("alpha", "beta")] * 40)
    with pytest.raises(WorkloadError, match="12 pages have 0 words in common; 100 are needed"):
        occurrences()


def test_a_hit_is_one_of_the_ten_largest_of_a_hundred():
    targets = torch.zeros(3 * CANDIDATES + 7)
    outputs = torch.linspace(1, 0, CANDIDATES).repeat(4)[: len(targets)]
    # Ninth, tenth and eleventh of their hundred: places 8, 9 and 10.  The last seven samples are no hundred.
    for group, place in enumerate((8, 9, 10)):
        targets[group * CANDIDATES + place] = 1
    assert hit_ratio(outputs, targets) == pytest.approx(2 / 3)
    assert hit_ratio(torch.zeros_like(outputs), targets) == 0


# Pairs of sentences

SENTENCES: list[Sample] = [
    (tuple(f"{'abc'[package]}{number}{part}" for part in "uvwxyz"), package)
    for package in range(3)
    for number in range(20)
]


def test_a_partner_is_as_its_relation_says():
    task = sentence_pairs(SENTENCES, SENTENCES[::4], tokens=6, words=1000)
    assert task.train[0].shape == (60, 2, 6)
    assert set(task.train[1].tolist()) == set(range(len(RELATIONS)))
    by_line = {
        tuple(premise.tolist()): package for (premise, _), (_, package) in zip(task.train[0], SENTENCES, strict=True)
    }
    for (premise, partner), relation in zip(task.train[0], task.train[1].tolist(), strict=True):
        package = by_line[tuple(premise.tolist())]
        if relation == 0:
            # 60% of six words, in their order: those of a premise are all different.
            words = [word for word in partner.tolist() if word]
            assert len(words) == 4
            assert [word for word in premise.tolist() if word in words] == words
        else:
            assert not torch.equal(premise, partner)
            assert (by_line[tuple(partner.tolist())] == package) == (relation == 1)
    again = sentence_pairs(SENTENCES, SENTENCES[::4], tokens=6, words=1000)
    assert torch.equal(again.train[0], task.train[0])


def test_sentences_are_cut_filled_up_and_their_rare_words_unknown():
    task = sentence_pairs(
        [(("a", "a", "b"), 0), (("a", "b"), 0), (("c", "c", "c"), 1), (("c", "c"), 1)], SENTENCES, 4, 6
    )
    # Tokens 3 to 5: c five times, a three times, b twice.
    assert task.train[0][:, 0].tolist() == [[4, 4, 5, 0], [4, 5, 0, 0], [3, 3, 3, 0], [3, 3, 0, 0]]
    assert bool((task.test[0][:, 0] == UNKNOWN).all())


def test_one_package_alone_makes_no_pairs():
    with pytest.raises(WorkloadError, match="need two packages"):
        sentence_pairs(SENTENCES[:20], SENTENCES)


# Captions


def test_a_caption_names_objects_from_left_to_right_with_size_and_height():
    empty = [0.0, 0, 0, 0, EMPTY]
    # The second lies left of the first: its middle is at 0.15.  0.4 x 0.4 is large, 0.1 x 0.4 small (root 0.2).
    objects = torch.tensor([[0.5, 0.1, 0.9, 0.5, 7], [0.1, 0.5, 0.2, 0.9, 3], empty])
    words = [SMALL, FIRST_CLASS + 3, LOW, NEXT, LARGE, FIRST_CLASS + 7, HIGH, END]
    assert caption(objects).tolist() == words + [PADDING] * 4
    full = caption(torch.tensor([[0.5, 0.1, 0.9, 0.5, 7]] * 3))
    assert (len(full), full[-1]) == (WORDS, END)


def test_captions_go_with_their_scenes_and_padding_does_not_count():
    task = captions(32, 12, 6)
    found = scenes(32, 12, 6)
    assert torch.equal(task.train[0], found.train_pixels)
    assert torch.equal(task.test[1], torch.stack([caption(each) for each in found.test_objects]))
    targets = torch.tensor([[SMALL, 9, LOW, END] + [PADDING] * 8])
    outputs = torch.zeros(1, WORDS, VOCABULARY)
    outputs[0, torch.arange(4), torch.tensor([SMALL, 9, HIGH, END])] = 5
    assert task.score(outputs, targets) == pytest.approx(3 / 4)
    # Three words have 5 against 17 zeros, one has 0 against a 5.
    whole = math.log(math.exp(5) + VOCABULARY - 1)
    assert float(task.loss(outputs, targets)) == pytest.approx(whole - 5 * 3 / 4, rel=1e-5)
