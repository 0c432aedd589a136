"""Objects in photographs as COCO describes them: an ``instances_*.json`` and a folder of images, which are read as they are needed."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simhw.errors import WorkloadError
from workloads.data.folders import read_image
from workloads.data.limit import check_length
from workloads.detection.loss import EMPTY
from workloads.task import Loss, Score, Task

_LIMIT_BYTES = 1 << 30
# Every image has room for as many as the fullest has; COCO's fullest has fewer than 100.
_MOST_OBJECTS = 200


@dataclass(frozen=True)
class Coco:
    """Images and their objects (N, most objects, 5): boxes in shares of the image, and classes; rows of class -1 hold none.

    Attributes
    ----------
    name : str
    size : int
        Images are squeezed to this many pixels along each side.
    files : tuple of Path
        Of the training images, then of the held-out ones.
    train_objects, test_objects : Tensor
    classes : tuple of str
        Names by number.
    """

    name: str
    size: int
    files: tuple[Path, ...]
    train_objects: Tensor
    test_objects: Tensor
    classes: tuple[str, ...]

    def task(self, loss: Loss, score: Score) -> Task:
        """Detection with that loss and score, as the detector's default boxes decide."""
        count = len(self.train_objects)

        def prepare(columns: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            return torch.stack([read_image(self.files[index], self.size, whole=True) for index in columns[0].tolist()]), columns[1]

        return Task(
            self.name,
            (torch.arange(count), self.train_objects),
            (torch.arange(count, len(self.files)), self.test_objects),
            prepare,
            loss,
            score,
            metric="mAP at 0.5",
        )


def coco(folder: Path, size: int = 300, year: str = "2017") -> Coco:
    """COCO from ``annotations/instances_train<year>.json``, ``instances_val<year>.json``, ``train<year>/`` and ``val<year>/``.

    Images without objects are left out, and so are objects that are crowds or have no area inside the image.

    Raises
    ------
    WorkloadError
        A file that is missing, too long, or not of this form: the message names the annotation.
    """
    parts = [_instances(folder, f"{part}{year}") for part in ("train", "val")]
    names = dict(sorted((parts[0][1] | parts[1][1]).items()))
    numbers = {category: number for number, category in enumerate(names)}
    files: list[Path] = []
    objects = []
    for found, _ in parts:
        files += [path for path, _ in found]
        most = max(len(boxes) for _, boxes in found)
        padded = torch.full((len(found), most, 5), float(EMPTY))
        for row, (_, boxes) in enumerate(found):
            padded[row, : len(boxes)] = torch.tensor([[*box, float(numbers[category])] for box, category in boxes])
        objects.append(padded)
    return Coco(f"COCO {year} at 3x{size}x{size}", size, tuple(files), objects[0], objects[1], tuple(names.values()))


Box = tuple[float, float, float, float]
Found = list[tuple[Path, list[tuple[Box, int]]]]


def _instances(folder: Path, part: str) -> tuple[Found, dict[int, str]]:
    """Files with their boxes and categories, and the names of the categories."""
    path = folder / "annotations" / f"instances_{part}.json"
    try:
        check_length(path, _LIMIT_BYTES)
        told = json.loads(path.read_bytes())
        names = {int(each["id"]): str(each["name"]) for each in told["categories"]}
        images = {int(each["id"]): each for each in told["images"]}
        boxes: dict[int, list[tuple[Box, int]]] = {}
        for place, each in enumerate(told["annotations"]):
            if each.get("iscrowd"):
                continue
            box = _box(each, images, names, f"{path}: annotation {place}")
            if box[0] < box[2] and box[1] < box[3]:
                boxes.setdefault(int(each["image_id"]), []).append((box, int(each["category_id"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WorkloadError(f"{path}: not COCO's description of instances ({type(error).__name__}: {error})") from error
    # A name must not lead out of the folder.
    found = [(folder / part / Path(str(images[image]["file_name"])).name, boxes[image]) for image in sorted(boxes)]
    if not found:
        raise WorkloadError(f"{path}: no image in it has an object")
    crowded = max(found, key=lambda each: len(each[1]))
    if len(crowded[1]) > _MOST_OBJECTS:
        raise WorkloadError(f"{path}: {len(crowded[1])} objects in {crowded[0].name}; no more than {_MOST_OBJECTS} can be held per image")
    return found, names


def _box(annotation: Any, images: dict[int, Any], names: dict[int, str], where: str) -> Box:
    """(x1, y1, x2, y2) in shares of the image."""
    image, category = int(annotation["image_id"]), int(annotation["category_id"])
    if image not in images or category not in names:
        raise WorkloadError(f"{where} is of image {image} and category {category}, which the file does not have")
    width, height = float(images[image]["width"]), float(images[image]["height"])
    x, y, w, h = (float(value) for value in annotation["bbox"])
    if not (width > 0 and height > 0 and all(map(math.isfinite, (width, height, x, y, w, h))) and w >= 0 and h >= 0):
        raise WorkloadError(f"{where} has the box {annotation['bbox']} in an image of {width:g} x {height:g} pixels")
    shares = (x / width, y / height, (x + w) / width, (y + h) / height)
    left, top, right, bottom = (min(1.0, max(0.0, share)) for share in shares)
    return left, top, right, bottom
