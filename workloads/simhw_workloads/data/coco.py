"""Objects in photographs as COCO describes them: an ``instances_*.json`` and a folder of images, which are read as they
are needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simhw.errors import WorkloadError, quoted
from simhw.files.reading import parse_json
from simhw_workloads.data.files import data_text
from simhw_workloads.data.folders import read_image
from simhw_workloads.detection.loss import EMPTY
from simhw_workloads.task import LossFunction, ScoreFunction, Task

# The annotations of 2017 have 470 MB.
_LONGEST_BYTES = 1 << 30
# Every image has room for as many as the fullest has; COCO's fullest has fewer than 100.
_MOST_OBJECTS = 200
_LONGEST_NAME = 255
"""Bytes that a name in a folder may have."""
_LARGEST = 1e9
"""Pixels, which no image has along a side."""


@dataclass(frozen=True)
class Coco:
    """Images and their objects (N, most objects, 5): boxes in shares of the image, and classes; rows of class -1 hold
    none.

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

    def task(self, loss: LossFunction, score: ScoreFunction) -> Task:
        """Detection with that loss and score, as the detector's default boxes decide."""
        count = len(self.train_objects)

        def prepare(columns: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            return torch.stack(
                [read_image(self.files[index], self.size, whole=True) for index in columns[0].tolist()]
            ), columns[1]

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
    """COCO from ``annotations/instances_train<year>.json``, ``instances_val<year>.json``, ``train<year>/`` and
    ``val<year>/``.

    Images without objects are left out, and so are objects that are crowds or have no area inside the image.

    Raises
    ------
    WorkloadError
        A file that is missing, too long, or not of this form: the message names the annotation.
    """
    parts = [_instances(folder, f"{part}{year}") for part in ("train", "val")]
    for category, name in parts[1][1].items():
        if parts[0][1].get(category, name) != name:
            raise WorkloadError(
                f"{folder}: category {category} is {quoted(name)} in val{year}, {quoted(parts[0][1][category])} in "
                f"train{year}"
            )
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


@dataclass(frozen=True)
class _Entry:
    """A mapping of a list in the file, and what it is called in an error."""

    told: dict[str, Any]
    where: str

    def _wrong(self, name: str, wanted: str) -> WorkloadError:
        return WorkloadError(
            f"{self.where}: {name} is {quoted(self.told.get(name))}, not {wanted}; not COCO's description of instances"
        )

    def whole(self, name: str) -> int:
        value = self.told.get(name)
        if type(value) is not int or abs(value) >= 1 << 63:
            raise self._wrong(name, "a whole number")
        return value

    def number(self, name: str) -> float:
        (value,) = self._floats(name, [self.told.get(name)])
        return value

    def numbers(self, name: str, count: int) -> list[float]:
        value = self.told.get(name)
        if not isinstance(value, list) or len(value) != count:
            raise self._wrong(name, f"a list of {count} numbers")
        return self._floats(name, value)

    def text(self, name: str) -> str:
        value = self.told.get(name)
        if not isinstance(value, str) or len(value) > _LONGEST_NAME:
            raise self._wrong(name, f"a text of at most {_LONGEST_NAME} characters")
        return value

    def _floats(self, name: str, values: list[Any]) -> list[float]:
        # By type: True is a number to Python.
        if not all(type(value) in (int, float) and abs(value) < _LARGEST for value in values):
            raise self._wrong(name, "made of finite numbers")
        return [float(value) for value in values]


def _entries(told: Any, name: str, path: Path) -> Iterator[_Entry]:
    """The mappings of a list of the file."""
    found = told.get(name) if isinstance(told, dict) else None
    if not isinstance(found, list):
        raise WorkloadError(f"{path}: has no list of {name}; not COCO's description of instances")
    for place, each in enumerate(found):
        if not isinstance(each, dict):
            raise WorkloadError(
                f"{path}: {name}[{place}] is {quoted(each)}, not a mapping; not COCO's description of instances"
            )
        yield _Entry(each, f"{path}: {name}[{place}]")


def _by_id(entries: Iterator[_Entry]) -> Iterator[tuple[int, _Entry]]:
    seen: set[int] = set()
    for entry in entries:
        number = entry.whole("id")
        if number in seen:
            raise WorkloadError(f"{entry.where}: there is another of id {number}")
        seen.add(number)
        yield number, entry


def _instances(folder: Path, part: str) -> tuple[Found, dict[int, str]]:
    """Files with their boxes and categories, and the names of the categories."""
    path = folder / "annotations" / f"instances_{part}.json"
    told = parse_json(data_text(path, "COCO's annotations", _LONGEST_BYTES), str(path), WorkloadError)
    names = {number: entry.text("name") for number, entry in _by_id(_entries(told, "categories", path))}
    images = dict(_by_id(_entries(told, "images", path)))
    boxes: dict[int, list[tuple[Box, int]]] = {}
    for entry in _entries(told, "annotations", path):
        crowd = entry.told.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise WorkloadError(f"{entry.where}: iscrowd is {quoted(crowd)}, not 0 or 1")
        if crowd:
            continue
        image, category = entry.whole("image_id"), entry.whole("category_id")
        if image not in images or category not in names:
            raise WorkloadError(
                f"{entry.where} is of image {image} and category {category}, which the file does not have"
            )
        box = _box(entry, images[image])
        if box[0] < box[2] and box[1] < box[3]:
            boxes.setdefault(image, []).append((box, category))
    found = [(folder / part / _file_name(images[image]), boxes[image]) for image in sorted(boxes)]
    if not found:
        raise WorkloadError(f"{path}: no image in it has an object")
    crowded = max(found, key=lambda each: len(each[1]))
    if len(crowded[1]) > _MOST_OBJECTS:
        raise WorkloadError(
            f"{path}: {len(crowded[1])} objects in {quoted(crowded[0].name)[1:-1]}; no more than {_MOST_OBJECTS} can "
            "be held per image"
        )
    return found, names


def _file_name(image: _Entry) -> str:
    """The name of an image's file in its folder, which it must not lead out of."""
    name = Path(image.text("file_name")).name
    try:
        fine = 0 < len(name.encode()) <= _LONGEST_NAME and name != ".." and "\0" not in name
    except UnicodeEncodeError:
        fine = False
    if not fine:
        raise WorkloadError(f"{image.where}: file_name is {quoted(image.told['file_name'])}, which no file can have")
    return name


def _box(annotation: _Entry, image: _Entry) -> Box:
    """(x1, y1, x2, y2) in shares of the image."""
    width, height = image.number("width"), image.number("height")
    x, y, w, h = annotation.numbers("bbox", 4)
    if not (width > 0 and height > 0 and w >= 0 and h >= 0):
        raise WorkloadError(
            f"{annotation.where} has the box {annotation.told['bbox']} in an image of {width:g} x {height:g} pixels; "
            "both need sizes"
        )
    shares = (x / width, y / height, (x + w) / width, (y + h) / height)
    left, top, right, bottom = (min(1.0, max(0.0, share)) for share in shares)
    return left, top, right, bottom
