"""Clips of real handwritten digits that move over a small screen.

The class is the direction in which the digit moves.  No single frame shows it.
"""

from pathlib import Path

import torch
from torch import Tensor

from simhw.errors import WorkloadError
from simhw_workloads.data.images import DATA_SETS
from simhw_workloads.task import Task, accuracy, cross_entropy

WAYS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Directions: pixels down and to the right per frame at speed 1.  A direction's index is its class."""
_SPEEDS = (1, 2)


def moving_digits(frames: int = 8, size: int = 24, source: str = "mnist5k", folder: Path | None = None) -> Task:
    """Which of eight ways a digit moves.

    A digit starts anywhere, moves by one or two pixels a frame, and comes in again on the other side, so that neither a
    frame nor a place tells anything.  One clip per image of the source; places, ways and speeds are drawn with a fixed
    seed.

    Parameters
    ----------
    frames : int
    size : int
        Of the screen, at least that of the images scaled to 7/8 of it.
    source : str
        Data set whose images move.
    folder : Path, optional
        Of that data set.

    Returns
    -------
    Task
        Inputs (B, 1, frames, size, size) float32, targets (B,) int64.

    Raises
    ------
    WorkloadError
        There is no such data set, or a clip has fewer than two frames or 8 pixels.
    """
    if source not in DATA_SETS or frames < 2 or size < 8:
        raise WorkloadError(
            f"clips of {frames} frames of {size} pixels from {source!r}: need 2 frames, 8 pixels and one of "
            f"{', '.join(DATA_SETS)}"
        )
    images = DATA_SETS[source](folder)
    random = torch.Generator().manual_seed(0)

    def drawn(pixels: Tensor) -> tuple[Tensor, ...]:
        count = len(pixels)
        place = torch.randint(size, (count, 2), generator=random)
        way = torch.randint(len(WAYS), (count,), generator=random)
        return pixels, place, way, torch.randint(_SPEEDS[0], _SPEEDS[-1] + 1, (count,), generator=random)

    def prepare(columns: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        pixels, place, way, speed = columns
        inner = size * 7 // 8
        small = torch.nn.functional.interpolate(
            pixels.float() / 255, size=(inner, inner), mode="bilinear", align_corners=False
        )
        screen = torch.nn.functional.pad(small, (0, size - inner, 0, size - inner))
        step = torch.tensor(WAYS)[way] * speed[:, None]
        # (B, frames, 2): where the screen's corner lies in each frame.
        corner = place[:, None] + step[:, None] * torch.arange(frames)[None, :, None]
        rows, columns_ = ((torch.arange(size) - corner[..., axis : axis + 1]) % size for axis in (0, 1))
        batch = torch.arange(len(pixels))[:, None, None, None]
        clip = screen[batch, 0, rows[..., :, None], columns_[..., None, :]]
        return (clip[:, None] - images.mean) / images.std, way

    name = f"moving digits ({images.name}) at {frames}x{size}x{size}"
    return Task(name, drawn(images.train_pixels), drawn(images.test_pixels), prepare, cross_entropy, accuracy)
