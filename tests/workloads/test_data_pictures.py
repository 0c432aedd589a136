"""Photographs and COCO from a user's folder: read as asked for; broken or hostile ones are refused by name."""

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
from simhw_workloads.data.coco import coco
from simhw_workloads.data.folders import image_folder, read_image
from simhw_workloads.task import accuracy, cross_entropy

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
    with pytest.raises(WorkloadError, match=r"7\.png: cannot be read: No such file"):
        task.rows(torch.tensor([0]), train=False)


def test_the_middle_is_cut_out(tmp_path: Path):
    left = np.zeros((32, 96, 3), np.uint8)
    left[:, 32:64] = 255  # the middle square is white
    Image.fromarray(left).save(tmp_path / "wide.png")
    white = read_image(tmp_path / "wide.png", 14)
    torch.testing.assert_close(
        white,
        ((1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]))[:, None, None].expand(
            3, 14, 14
        ),
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


def test_pictures_without_pillow_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(WorkloadError, match=r"Pillow: pip install 'simhw\[workloads\]'"):
        read_image(tmp_path / "some.png", 8)


# COCO


def coco_folder(place: Path, **changes: object) -> Path:
    told = {
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "images": [
            {"id": 5, "file_name": "a.png", "width": 40, "height": 20},
            {"id": 6, "file_name": "b.png", "width": 10, "height": 10},
        ],
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
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]}]},
            "annotations.0. is of image 7 and category 1",
        ),
        (
            {"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, -1, 1]}]},
            r"annotations.0. has the box \[0, 0, -1, 1\]",
        ),
        ({"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, math.inf, 1]}]}, "Infinity is not a number"),
        ({"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0]}]}, "not COCO's description of instances"),
        (
            {"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]}] * 201},
            "201 objects in a.png; no more than 200",
        ),
        ({"images": {"id": 5}}, "not COCO's description of instances"),
    ],
    ids=["empty", "image", "negative", "infinite", "short box", "crowded", "shape"],
)
def test_broken_coco_files_are_refused(changes: dict[str, object], what: str, tmp_path: Path):
    with pytest.raises(WorkloadError, match=rf"instances_train2017\.json: .*{what}"):
        coco(coco_folder(tmp_path, **changes))


def test_a_coco_file_that_is_no_json_or_nested_without_end_is_refused(tmp_path: Path):
    path = coco_folder(tmp_path) / "annotations" / "instances_train2017.json"
    for content, what in (
        ("{", "not JSON"),
        ("[" * 200_000, "nested too deeply"),
        ("[]", "not COCO's description of instances"),
    ):
        path.write_text(content)
        with pytest.raises(WorkloadError, match=what):
            coco(tmp_path)


def test_a_file_name_does_not_lead_out_of_the_coco_folder(tmp_path: Path):
    images = [{"id": 5, "file_name": "../../../etc/passwd", "width": 40, "height": 20}]
    assert coco(coco_folder(tmp_path, images=images)).files[0] == tmp_path / "train2017" / "passwd"
