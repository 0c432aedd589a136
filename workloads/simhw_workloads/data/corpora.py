"""Text of the user's own: Penn Treebank for language models, GLUE's tab-separated files for classification."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from simhw.errors import WorkloadError, quoted
from simhw_workloads.data.files import data_text
from simhw_workloads.data.text import Sample, frequent_words, language_model, text_classification, words_in
from simhw_workloads.task import Task

_BROKEN = 1000
"""Of so many lines one may lack columns: GLUE's own QQP file has a few such lines, which are left out."""
_MOST_LABELS = 3
_LONGEST_LABEL = 80
_MOST_COLUMNS = 100
_END = "<eos>"
# Columns of the text parts and of the label; CoLA's files have no line of names.
_COLUMNS = {
    "SST-2": (("sentence",), "label"),
    "MRPC": (("#1 String", "#2 String"), "Quality"),
    "QQP": (("question1", "question2"), "is_duplicate"),
    "QNLI": (("question", "sentence"), "label"),
    "RTE": (("sentence1", "sentence2"), "label"),
    "WNLI": (("sentence1", "sentence2"), "label"),
    "MNLI": (("sentence1", "sentence2"), "gold_label"),
}
_COLA_COLUMNS = ("source", "label", "star", "sentence")
GLUE = ("CoLA", *_COLUMNS)
"""Tasks that are read."""


def penn_treebank(folder: Path, window: int = 35) -> Task:
    """A language model of words on ``ptb.train.txt``, held out ``ptb.test.txt``.

    Raises
    ------
    WorkloadError
        A file is missing, too long, or not text.
    """
    train, test = (
        [word for line in _lines(_text(folder / f"ptb.{part}.txt")) for word in (*line.split(), _END)]
        for part in ("train", "test")
    )
    numbers = {word: number for number, word in enumerate(sorted(set(train) | set(test)))}
    return language_model(
        "Penn Treebank", [numbers[word] for word in train], window, "bits per word", [numbers[word] for word in test]
    )


def glue(folder: Path, name: str, tokens: int = 64, words: int = 8000) -> Task:
    """One of GLUE's classification tasks: ``train.tsv``, held out ``dev.tsv`` (of MNLI ``dev_matched.tsv``).

    Parameters
    ----------
    folder : Path
        With the two files.
    name : str
        One of `GLUE`.
    tokens : int
        Of a sample; texts of two parts are joined.
    words : int
        In the vocabulary: the most frequent of the training texts.

    Raises
    ------
    WorkloadError
        Another name, a file that is missing or has not the task's columns, or a line without a label or a text.
    """
    if name not in GLUE:
        raise WorkloadError(f"no GLUE task {name!r} to classify; there are {', '.join(GLUE)}")
    train = _samples(folder / "train.tsv", name)
    labels = sorted({label for _, label in train})
    test = _samples(folder / ("dev_matched.tsv" if name == "MNLI" else "dev.tsv"), name, labels)
    parts: list[list[Sample]] = [
        [(words_in(text), labels.index(label)) for text, label in samples] for samples in (train, test)
    ]
    return text_classification(f"GLUE {name}", parts[0], parts[1], frequent_words(parts[0], words), tokens)


def _samples(path: Path, name: str, known: list[str] | None = None) -> list[tuple[str, str]]:
    """Text and label of every line; the labels are those that are `known`, or a few.

    All lines are looked at before any is kept, so that what is refused has not filled the memory.
    """
    text = _text(path)
    columns = list(_COLA_COLUMNS) if name == "CoLA" else next(_rows(text), (0, [""]))[1]
    texts, label = (("sentence",), "label") if name == "CoLA" else _COLUMNS[name]
    missing = [column for column in (*texts, label) if column not in columns]
    if missing:
        raise WorkloadError(f"{path}: its first line names no column {missing[0]!r}; it is no file of GLUE's {name}")
    wanted, place = [columns.index(column) for column in texts], columns.index(label)
    needed = max(*wanted, place) + 1

    def rows() -> Iterator[tuple[int, list[str]]]:
        return islice(_rows(text), 0 if name == "CoLA" else 1, None)

    # Each label is kept once, however many lines have it.
    labels = {label: label for label in known or ()}
    count, broken, first_broken = 0, 0, (0, 0)
    for count, (number, row) in enumerate(rows(), start=1):  # noqa: B007  # how many there were
        if len(row) < needed:
            first_broken = first_broken if broken else (number, len(row))
            broken += 1
        elif row[place] not in labels:
            if known is not None:
                raise WorkloadError(
                    f"{path}: line {number} has label {quoted(row[place])}; the training samples have "
                    f"{', '.join(known)}"
                )
            if len(labels) == _MOST_LABELS:
                raise WorkloadError(
                    f"{path}: line {number} has a label more; no task of GLUE has over {_MOST_LABELS} different labels"
                )
            if len(row[place]) > _LONGEST_LABEL:
                raise WorkloadError(f"{path}: line {number} has label {quoted(row[place])}, which is none of GLUE's")
            labels[row[place]] = row[place]
    if not count:
        raise WorkloadError(f"{path}: no samples in it")
    if broken * _BROKEN > count:
        number, width = first_broken
        raise WorkloadError(f"{path}: line {number} has {width} columns; {needed} are needed, separated by tabs")
    return [(" ".join(row[column] for column in wanted), labels[row[place]]) for _, row in rows() if len(row) >= needed]


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The columns of each line that is not empty, and its number."""
    for number, line in enumerate(_lines(text), start=1):
        if line and not line.isspace():
            yield number, line.split("\t", _MOST_COLUMNS)


def _text(path: Path) -> str:
    return data_text(path, "--data FOLDER with the set's files")


def _lines(text: str) -> Iterator[str]:
    # Not splitlines: some texts hold marks that it takes for ends of lines.
    first = 0
    while (end := text.find("\n", first)) >= 0:
        yield text[first:end].removesuffix("\r")
        first = end + 1
    yield text[first:]
