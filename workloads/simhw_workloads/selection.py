"""SwiftLearn: train only on the samples whose answers still change.

During some warm-up epochs it trains on everything and remembers the logits of each sample.  A sample's importance is
the squared change of its logits from one look to the next.  The most important fraction is kept.  Every few epochs all
samples are looked at again.  Source: arXiv 2311.15134; spec page techniques.md, 5.4.
"""

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.task import Batch, Task
from simhw_workloads.train import Hook, batch_indices

_AT_ONCE = 256


class Selection(Hook):
    """Remembers logits in warm-up; afterwards chooses only the important samples.

    The same hook is given to the warm-up phase and then to the phase that follows it.

    Parameters
    ----------
    kept : float
        Fraction of the samples, 0 < kept <= 1.
    rescore_every : int
        Steps on the kept samples from one look at all samples to the next.
    batch, seed : int
        Of the run, for the order of the kept samples.
    sigma : float
        How sharply importance becomes probability.

    Attributes
    ----------
    chosen : (kept * samples,) int64 Tensor or None
        Rows of the samples that are trained on; None in warm-up.
    looked_at : int
        Samples whose logits were computed for their importance alone.
    """

    def __init__(self, kept: float, rescore_every: int, batch: int, seed: int, sigma: float = 1.0) -> None:
        if not 0 < kept <= 1 or rescore_every < 1:
            raise WorkloadError(
                f"a share of {kept} rescored every {rescore_every} steps: give 0 < share <= 1 and at least 1 step"
            )
        self.kept, self.rescore_every, self.batch_size, self.seed, self.sigma = kept, rescore_every, batch, seed, sigma
        self.chosen: Tensor | None = None
        self.looked_at = 0
        self._last: Tensor | None = None
        self._before: Tensor | None = None
        self._task: Task | None = None
        self._model: nn.Module | None = None

    def start(self, model: nn.Module, task: Task) -> None:
        """Begin warm-up, or choose samples where warm-up is over."""
        self._task, self._model = task, model
        if self._last is not None:
            assert self._before is not None
            self.choose(self._before, self._last)

    def indices(self, step: int, indices: Tensor) -> Tensor:
        """Rows of the kept samples, shuffled among themselves."""
        if self.chosen is None:
            return indices
        if step > 1 and (step - 1) % self.rescore_every == 0:
            assert self._last is not None
            self.choose(self._last, self._look())
        batch = min(self.batch_size, len(self.chosen))
        return self.chosen[batch_indices(len(self.chosen), batch, self.seed, step)][: len(indices)]

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> None:
        """Remember the logits of this step, and beside them those of the epoch before; no extra pass is needed."""
        assert self._task is not None
        if self._last is None or self._before is None:
            self._last = output.new_full((len(self._task), output.shape[1]), float("nan"))
            self._before = self._last.clone()
        if self.chosen is None:
            self._before[batch.indices] = self._last[batch.indices]
        self._last[batch.indices] = output.detach()

    def choose(self, before: Tensor, now: Tensor) -> None:
        """Keep the samples whose logits (N, classes) changed most.

        A sample that was not seen twice counts as changed most.
        """
        importance = (now - before).square().sum(1).nan_to_num(nan=float("inf"))
        # A finite stand-in for infinity, so that the softmax is one.
        finite = importance[importance.isfinite()]
        importance = importance.clamp(max=float(finite.max()) + 1 if len(finite) else 1.0)
        probability = torch.softmax(self.sigma * importance, 0)
        # By importance where the softmax rounds both to 0.
        order = sorted(
            range(len(probability)), key=lambda row: (-float(probability[row]), -float(importance[row]), row)
        )
        count = max(1, round(self.kept * len(order)))
        self.chosen = torch.tensor(sorted(order[:count]))
        self._before, self._last = before, now

    @torch.no_grad()
    def _look(self) -> Tensor:
        """Logits of all samples, in evaluation mode; those of kept samples are as fresh as their last step."""
        assert self._task is not None
        assert self._model is not None
        assert self._last is not None
        assert self.chosen is not None
        now = self._last.clone()
        others = torch.ones(len(now), dtype=torch.bool)
        others[self.chosen] = False
        rows = others.nonzero()[:, 0]
        self._model.eval()
        for part in rows.split(_AT_ONCE):  # type: ignore[no-untyped-call]  # torch's
            now[part] = self._model(self._task.rows(part).inputs)
        self._model.train()
        self.looked_at += len(rows)
        return now
