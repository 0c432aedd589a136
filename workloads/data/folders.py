"""Photographs in folders, as ImageNet has them: ``train/<class>/*.jpg`` and ``val/<class>/*.jpg``; read as they are needed."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simhw.errors import WorkloadError
from workloads.task import Task, accuracy, cross_entropy

SUFFIXES = (".jpg", ".jpeg", ".png")
# Means and deviations of ImageNet's channels, by which every model zoo normalises.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KEPT = 224 / 256
"""Of the shorter side of an image, when its middle is cut out."""


def image_folder(folder: Path, size: int = 224) -> Task:
    """Classification of the images in a folder.

    Of an image, the middle square of 224 / 256 of its shorter side is scaled to `size`.  Only the files of a batch are in memory.

    Parameters
    ----------
    folder : Path
        With ``train`` and ``val``, each with a folder per class; the classes are those of ``train``, in the order of their names.
    size : int

    Raises
    ------
    WorkloadError
        No such folders, no images in them, or a class of ``val`` that ``train`` does not have; later, an image that cannot be read.
    """
    classes = _folders(folder / "train")
    files: list[Path] = []
    parts = []
    for part in ("train", "val"):
        paths, labels = [], []
        for name in _folders(folder / part):
            if name not in classes:
                raise WorkloadError(f"{folder / part / name}: a class that {folder / 'train'} does not have")
            found = sorted(path for path in (folder / part / name).iterdir() if path.suffix.lower() in SUFFIXES)
            paths += found
            labels += [classes.index(name)] * len(found)
        if not paths:
            raise WorkloadError(f"{folder / part}: no {', '.join(SUFFIXES)} files in its class folders")
        parts.append((torch.arange(len(files), len(files) + len(paths)), torch.tensor(labels)))
        files += paths

    def prepare(columns: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return torch.stack([read_image(files[index], size) for index in columns[0].tolist()]), columns[1]

    return Task(f"{folder.name} at 3x{size}x{size}", parts[0], parts[1], prepare, cross_entropy, accuracy)


def read_image(path: Path, size: int, whole: bool = False) -> Tensor:
    """(3, size, size) float32: the middle of an image, or the `whole` of it squeezed, normalised by ImageNet's statistics.

    Raises
    ------
    WorkloadError
        Not an image, one of so many pixels that it may be made to fill the memory, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise WorkloadError("images in files are read by Pillow: pip install 'simhw[workloads]'") from None

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("JPEG", "PNG")) as opened:
                image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise WorkloadError(f"{path}: not a usable JPEG or PNG image ({error})") from error
    # Cut while scaling, never after: a strip of one pixel's height scaled as a whole would fill the memory.
    side = _KEPT * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    part = (0.0, 0.0, float(image.width), float(image.height)) if whole else (left, top, left + side, top + side)
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=part)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]


def _folders(place: Path) -> list[str]:
    found = sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
    if not found:
        raise WorkloadError(f"{place}: no folder with a folder per class; give --data FOLDER with train/<class> and val/<class>")
    return found
