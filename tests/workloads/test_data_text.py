"""Texts of the workloads: tokens, windows and labels, and that broken corpora are refused by name, in
bounded memory.
"""

import math
from pathlib import Path

import pytest
import torch

from simhw.errors import WorkloadError
from simhw_workloads.data.corpora import glue, penn_treebank
from simhw_workloads.data.text import (
    FIRST,
    PACKAGES,
    UNKNOWN,
    _docstrings,
    _sentences,
    characters,
    language_model,
    sentence_samples,
    sentences,
    text_classification,
    vocabulary_of,
    words_in,
)


def test_characters_predict_the_next_and_the_end_is_held_out():
    task = characters(window=32)
    inputs, targets, _ = task.rows(torch.tensor([0, 1]))
    assert inputs.shape == (2, 32)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert targets[0, -1] == inputs[1, 0]
    assert len(task) == pytest.approx(9 * task.tests, rel=0.01)
    assert not task.higher_is_better
    # Equal odds for every character take log2 of their number in bits.
    vocabulary = vocabulary_of(task)
    assert task.score(torch.zeros(2, 32, vocabulary), targets) == pytest.approx(math.log2(vocabulary))
    assert torch.equal(characters(window=32).train[0], task.train[0])


def test_windows_do_not_overlap_and_use_every_token_but_the_rest():
    task = language_model("counting", list(range(9)), 4, "bits", test=[5, 6, 7, 8, 9])
    assert task.train[0].tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    assert task.test[0].tolist() == [[5, 6, 7, 8, 9]]


def test_texts_are_numbered_cut_and_filled_up():
    samples = [(("a", "b", "c", "d"), 1), (("x",), 0)]
    task = text_classification("letters", samples, samples[:1], {"a": 3, "b": 4, "c": 5, "d": 6}, tokens=4)
    assert task.train[0].tolist() == [[FIRST, 3, 4, 5], [FIRST, UNKNOWN, 0, 0]]
    assert task.train[1].tolist() == [1, 0]
    assert words_in("A 3x3 kernel, isn't it?") == ("a", "3", "x", "3", "kernel", ",", "isn", "'", "t", "it", "?")


def test_sentences_are_real_ones_with_the_names_of_the_packages_masked():
    task = sentences(tokens=16, words=500)
    assert sorted(torch.cat([task.train[1], task.test[1]]).bincount().tolist()) == [2000] * len(PACKAGES)
    assert vocabulary_of(task) == 500
    assert bool((task.train[0][:, 0] == FIRST).all())
    assert task.train[0].shape == (10_800, 16)
    words = {word for package in PACKAGES for sentence in _sentences(package) for word in sentence}
    assert not words & set(PACKAGES)
    assert torch.equal(sentences(tokens=16, words=500).test[0], task.test[0])
    # In words they are the same, in the same order.
    train, test = sentence_samples()
    assert torch.tensor([label for _, label in train]).equal(task.train[1])
    assert len(test) == task.tests


def test_sentences_of_a_package_that_is_not_installed_name_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("simhw_workloads.data.text.find_spec", lambda package: None)  # noqa: ARG005 (takes find_spec's argument)
    with pytest.raises(WorkloadError, match=r"need numpy, which is not installed: pip install 'simhw\[workloads\]'"):
        list(_docstrings("numpy"))


def test_penn_treebank_marks_the_ends_of_lines_and_holds_out_its_test_file(tmp_path: Path):
    (tmp_path / "ptb.train.txt").write_text(" the cat <unk>\n sat N\n")
    (tmp_path / "ptb.test.txt").write_text(" the dog\n ran\n")
    task = penn_treebank(tmp_path, window=3)
    # Sorted: <eos> <unk> N cat dog ran sat the.  The last line's end is followed by an empty line's.
    assert task.train[0].tolist() == [[7, 3, 1, 0], [0, 6, 2, 0]]
    assert task.test[0].tolist() == [[7, 4, 0, 5]]
    assert task.metric == "bits per word"


def test_broken_treebanks_are_refused(tmp_path: Path):
    with pytest.raises(WorkloadError, match=r"ptb\.train\.txt: cannot be read: .*give --data FOLDER"):
        penn_treebank(tmp_path)
    (tmp_path / "ptb.train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkloadError, match=r"ptb\.train\.txt: line 1: byte 0xff is not UTF-8"):
        penn_treebank(tmp_path)
    for part in ("train", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text("the cat\n")
    with pytest.raises(WorkloadError, match="Penn Treebank: 4 tokens to be the training text; a window takes 36"):
        penn_treebank(tmp_path)
    with (tmp_path / "ptb.train.txt").open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(WorkloadError, match="over 268,435,456 bytes"):
        penn_treebank(tmp_path)


GLUE_FILES = {
    "SST-2": ("sentence\tlabel\n", "so good\t1\nso bad\t0\n"),
    "CoLA": ("", "gj04\t1\t\tso good\ngj04\t0\t*\tso bad\n"),
    "MRPC": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n", "1\t7\t8\tso\tgood\n0\t7\t8\tso\tbad\n"),
}


def glue_folder(place: Path, name: str, train: str | None = None, dev: str | None = None) -> Path:
    head, rows = GLUE_FILES[name]
    (place / "train.tsv").write_text(head + rows if train is None else train, encoding="utf-8")
    (place / "dev.tsv").write_text(head + rows if dev is None else dev, encoding="utf-8")
    return place


@pytest.mark.parametrize("name", GLUE_FILES)
def test_glue_finds_the_columns_of_each_task(name: str, tmp_path: Path):
    task = glue(glue_folder(tmp_path, name), name, tokens=4)
    # "so" is the most frequent, then by the alphabet: bad, good.
    assert task.train[0].tolist() == [[FIRST, 3, 5, 0], [FIRST, 3, 4, 0]]
    assert (task.train[1].tolist(), task.name) == ([1, 0], f"GLUE {name}")


@pytest.mark.parametrize(
    ("train", "dev", "what"),
    [
        (
            "text\tlabel\nso\t1\n",
            None,
            r"train\.tsv: its first line names no column 'sentence'; it is no file of GLUE's SST-2",
        ),
        ("", None, r"train\.tsv: its first line names no column"),
        ("sentence\tlabel\n", None, r"train\.tsv: no samples"),
        ("sentence\tlabel\nso\t1\n\nso good\n", None, r"train\.tsv: line 4 has 1 columns; 2 are needed"),
        (None, "sentence\tlabel\nso\t7\n", r"dev\.tsv: line 2 has label '7'; the training samples have 0, 1"),
        (
            "sentence\tlabel\n" + "".join(f"so\t{label}\n" for label in range(9)),
            "sentence\tlabel\nso\t0\n",
            "line 5 has a label more; no task of GLUE has over 3 different labels",
        ),
    ],
    ids=["header", "empty", "no samples", "columns", "label", "labels"],
)
def test_broken_glue_files_are_refused(train: str | None, dev: str | None, what: str, tmp_path: Path):
    with pytest.raises(WorkloadError, match=what):
        glue(glue_folder(tmp_path, "SST-2", train, dev), "SST-2")


def test_a_few_lines_without_columns_among_thousands_are_left_out(tmp_path: Path):
    train = "sentence\tlabel\n" + "so good\t1\nso bad\t0\n" * 500 + "cut\n"
    assert len(glue(glue_folder(tmp_path, "SST-2", train), "SST-2")) == 1000
    with pytest.raises(WorkloadError, match="no GLUE task 'STS-B' to classify; there are CoLA, SST-2"):
        glue(tmp_path, "STS-B")
