"""A task: samples, a loss to train with, and a score for the trained model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from simhw.errors import WorkloadError

LossFunction = Callable[[Tensor, Tensor], Tensor]
ScoreFunction = Callable[[Tensor, Tensor], float]


class Batch(NamedTuple):
    """Inputs, targets, and the rows of the data set that they come from."""

    inputs: Tensor
    targets: Tensor
    indices: Tensor


@dataclass(frozen=True)
class Task:
    """Samples, loss and score.

    Attributes
    ----------
    name : str
        The data set, as reports name it.
    train, test : tuple of Tensor
        Columns of raw samples, aligned on their first axis: pixels and labels, say.
    prepare : callable
        Makes inputs and targets of rows of the columns: normalises, scales, shifts.
    loss : callable
        (output, targets) to the mean over samples.
    score : callable
        (outputs of all samples, their targets) to `metric`.
    metric : str
    higher_is_better : bool
    """

    name: str
    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]
    prepare: Callable[[tuple[Tensor, ...]], tuple[Tensor, Tensor]]
    loss: LossFunction
    score: ScoreFunction
    metric: str = "accuracy"
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        for part, columns in (("training", self.train), ("test", self.test)):
            lengths = {len(column) for column in columns}
            if len(lengths) != 1 or 0 in lengths:
                raise WorkloadError(
                    f"{self.name}: its {part} columns have {sorted(lengths)} rows; they must have the same, and at "
                    "least one"
                )

    def __len__(self) -> int:
        """Number of training samples."""
        return len(self.train[0])

    @property
    def tests(self) -> int:
        """Number of held-out samples."""
        return len(self.test[0])

    def limited(self, train: int | None = None, test: int | None = None) -> "Task":
        """The same task on the first so many samples."""
        return replace(
            self, train=tuple(each[:train] for each in self.train), test=tuple(each[:test] for each in self.test)
        )

    def rows(self, indices: Tensor, train: bool = True) -> Batch:
        """The samples of those rows (B,) int64, prepared."""
        columns = tuple(column[indices] for column in (self.train if train else self.test))
        inputs, targets = self.prepare(columns)
        return Batch(inputs, targets, indices)


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of samples whose largest logit (N, classes) is that of their class (N,)."""
    return float((outputs.argmax(1) == targets).float().mean())


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (N, classes) and classes (N,)."""
    return nn.functional.cross_entropy(outputs, targets)
