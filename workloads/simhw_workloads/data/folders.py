"""Photographs in folders, as ImageNet has them: ``train/<class>/*.jpg`` and ``val/<class>/*.jpg``; read as they are
needed.
"""

import os
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from simhw.errors import WorkloadError, reason
from simhw_workloads.data.files import data_bytes
from simhw_workloads.task import Task, accuracy, cross_entropy

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png")
# Means and deviations of ImageNet's channels, by which every model zoo normalises.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KEPT = 224 / 256
"""Of the shorter side of an image, when its middle is cut out."""
# What a file may unpack to: 12 million pixels always, and a pixel more for every byte.  Photographs have half a byte a
# pixel and more.
_PIXEL_BYTES, _LEAST_BYTES, _MOST_TIMES = 4, 48 << 20, 5
# What Pillow raises at a note of the camera that is broken, and at a file that is.
_BROKEN_NOTE = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, RuntimeError, struct.error,
)  # fmt: skip
_DAMAGE = (*_BROKEN_NOTE, EOFError, MemoryError, zlib.error, ZeroDivisionError)
_ORIENTATION = 0x0112
"""Exif's number of the note on which side is up."""


def image_folder(folder: Path, size: int = 224) -> Task:
    """Classification of the images in a folder.

    Of an image, the middle square of 224 / 256 of its shorter side is scaled to `size`.  Only the files of a batch are
    in memory.

    Parameters
    ----------
    folder : Path
        With ``train`` and ``val``, each with a folder per class; the classes are those of ``train``, in the order of
        their names.
    size : int

    Raises
    ------
    WorkloadError
        No such folders, no images in them, or a class of ``val`` that ``train`` does not have; later, an image that
        cannot be read.
    """
    classes = _folders(folder / "train")
    files: list[Path] = []
    parts = []
    for part in ("train", "val"):
        paths, labels = [], []
        for name in _folders(folder / part):
            if name not in classes:
                raise WorkloadError(f"{folder / part / name}: a class that {folder / 'train'} does not have")
            found = _images_in(folder / part / name)
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
    """(3, size, size) float32: the middle of an image, or the `whole` of it squeezed, normalised by ImageNet's
    statistics.

    Grey images have three equal channels; 16 bits of grey keep their value, of colours the upper 8 are kept; CMYK is
    converted as Pillow does; the camera's note on which side is up is followed.

    Raises
    ------
    WorkloadError
        Not an image, one that is cut off, transparent or an animation, one of so many pixels that it may be made to
        fill the memory, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise WorkloadError("images in files are read by Pillow: pip install 'simhw[workloads]'") from None

    content = data_bytes(path, "a JPEG or PNG image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Other warnings are of metadata that no pixel depends on.
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(BytesIO(content), formats=("JPEG", "PNG")) as image:
                _check_size(path, image.width * image.height, len(content))
                turned = _turned(image)
                pictures = getattr(image, "n_frames", 1)
                if image.format == "PNG" and pictures > 1:
                    raise WorkloadError(f"{path}: an animation of {pictures} pictures; give one picture")
                image.load()
                _check_opaque(path, image)
                # Cut while scaling, never after: a strip of one pixel's height scaled as a whole would fill the memory.
                side = _KEPT * min(image.size)
                left, top = (image.width - side) / 2, (image.height - side) / 2
                part = (
                    (0.0, 0.0, float(image.width), float(image.height))
                    if whole
                    else (left, top, left + side, top + side)
                )
                small = _in_colour(image).resize((size, size), Image.Resampling.BILINEAR, box=part)
    except (*_DAMAGE, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise WorkloadError(f"{path}: not a usable JPEG or PNG image ({str(error) or type(error).__name__})") from error
    if turned is not None:
        # A square turns after scaling as before it.
        small = small.transpose(turned)
    pixels = torch.from_numpy(np.array(small, np.float32))
    pixels = (pixels / 65535)[None].expand(3, -1, -1) if small.mode == "F" else pixels.permute(2, 0, 1) / 255
    return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]


def _check_size(path: Path, pixels: int, stored_bytes: int) -> None:
    """Raise where a file is too small for the pixels that it claims."""
    if pixels * _PIXEL_BYTES > _LEAST_BYTES + _MOST_TIMES * stored_bytes:
        raise WorkloadError(
            f"{path}: {pixels / 1e6:.1f} million pixels in {stored_bytes} bytes; scale it down, or save it anew"
        )


def _turned(image: "Image.Image") -> "Image.Transpose | None":
    """How an image has to be turned to stand upright, by the note of the camera; notes that say nothing are passed
    over.
    """
    from PIL import Image

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except _BROKEN_NOTE:
        return None
    ways = Image.Transpose
    upright = (
        ways.FLIP_LEFT_RIGHT,
        ways.ROTATE_180,
        ways.FLIP_TOP_BOTTOM,
        ways.TRANSPOSE,
        ways.ROTATE_270,
        ways.TRANSVERSE,
        ways.ROTATE_90,
    )
    return upright[orientation - 2] if isinstance(orientation, int) and 2 <= orientation <= 8 else None


def _check_opaque(path: Path, image: "Image.Image") -> None:
    """Raise where a pixel is transparent: what it shows depends on what lies behind."""
    if "A" in image.getbands():
        least = image.getchannel("A").getextrema()[0]
    elif "transparency" not in image.info:
        return
    elif image.mode.startswith("I"):
        least = 0 if bool((np.asarray(image) == image.info["transparency"]).any()) else 255
    else:
        least = image.convert("RGBA").getchannel("A").getextrema()[0]
    if not isinstance(least, int | float) or least < 255:
        raise WorkloadError(f"{path}: has transparent pixels; put it on a background and save it without transparency")


def _in_colour(image: "Image.Image") -> "Image.Image":
    """The image in RGB, or of 16 bits as numbers: Pillow's conversion would make all above 255 white."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray(np.asarray(image).astype(np.float32))
    return image if image.mode == "RGB" else image.convert("RGB")


def _entries(place: Path) -> "list[os.DirEntry[str]]":
    """What lies in a folder, by name.

    Raises
    ------
    WorkloadError
        There is no such folder, or it cannot be read.
    """
    try:
        with os.scandir(place) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        raise WorkloadError(
            f"{place}: cannot be read ({reason(error)}); give --data FOLDER with train/<class> and val/<class>"
        ) from None


def _images_in(place: Path) -> list[Path]:
    """The image files of a class; links are followed.

    Raises
    ------
    WorkloadError
        The folder cannot be read, or what has an image's name is no file: a folder, a pipe, a link that leads nowhere.
    """
    found = [entry for entry in _entries(place) if Path(entry.name).suffix.lower() in SUFFIXES]
    for entry in found:
        if not os.path.isfile(entry):
            raise WorkloadError(
                f"{place / entry.name}: has the name of an image, but is no file (or a link to none); remove it"
            )
    return [place / entry.name for entry in found]


def _folders(place: Path) -> list[str]:
    found = [entry.name for entry in _entries(place) if os.path.isdir(entry)]
    if not found:
        raise WorkloadError(
            f"{place}: no folder with a folder per class; give --data FOLDER with train/<class> and val/<class>"
        )
    return found
