"""Data sets damaged at random: IDX, CIFAR, pictures, GLUE, Penn Treebank and COCO give a task, or are refused in one
line.

60 cases each take about 3 s together.
"""

import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from simhw_workloads.data import load
from simhw_workloads.data.coco import coco
from simhw_workloads.data.corpora import glue, penn_treebank
from simhw_workloads.data.folders import read_image
from simhw_workloads.data.images import read_idx
from tests.mutations import ODD_NUMBERS, accepted, fuzz, generators, mutated_bytes, mutated_text, mutated_tree


def damaged_idx(rng: random.Random) -> bytes:
    """Damaged inside, where the checksum is right, or as a file."""
    shape = rng.choice(((3, 4, 4), (3, 4, 4), tuple(rng.choice((0, 1, 48, 2**16, 2**32 - 1)) for _ in range(3))))
    content = (
        bytes([0, 0, rng.choice((8, 8, 9)), rng.choice((3, 3, 1))])
        + struct.pack(">3I", *shape)
        + bytes(rng.choice((48, 48, 47, 5000)))
    )
    content = mutated_bytes(rng, content) if rng.random() < 0.5 else content
    packed = gzip.compress(content)
    return packed if rng.random() < 0.5 else mutated_bytes(rng, packed)


def damaged_cifar(rng: random.Random) -> bytes:
    records = bytes([rng.choice((0, 255)), rng.choice((0, 99, 100, 255))]) + bytes(3072)
    return mutated_bytes(rng, records * rng.randint(1, 3)) if rng.random() < 0.7 else records


PNG_CHUNKS = (
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"gAMA",
    b"iCCP",
    b"zTXt",
    b"iTXt",
    b"eXIf",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"pHYs",
    b"IEND",
    b"abcd",
)


def picture(rng: random.Random) -> bytes:
    """A small picture of some mode, with notes."""
    mode = rng.choice(("L", "RGB", "RGBA", "LA", "P", "1", "I;16"))
    array = np.random.default_rng(rng.randrange(1000)).integers(0, 65536, (9, 7), np.uint16)
    image = Image.fromarray(array) if mode == "I;16" else Image.fromarray((array >> 8).astype(np.uint8)).convert(mode)
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = rng.randrange(10)
    if rng.random() < 0.5:
        image.convert("CMYK" if rng.random() < 0.3 else "RGB").save(
            stream, "JPEG", exif=exif, progressive=rng.random() < 0.5
        )
    else:
        notes = PngImagePlugin.PngInfo()
        notes.add_text("a", "b" * 50, zip=True)
        image.save(stream, "PNG", exif=exif, pnginfo=notes)
    return stream.getvalue()


def damaged_picture(rng: random.Random) -> bytes:
    """Damaged anywhere; in half of the PNGs a chunk is, and its checksum made right."""
    content = picture(rng)
    if not content.startswith(b"\x89PNG") or rng.random() < 0.5:
        return mutated_bytes(rng, content)
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    place = rng.randrange(len(chunks))
    kind, data = chunks[place]
    match rng.randrange(4):
        case 0:
            chunks[place] = (rng.choice(PNG_CHUNKS), data)
        case 1:
            chunks.insert(place, (rng.choice(PNG_CHUNKS), rng.randbytes(rng.choice((0, 1, 4, 8, 26)))))
        case 2:
            del chunks[place]
        case _:
            chunks[place] = (kind, mutated_bytes(rng, data))
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


INSTANCES = {
    "info": {"year": 2017},
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    "images": [
        {"id": 5, "file_name": "a.png", "width": 40, "height": 20},
        {"id": 6, "file_name": "b.png", "width": 10, "height": 10},
    ],
    "annotations": [
        {"image_id": 5, "category_id": 18, "bbox": [10, 5, 20, 10], "iscrowd": 0, "segmentation": [[1, 2.5, 3]]},
        {"image_id": 6, "category_id": 1, "bbox": [3, 3, 0.5, 9]},
    ],
}


