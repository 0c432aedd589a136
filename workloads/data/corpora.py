"""Text of the user's own: Penn Treebank for language models, GLUE's tab-separated files for classification."""

from collections import Counter
from pathlib import Path

from simhw.errors import WorkloadError
from workloads.data.limit import check_length
from workloads.data.text import FIRST, Sample, language_model, text_classification, words_in
from workloads.task import Task

# The longest, MNLI's training file, has about 80 MB; words as Python holds them take ten times as much.
_LIMIT_BYTES = 1 << 28
_BROKEN = 1000
"""Of so many lines one may lack columns: GLUE's own QQP file has a few such lines, which are left out."""
_MOST_LABELS = 3
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
    train, test = ([word for line in _lines(folder / f"ptb.{part}.txt") for word in (*line.split(), _END)] for part in ("train", "test"))
    numbers = {word: number for number, word in enumerate(sorted(set(train) | set(test)))}
    return language_model("Penn Treebank", [numbers[word] for word in train], window, "bits per word", [numbers[word] for word in test])


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
    held_out = "dev_matched.tsv" if name == "MNLI" else "dev.tsv"
    read = {file: _samples(folder / file, name) for file in ("train.tsv", held_out)}
    labels = sorted({label for _, label in read["train.tsv"]})
    parts: list[list[Sample]] = []
    for file, samples in read.items():
        for number, (_, label) in enumerate(samples, start=1):
            if label not in labels:
                raise WorkloadError(f"{folder / file}: sample {number} has label {label!r}; the training samples have {', '.join(labels)}")
        parts.append([(words_in(text), labels.index(label)) for text, label in samples])
    if len(labels) > _MOST_LABELS:
        raise WorkloadError(f"{folder / 'train.tsv'}: {len(labels)} different labels; no task of GLUE has more than {_MOST_LABELS}")
    counts = Counter(word for found, _ in parts[0] for word in found)
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: words - FIRST - 1]
    vocabulary = {word: FIRST + 1 + index for index, word in enumerate(frequent)}
    return text_classification(f"GLUE {name}", parts[0], parts[1], vocabulary, tokens)


def _samples(path: Path, name: str) -> list[tuple[str, str]]:
    """Text and label of every line."""
    lines = [(number, line.split("\t")) for number, line in enumerate(_lines(path), start=1) if line.strip()]
    texts, label = (("sentence",), "label") if name == "CoLA" else _COLUMNS[name]
    columns = list(_COLA_COLUMNS) if name == "CoLA" else (lines[0][1] if lines else [])
    missing = [column for column in (*texts, label) if column not in columns]
    if missing:
        raise WorkloadError(f"{path}: its first line names no column {missing[0]!r}; it is no file of GLUE's {name}")
    wanted, place = [columns.index(column) for column in texts], columns.index(label)
    rows = lines if name == "CoLA" else lines[1:]
    if not rows:
        raise WorkloadError(f"{path}: no samples in it")
    needed = max(*wanted, place) + 1
    broken = [(number, len(row)) for number, row in rows if len(row) < needed]
    if len(broken) * _BROKEN > len(rows):
        number, width = broken[0]
        raise WorkloadError(f"{path}: line {number} has {width} columns; {needed} are needed, separated by tabs")
    return [(" ".join(row[column] for column in wanted), row[place]) for _, row in rows if len(row) >= needed]


def _lines(path: Path) -> list[str]:
    try:
        check_length(path, _LIMIT_BYTES)
        # Not splitlines: some texts hold marks that it takes for ends of lines.  MRPC starts with a byte order mark.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: cannot be read as text ({error}); give --data FOLDER with the set's files") from error
