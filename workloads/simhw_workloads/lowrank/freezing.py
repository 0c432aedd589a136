"""Fine-tuning only some factors.  The others are frozen: no weight gradient is computed, only the input gradient.

Freezing holds the first factor of a pair and both 1x1 convolutions of a triple.  Sequential freezing lets both parts
learn by turns: all factors are trained, and each step still skips part of the weight gradients.  Source:
arXiv 2407.20266 (freezing) and 2309.03824 (sequential freezing); spec page techniques.md, 5.1.
"""

from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.roofline.compression.variants import FactorPart
from simhw_workloads.lowrank.chain import Chain
from simhw_workloads.lowrank.surgery import chains
from simhw_workloads.task import Task
from simhw_workloads.train import Hook


def part_weights(chain: Chain, part: FactorPart) -> list[Tensor]:
    """The weights of a part: ``outer`` are the first of a pair and both 1x1 of a triple, ``core`` the others."""
    factors = chain.factors
    outer = {"first", "last"} if "core" in factors else {"first"}
    return [factor.weight for name, factor in factors.items() if (name in outer) == (part == "outer")]


def freeze(model: nn.Module, part: FactorPart | None = "outer") -> nn.Module:
    """Freeze a part of every chain and let the rest of the chain learn; None lets all learn.

    Raises
    ------
    WorkloadError
        The model has no chains: freezing would change nothing.
    """
    found = chains(model)
    if not found:
        raise WorkloadError(f"{type(model).__name__} has no factors to freeze; decompose it first")
    for chain in found.values():
        for each in ("outer", "core"):
            for weight in part_weights(chain, each):
                weight.requires_grad_(each != part)
    return model


class SequentialFreezing(Hook):
    """Freezes both parts by turns, starting with the outer one; all learn again at the end.

    Parameters
    ----------
    period : int
        Steps of a turn: an epoch's in the paper.
    """

    def __init__(self, period: int) -> None:
        if period < 1:
            raise WorkloadError(f"a turn of sequential freezing takes {period} steps; give at least 1")
        self.period = period

    def start(self, model: nn.Module, task: Task) -> None:
        """Freeze for the first turn."""
        freeze(model, self.part(1))

    def stepped(self, model: nn.Module, step: int) -> None:
        """Freeze for the next step, where its turn begins."""
        if step % self.period == 0:
            freeze(model, self.part(step + 1))

    def finish(self, model: nn.Module) -> None:
        """Let all learn."""
        freeze(model, None)

    def part(self, step: int) -> FactorPart:
        """The part that is frozen in a step, counted from 1."""
        return "core" if (step - 1) // self.period % 2 else "outer"
