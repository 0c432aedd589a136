"""Hooks of a training step that any technique may use."""

import torch
from torch import Tensor, nn

from simhw_workloads.task import Batch, Task
from simhw_workloads.train import Hook


class GradientCentralisation(Hook):
    """Subtracts the mean from the gradient of every output of a layer (Yong et al., ECCV 2020).

    Biases and normalisations, whose weights have one axis, stay as they are.
    """

    def gradients(self, model: nn.Module) -> None:
        """Change the gradients in place."""
        for parameter in model.parameters():
            if parameter.grad is not None and parameter.grad.dim() > 1:
                parameter.grad -= parameter.grad.mean(dim=tuple(range(1, parameter.grad.dim())), keepdim=True)


class MovingAverage(Hook):
    """An exponential moving average of weights and statistics.  It replaces them at the end of the phase.

    Parameters
    ----------
    decay : float
        Share of the average that stays in a step.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: dict[str, Tensor] = {}

    def start(self, model: nn.Module, task: Task) -> None:
        """Start from the model as it is."""
        self._average = {name: value.clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def stepped(self, model: nn.Module, step: int) -> None:
        """Move the average towards the model.  Counters are copied."""
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value, 1 - self.decay)
            else:
                self._average[name].copy_(value)

    def finish(self, model: nn.Module) -> None:
        """Put the average into the model."""
        model.load_state_dict(self._average)


class FlipAndShift(Hook):
    """Mirrors half of the images and shifts each by a few pixels.  The border gets the darkest value of the batch.

    Parameters
    ----------
    pixels : int
        The largest shift in each direction.
    seed : int
    """

    def __init__(self, pixels: int, seed: int) -> None:
        self.pixels = pixels
        self._random = torch.Generator().manual_seed(seed)

    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        """Augment (N, C, H, W) images; their shape stays."""
        images = batch.inputs
        count, _, height, width = images.shape
        mirrored = torch.rand(count, generator=self._random) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        padded = nn.functional.pad(images, (self.pixels,) * 4, value=float(images.min()))
        corner = torch.randint(2 * self.pixels + 1, (2, count, 1), generator=self._random)
        rows, columns = corner[0] + torch.arange(height), corner[1] + torch.arange(width)
        shifted = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return batch._replace(inputs=shifted.permute(0, 3, 1, 2))