def damaged_coco(rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        return mutated_bytes(rng, json.dumps(INSTANCES).encode())
    told = mutated_tree(rng, INSTANCES)
    if rng.random() < 0.2 and isinstance(told, dict) and told.get("images"):
        told = told | {
            "images": [
                {
                    "id": 5,
                    "file_name": rng.choice(("\ud800.png", "", "..", "a\0b", "é" * 200, "x/" * 900)),
                    "width": 1,
                    "height": 1,
                }
            ]
        }
    return json.dumps(told).encode()


def read_idx_of(folder: Path, content: bytes) -> None:
    (folder / "some.gz").write_bytes(content)
    read_idx(folder / "some.gz", 3)


def read_cifar(folder: Path, content: bytes) -> None:
    for name in ("train", "test"):
        (folder / f"{name}.bin").write_bytes(content)
    load("cifar100", folder)


def read_picture(folder: Path, content: bytes) -> None:
    (folder / "some.png").write_bytes(content)
    assert read_image(folder / "some.png", 5).isfinite().all()


def read_coco(folder: Path, content: bytes) -> None:
    (folder / "annotations").mkdir(exist_ok=True)
    for part in ("train2017", "val2017"):
        (folder / "annotations" / f"instances_{part}.json").write_bytes(content)
    found = coco(folder, 8)
    assert found.train_objects.isfinite().all()
    # A picture that is not there is the error then.
    assert not accepted(
        lambda: found.task(lambda *_: torch.zeros(()), lambda *_: 0.0).rows(torch.tensor([0])), "a missing picture"
    )


def read_glue(folder: Path, content: bytes) -> None:
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_bytes(content)
    glue(folder, "SST-2", tokens=8)


def read_cola(folder: Path, content: bytes) -> None:
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_bytes(content)
    glue(folder, "CoLA", tokens=8)


def read_treebank(folder: Path, content: bytes) -> None:
    for name in ("train", "test"):
        (folder / f"ptb.{name}.txt").write_bytes(content)
    penn_treebank(folder, window=3)


SST, COLA = "sentence\tlabel\nso good\t1\nso bad\t0\n" * 1, "gj04\t1\t\tso good\ngj04\t0\t*\tso bad\n"
TREEBANK = " the cat <unk> \n sat on N mats \n"


def damaged_text(text: str) -> Callable[[random.Random], bytes]:
    def damaged(rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return mutated_bytes(rng, text.encode())
        return mutated_text(rng, text).encode("utf-8", "surrogatepass")

    return damaged


@pytest.mark.parametrize(
    ("read", "damaged"),
    [
        (read_idx_of, damaged_idx),
        (read_cifar, damaged_cifar),
        (read_picture, damaged_picture),
        (read_coco, damaged_coco),
        (read_glue, damaged_text(SST)),
        (read_cola, damaged_text(COLA)),
        (read_treebank, damaged_text(TREEBANK)),
    ],
    ids=["idx", "cifar", "picture", "coco", "glue", "cola", "treebank"],
)
@fuzz(60)
def test_damaged_data_is_read_or_refused_in_one_line(
    read: Callable[[Path, bytes], None], damaged: Callable[[random.Random], bytes], seeds: range, tmp_path: Path
):
    read_at_all = 0
    for seed, rng in generators(seeds):
        content = damaged(rng)
        read_at_all += accepted(lambda content=content: read(tmp_path, content), f"seed {seed}")  # type: ignore[misc]
    # Damage that nothing survives would test the first check alone.
    assert 0 < read_at_all < len(seeds)


@pytest.mark.parametrize("number", ODD_NUMBERS)
@pytest.mark.parametrize("place", ["id", "width", "bbox", "image_id", "category_id", "iscrowd"])
def test_numbers_that_no_coco_file_has(number: Any, place: str, tmp_path: Path):
    told = json.loads(json.dumps(INSTANCES))
    target = told["images"][0] if place in ("id", "width") else told["annotations"][0]
    target[place] = [number] * 4 if place == "bbox" else number
    accepted(lambda: read_coco(tmp_path, json.dumps(told).encode()), f"{place} {number}")
