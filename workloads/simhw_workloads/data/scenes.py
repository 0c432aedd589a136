"""Scenes to detect objects in, composed of real small images on parts of real photographs; their name says so.

Objects are images of a labelled set (handwritten digits, garments) in a colour.  They are stretched to be higher than
wide, as people on a building site are.  Backgrounds are parts of the two photographs that scikit-learn carries
(``china.jpg``, ``flower.jpg``; CC BY 2.0).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from simhw.errors import WorkloadError
from simhw_workloads.data.images import DATA_SETS, Images
from simhw_workloads.detection.loss import EMPTY
from simhw_workloads.task import LossFunction, ScoreFunction, Task

MOST_OBJECTS = 3
_SMALLEST, _LARGEST = 0.2, 0.45
"""Root of an object's area, as a share of the image."""
_RATIO_MEAN, _RATIO_SPREAD = -1.1, 0.35
"""Of the binary logarithm of width over height: about 0.47."""
_INK = 40
"""Grey level from which a pixel is part of the object."""


@dataclass(frozen=True)
class Scenes:
    """Composed scenes: pixels (N, 3, size, size) uint8 and objects (N, `MOST_OBJECTS`, 5), boxes in shares
    and classes.
    """

    name: str
    train_pixels: Tensor
    train_objects: Tensor
    test_pixels: Tensor
    test_objects: Tensor

    def task(self, loss: LossFunction, score: ScoreFunction) -> Task:
        """Detection with that loss and score, as the detector's default boxes decide."""
        return Task(
            self.name,
            (self.train_pixels, self.train_objects),
            (self.test_pixels, self.test_objects),
            prepare=lambda columns: (columns[0].float() / 127.5 - 1, columns[1]),
            loss=loss,
            score=score,
            metric="mAP at 0.5",
        )

    @property
    def train_boxes(self) -> Tensor:
        """(K, 4): all boxes of the training scenes."""
        objects = self.train_objects.flatten(0, 1)
        return objects[objects[:, 4] != EMPTY, :4]


def scenes(size: int, train: int, test: int, source: str = "mnist5k", folder: Path | None = None) -> Scenes:
    """Compose scenes of one to three objects; the same for the same arguments.

    Parameters
    ----------
    size : int
        Pixels along a side, at least 32.
    train, test : int
        Scenes, of the source's training and of its test images.
    source : str
        Whose images the objects are.
    folder : Path, optional
        Of that data set.

    Raises
    ------
    WorkloadError
        There is no such source, or the size is too small.
    """
    if source not in DATA_SETS or size < 32:
        raise WorkloadError(
            f"scenes of {size} pixels with objects of {source!r}: need 32 pixels and one of {', '.join(DATA_SETS)}"
        )
    images, photos = DATA_SETS[source](folder), _photos()
    parts = [_composed(images, photos, size, count, held_out) for count, held_out in ((train, False), (test, True))]
    (train_pixels, train_objects), (test_pixels, test_objects) = parts
    return Scenes(
        f"scenes of {images.name} on photographs, 3x{size}x{size}",
        train_pixels,
        train_objects,
        test_pixels,
        test_objects,
    )


def _photos() -> list[Tensor]:
    return [torch.tensor(image).permute(2, 0, 1) for image in load_sample_images().images]


def _composed(images: Images, photos: list[Tensor], size: int, count: int, held_out: bool) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(1 if held_out else 0)
    pixels, labels = (
        (images.test_pixels, images.test_labels) if held_out else (images.train_pixels, images.train_labels)
    )
    scenes = torch.empty(count, 3, size, size, dtype=torch.uint8)
    objects = torch.full((count, MOST_OBJECTS, 5), float(EMPTY))
    for index in range(count):
        photo = photos[random.integers(len(photos))]
        top, left = (random.integers(extent - size) for extent in photo.shape[1:])
        # Darker than the objects' ink, as a photograph in the shade is.
        scene = photo[:, top : top + size, left : left + size].float() * 0.6
        for place in range(random.integers(1, MOST_OBJECTS + 1)):
            row = random.integers(len(pixels))
            box = _pasted(scene, pixels[row, 0], random)
            objects[index, place] = torch.tensor([*(edge / size for edge in box), float(labels[row])])
        scenes[index] = scene.to(torch.uint8)
    return scenes, objects


def _pasted(scene: Tensor, image: Tensor, random: np.random.Generator) -> tuple[int, int, int, int]:
    """Blend an object into a scene; gives its box (x1, y1, x2, y2) in pixels."""
    size = scene.shape[1]
    rows, columns = (torch.nonzero((image > _INK).any(axis))[:, 0] for axis in (1, 0))
    ink = image[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1].float()[None, None]
    scale, ratio = size * random.uniform(_SMALLEST, _LARGEST), 2 ** random.normal(_RATIO_MEAN, _RATIO_SPREAD)
    height, width = (min(size - 2, max(4, round(scale * ratio**power))) for power in (-0.5, 0.5))
    alpha = torch.nn.functional.interpolate(ink, size=(height, width), mode="bilinear", align_corners=False)[0, 0] / 255
    top, left = int(random.integers(size - height)), int(random.integers(size - width))
    colour = torch.tensor(random.uniform(160, 255, 3), dtype=torch.float32)[:, None, None]
    part = scene[:, top : top + height, left : left + width]
    part.copy_(part * (1 - alpha) + colour * alpha)
    return left, top, left + width, top + height
