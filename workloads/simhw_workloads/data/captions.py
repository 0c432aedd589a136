"""Captions of composed scenes: a stand-in for described photographs, whose name says what it is of.

A caption names the objects of a scene from left to right, each with its size and its height in the image: "large coat
high, small bag low".
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from simhw_workloads.data.scenes import MOST_OBJECTS, scenes
from simhw_workloads.detection.loss import EMPTY
from simhw_workloads.task import Task

PADDING, START, END, NEXT, SMALL, LARGE, HIGH, LOW = range(8)
"""Tokens; `NEXT` is the comma between objects.  `FIRST_CLASS` and those behind it are the classes of the objects."""
FIRST_CLASS = 8
CLASSES = 10
VOCABULARY = FIRST_CLASS + CLASSES
WORDS = 4 * MOST_OBJECTS
"""Of the longest caption: size, class and height of each object, and a comma or the end."""
_LARGE = 0.32
"""Root of an object's area, as a share of the image, from which it is large."""


def caption(objects: Tensor) -> Tensor:
    """(`WORDS`,) int64: the caption of a scene's objects (M, 5), boxes and classes; filled up with `PADDING`."""
    there = objects[objects[:, 4] != EMPTY]
    words: list[int] = []
    for left, top, right, bottom, label in there[there[:, [0, 2]].sum(1).argsort(stable=True)].tolist():
        large = ((right - left) * (bottom - top)) ** 0.5 >= _LARGE
        high = top + bottom < 1
        words += [LARGE if large else SMALL, FIRST_CLASS + int(label), HIGH if high else LOW, NEXT]
    words[-1] = END
    return torch.tensor(words + [PADDING] * (WORDS - len(words)))


def captions(size: int, train: int, test: int, source: str = "mnist5k", folder: Path | None = None) -> Task:
    """Describe a scene.

    Parameters
    ----------
    size, train, test, source, folder
        As of `scenes`.

    Returns
    -------
    Task
        Inputs (B, 3, size, size) float32, targets (B, `WORDS`) int64, outputs (B, `WORDS`, `VOCABULARY`).  Scored by
        the share of words that are right, ends included.
    """
    found = scenes(size, train, test, source, folder)
    parts = (
        (pixels, torch.stack([caption(each) for each in objects]))
        for pixels, objects in (
            (found.train_pixels, found.train_objects),
            (found.test_pixels, found.test_objects),
        )
    )
    train_columns, test_columns = parts
    return Task(
        f"captions of {found.name}",
        train_columns,
        test_columns,
        prepare=lambda columns: (columns[0].float() / 127.5 - 1, columns[1]),
        loss=word_loss,
        score=words_right,
        metric="words right",
    )


def word_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the words of all captions; padding does not count."""
    return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=PADDING)


def words_right(outputs: Tensor, targets: Tensor) -> float:
    """Share of the words whose logits are largest; padding does not count."""
    counted = targets != PADDING
    return float((outputs.argmax(2) == targets)[counted].float().mean())
