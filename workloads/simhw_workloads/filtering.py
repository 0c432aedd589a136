"""Early instance filtering: a tiny network looks at each sample first, and the network trains on those that it expects
to lose much on.

The tiny network, the gate, learns from the losses of the samples that were trained on: whether a loss is above a
threshold is its label.  The threshold follows the losses, so that a set share of all samples is above it.  Trained on
are the samples that the gate expects to be above, those of which it is not sure, and now and then another one.
Source: arXiv 2007.03213; spec page techniques.md, 2.3.

Two rules are this project's own; how the paper does it is not known.  The rate is estimated from the samples trained
on: one that was taken by chance stands for all that might have been.  And the gate learns from the samples of the last
steps, several times from each: a small CNN on Fashion-MNIST then gained twice as much as with one lesson of each.
"""

import math

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.task import Batch, Task
from simhw_workloads.train import Hook, batch_indices

EXPLORED = 0.05
"""Share of the samples that the gate would leave out, taken by chance."""
LOOKED_AT_ONCE = 32
LESSONS, PUPILS, REMEMBERED = 4, 128, 1920
"""Steps of the gate after each of the network, the samples of each, and the last samples of which they are drawn."""
UNSURE = 0.97
"""Entropy of the gate's answer [bits] from which a sample is taken in any case."""
RAISED, LOWERED = 1.05, 0.95
"""Of the threshold, in a step after which too many or too few losses are above it."""
_SMOOTHED = 0.95
_GATE_RATE = 3e-3


class Gate(nn.Sequential):
    """Says of an image how much the network is expected to lose on it: the logit of a loss above the threshold.

    Parameters
    ----------
    size : int
        Height and width of the (N, channels, size, size) images, a multiple of 4.
    channels : int
    """

    def __init__(self, size: int, channels: int = 1) -> None:
        side = math.ceil(size // 2 / 2)
        super().__init__(
            nn.AvgPool2d(2),
            nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * side * side, 1),
        )


class EarlyFilter(Hook):
    """Fills each batch with samples that a gate chooses, and teaches the gate.

    It looks at sample after sample until a batch is full: a step costs what it cost without a filter, and looks at more
    samples.

    Parameters
    ----------
    gate : nn.Module
        (N, ...) inputs to (N, 1) logits.
    rate : float
        Share of the samples whose loss is to be above the threshold, 0 < rate < 1.
    unfiltered : int
        Steps at first that take every sample.
    seed : int

    Attributes
    ----------
    threshold : float
    looked_at : int
        Samples that the gate was asked about.
    taken : int
        Of them, those that the gate chose or chance did.
    taught : int
        Samples of the gate's own training, repeats counted.
    high_rate : float
        Share of all samples whose loss is above the threshold: an estimate, smoothed over the steps.
    """

    def __init__(self, gate: nn.Module, rate: float, unfiltered: int, seed: int) -> None:
        if not 0 < rate < 1:
            raise WorkloadError(f"a rate of {rate} of high losses; give 0 < rate < 1")
        self.gate, self.rate, self.unfiltered, self.seed = gate, rate, unfiltered, seed
        self.threshold = 1.0
        self.looked_at = self.taken = self.taught = 0
        self._optimizer = torch.optim.Adam(gate.parameters(), lr=_GATE_RATE)
        self._random = torch.Generator().manual_seed(seed)
        self.high_rate = rate
        self._task: Task | None = None
        # Samples that wait for a step, and whether the gate chose them.
        self._rows = torch.zeros(0, dtype=torch.int64)
        self._chosen = torch.zeros(0, dtype=torch.bool)
        self._of_step = self._chosen
        # Samples of the last steps, and whether their losses were above the threshold of then.
        self._seen = self._rows
        self._high = self._chosen

    def start(self, model: nn.Module, task: Task) -> None:
        """Remember where samples come from."""
        self._task = task

    def indices(self, step: int, indices: Tensor) -> Tensor:
        """As many rows, of samples that were chosen."""
        self._learn()
        count = len(indices)
        if step <= self.unfiltered:
            self._of_step = torch.ones(count, dtype=torch.bool)
            return indices
        while len(self._rows) < count:
            self._look()
        rows, self._rows = self._rows[:count], self._rows[count:]
        self._of_step, self._chosen = self._chosen[:count], self._chosen[count:]
        return rows

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> None:
        """See which losses are above the threshold, and move it."""
        losses = nn.functional.cross_entropy(output.detach(), batch.targets, reduction="none")
        high = losses > self.threshold
        # A captured step may take the first samples of its batch alone.
        stands_for = torch.where(self._of_step[: len(high)], 1.0, 1 / EXPLORED)
        rate = float((high * stands_for).sum() / stands_for.sum())
        self.high_rate = _SMOOTHED * self.high_rate + (1 - _SMOOTHED) * rate
        self.threshold *= RAISED if self.high_rate > self.rate else LOWERED
        self._seen = torch.cat([self._seen, batch.indices])[-REMEMBERED:]
        self._high = torch.cat([self._high, high])[-REMEMBERED:]

    @torch.no_grad()
    def _look(self) -> None:
        assert self._task is not None
        # Other orders than those of the steps, which the unfiltered ones followed.
        rows = batch_indices(len(self._task), LOOKED_AT_ONCE, self.seed + 1, self.looked_at // LOOKED_AT_ONCE + 1)
        self.looked_at += len(rows)
        expected = torch.sigmoid(self.gate(self._task.rows(rows).inputs)[:, 0])
        chosen = (expected > 0.5) | (entropy(expected) > UNSURE)
        taken = chosen | (torch.rand(len(rows), generator=self._random) < EXPLORED)
        self.taken += int(taken.sum())
        self._rows = torch.cat([self._rows, rows[taken]])
        self._chosen = torch.cat([self._chosen, chosen[taken]])

    def _learn(self) -> None:
        """A few steps of the gate on samples of the last steps; the rarer label counts more."""
        if not len(self._seen):
            return
        assert self._task is not None
        for _ in range(LESSONS):
            drawn = torch.randint(len(self._seen), (PUPILS,), generator=self._random)
            high = self._high[drawn]
            weight = torch.where(high, 1 / self.rate, 1 / (1 - self.rate))
            logits = self.gate(self._task.rows(self._seen[drawn]).inputs)[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, high.float(), weight)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            self._optimizer.step()
            self.taught += len(drawn)


def entropy(probability: Tensor) -> Tensor:
    """Of a yes with that probability [bits]."""
    other = 1 - probability
    return -(torch.xlogy(probability, probability) + torch.xlogy(other, other)) / math.log(2)
