"""CIFAR-10 and CIFAR-100 from the user's own copy, in the binary version.

The Python version is a pickle, which is never read.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simhw.errors import WorkloadError
from simhw_workloads.data.files import data_bytes
from simhw_workloads.data.images import Images, pixel_statistics

_PIXELS = 3 * 32 * 32


def cifar10(folder: Path | None = None) -> Images:
    """CIFAR-10: ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, colour images of 32 x 32.

    Raises
    ------
    WorkloadError
        No folder, files that are missing or not whole, or a label that the set does not have.
    """
    train = [f"data_batch_{number}.bin" for number in range(1, 6)]
    return _cifar("CIFAR-10", folder, train, ["test_batch.bin"], label_bytes=1, classes=10)


def cifar100(folder: Path | None = None) -> Images:
    """CIFAR-100 with its fine labels: ``train.bin`` and ``test.bin``, colour images of 32 x 32.

    Raises
    ------
    WorkloadError
        As `cifar10`.
    """
    return _cifar("CIFAR-100", folder, ["train.bin"], ["test.bin"], label_bytes=2, classes=100)


def _cifar(name: str, folder: Path | None, train: list[str], test: list[str], label_bytes: int, classes: int) -> Images:
    if folder is None:
        raise WorkloadError(f"{name} comes with nothing: give --data FOLDER with the .bin files of its binary version")
    (pixels, labels), (held_out, held_out_labels) = (
        _joined([_records(folder / file, label_bytes, classes) for file in files]) for files in (train, test)
    )
    return Images(
        name, torch.from_numpy(pixels), labels, torch.from_numpy(held_out), held_out_labels, *pixel_statistics(pixels)
    )


def _joined(parts: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]) -> tuple[npt.NDArray[np.uint8], Tensor]:
    pixels, labels = zip(*parts, strict=True)
    return np.concatenate(pixels), torch.from_numpy(np.concatenate(labels))


def _records(path: Path, label_bytes: int, classes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pixels (N, 3, 32, 32) and labels (N,); the last label byte counts."""
    record = label_bytes + _PIXELS
    content = data_bytes(path, "--data FOLDER with the .bin files of the set's binary version")
    size = len(content)
    if size == 0 or size % record:
        raise WorkloadError(
            f"{path}: {size} bytes are no whole number of records of {record}; give the binary version of the set"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        row = int(labels.argmax())
        raise WorkloadError(f"{path}: record {row} has label {labels[row]}; the set has classes 0 to {classes - 1}")
    return records[:, label_bytes:].reshape(-1, 3, 32, 32).copy(), labels
