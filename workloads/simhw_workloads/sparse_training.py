"""Training with weights of which a fixed number is not zero, from the first step to the last; where they stand moves.

Two rules say what is taken away and where it grows again:

- Dynamic sparse reparameterisation: one threshold for all layers takes away small weights.  It adapts, so that about
  the same share goes each time.  As many grow at random places, in each layer in proportion to what it has left.
  Source: Mostafa and Wang, ICML 2019, algorithm 1 (recalled, confidence 0.85).
- Sparse momentum: each layer loses the same share of its weights, the smallest.  As many grow where the smoothed
  gradient of a zero weight is largest, in each layer in proportion to the mean smoothed gradient of its weights.
  Source: Dettmers and Zettlemoyer, arXiv 1907.04840, section 3 (recalled, confidence 0.85).
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.constraints.masks import Masks, clear, mask_of
from simhw_workloads.task import Task
from simhw_workloads.train import Hook

Weights = dict[str, Tensor]


class Rule(Protocol):
    """Which weights are taken away, and where as many grow."""

    def see(self, gradients: Weights) -> None:
        """Take note of the gradients of a step, those of zero weights among them."""

    def moved(self, weights: Weights, masks: Masks, random: torch.Generator) -> Masks:
        """The masks after a move; they hold as many weights as before."""


class SparseWeights(Hook):
    """Keeps all but a share of the weights zero, and moves that share from time to time.

    It holds for convolutions and linear layers, but for the first layer of the model.  Biases and normalisations stay
    dense.

    Parameters
    ----------
    density : float
        Share of the weights that are not zero, the same in each layer at the start.
    every : int
        Steps from one move to the next.
    rule : Rule
    seed : int
        Of the places that are drawn.

    Attributes
    ----------
    masks : dict of name to bool Tensor
    moves : int
    """

    def __init__(self, density: float, every: int, rule: Rule, seed: int) -> None:
        if not 0 < density <= 1 or every < 1:
            raise WorkloadError(f"a density of {density} moved every {every} steps: give 0 < density <= 1 and a step")
        self.density, self.every, self.rule = density, every, rule
        self.masks: Masks = {}
        self.moves = 0
        self._random = torch.Generator().manual_seed(seed)

    def start(self, model: nn.Module, task: Task) -> None:
        """Draw which weights stay, unless a phase before did."""
        if not self.masks:
            for name, weight in _sparse_layers(model).items():
                kept = torch.randperm(weight.numel(), generator=self._random)[: round(self.density * weight.numel())]
                self.masks[name] = mask_of(weight, kept)
        clear(model, self.masks)

    def gradients(self, model: nn.Module) -> None:
        """Show the rule the gradients of all weights."""
        self.rule.see({name: each.grad for name, each in _sparse_layers(model).items() if each.grad is not None})

    def stepped(self, model: nn.Module, step: int) -> None:
        """Move, where it is time, and set to zero what the masks do not hold."""
        clear(model, self.masks)
        if step % self.every == 0:
            weights: Weights = {name: weight.detach() for name, weight in _sparse_layers(model).items()}
            self.masks = self.rule.moved(weights, self.masks, self._random)
            self.moves += 1
            clear(model, self.masks)


class DynamicReparameterisation:
    """Weights under an adaptive threshold go; random places of each layer grow in proportion to what it has left.

    Parameters
    ----------
    threshold : float
        Of a weight's magnitude, at first.
    share : float
        Of all weights, that a move should take away.
    tolerance : float
        The threshold doubles where less than 1 - tolerance of that share went, and halves where more than
        1 + tolerance of it did.
    """

    def __init__(self, threshold: float = 1e-3, share: float = 0.01, tolerance: float = 0.1) -> None:
        self.threshold, self.share, self.tolerance = threshold, share, tolerance

    def see(self, gradients: Weights) -> None:
        """It does not look at gradients."""

    def moved(self, weights: Weights, masks: Masks, random: torch.Generator) -> Masks:
        """As `Rule` says; the threshold adapts."""
        left = {name: mask & (weights[name].abs() >= self.threshold) for name, mask in masks.items()}
        held, staying = ({name: int(mask.sum()) for name, mask in each.items()} for each in (masks, left))
        gone, wanted = sum(held.values()) - sum(staying.values()), self.share * sum(held.values())
        if gone < (1 - self.tolerance) * wanted:
            self.threshold *= 2
        elif gone > (1 + self.tolerance) * wanted:
            self.threshold /= 2
        room = {name: mask.numel() - staying[name] for name, mask in left.items()}
        for name, count in shared_out(gone, {name: float(count) for name, count in staying.items()}, room).items():
            empty = (~left[name]).flatten().nonzero()[:, 0]
            grown = empty[torch.randperm(len(empty), generator=random)[:count]]
            left[name] = left[name] | mask_of(left[name], grown)
        return left


class SparseMomentum:
    """The smallest weights of each layer go; zero weights with the largest smoothed gradient grow.

    Parameters
    ----------
    share : float
        Of each layer's weights, that a move takes away.
    decay : float
        Share of the smoothed gradient that stays in a step.
    """

    def __init__(self, share: float = 0.2, decay: float = 0.9) -> None:
        self.share, self.decay = share, decay
        self._smoothed: Weights = {}

    @torch.no_grad()
    def see(self, gradients: Weights) -> None:
        """Smooth the gradients."""
        for name, gradient in gradients.items():
            smoothed = self._smoothed.setdefault(name, torch.zeros_like(gradient))
            smoothed.lerp_(gradient, 1 - self.decay)

    def moved(self, weights: Weights, masks: Masks, random: torch.Generator) -> Masks:
        """As `Rule` says."""
        left, gone, importance = {}, 0, {}
        for name, mask in masks.items():
            held, smoothed = int(mask.sum()), self._smoothed[name].abs()
            count = round(self.share * held)
            # Weights outside the mask come last, whatever their place.
            size = weights[name].abs().masked_fill(~mask, float("inf")).flatten()
            left[name] = mask & ~mask_of(mask, size.argsort(stable=True)[:count])
            gone += count
            importance[name] = float(smoothed[mask].mean()) if held else 0.0
        room = {name: int((~mask).sum()) for name, mask in left.items()}
        for name, count in shared_out(gone, importance, room).items():
            size = self._smoothed[name].abs().masked_fill(left[name], -1).flatten()
            left[name] = left[name] | mask_of(left[name], size.argsort(descending=True, stable=True)[:count])
        return left


def shared_out(count: int, portions: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers that add up to `count`, in proportion to the portions, none above its room.

    What a full layer cannot take goes to the others by the same proportion.  What rounding leaves goes to the largest
    remainders.

    Raises
    ------
    WorkloadError
        There is not as much room.
    """
    if count > sum(room.values()):
        raise WorkloadError(f"{count} weights are to grow, and only {sum(room.values())} are zero")
    given = dict.fromkeys(portions, 0)
    while (rest := count - sum(given.values())) > 0:
        open_ones = [name for name in portions if given[name] < room[name]]
        # Where no open layer has a portion, their room stands in for it.
        portion = {name: portions[name] for name in open_ones}
        if not sum(portion.values()):
            portion = {name: float(room[name] - given[name]) for name in open_ones}
        total = sum(portion.values())
        exact = {name: rest * portion[name] / total for name in open_ones}
        wanted = {name: int(exact[name]) for name in open_ones}
        by_remainder = sorted(open_ones, key=lambda name: (wanted[name] - exact[name], name))
        for name in by_remainder[: rest - sum(wanted.values())]:
            wanted[name] += 1
        for name in open_ones:
            given[name] += min(wanted[name], room[name] - given[name])
    return given


def _sparse_layers(model: nn.Module) -> dict[str, nn.Parameter]:
    layers = {name: each.weight for name, each in model.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)}
    return dict(list(layers.items())[1:])
