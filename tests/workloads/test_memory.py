"""Files that would fill the memory: refused before they need more than 64 MiB and eight times their length."""

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from simhw.errors import SimhwError
from simhw_workloads.data.coco import coco
from simhw_workloads.data.corpora import glue
from simhw_workloads.data.images import read_idx
from simhw_workloads.record import read_record


def idx(path: Path) -> None:
    """1 MB that unpacks to 1 GB, as its header says."""
    size = 1 << 30
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 10, 1 << 10, 1 << 10))
        for _ in range(size >> 24):
            stream.write(bytes(1 << 24))


def told(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def read_coco(path: Path) -> object:
    (path.parent / "annotations").mkdir()
    path.rename(path.parent / "annotations" / "instances_train2017.json")
    return coco(path.parent)


def read_glue(path: Path) -> object:
    path.rename(path.parent / "train.tsv")
    return glue(path.parent, "SST-2")


MANY = 1_000_000


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (idx, lambda path: read_idx(path, 3)),
        (told('{"phases":[' + "{}," * MANY + "1]}"), read_record),
        (told('{"phases":[' + "[]," * MANY + "1]}"), read_record),
        (told('{"phases":[' + '"",' * (MANY // 3) + "1]}"), read_record),
        (told('{"notes":{' + ",".join(f'"{number}":[]' for number in range(MANY // 4)) + "}}"), read_record),
        (told('{"images":[' + "[]," * MANY + "1]}"), read_coco),
        (told('{"categories":[],"images":[],"annotations":[' + "{}," * (MANY // 8) + "1]}"), read_coco),
        (told("a\n" * MANY), read_glue),
        (told("sentence\tlabel\n" + "a\t1\n" * (MANY // 8) + "a\n" * (MANY // 8)), read_glue),
        (told("\t" * MANY), read_glue),
    ],
    ids=[
        "idx",
        "record of mappings",
        "of lists",
        "of texts",
        "of names",
        "coco of lists",
        "of mappings",
        "lines",
        "broken lines",
        "columns",
    ],
)
def test_memory_is_bounded_by_the_length_of_the_file(
    make: Callable[[Path], object], read: Callable[[Path], object], tmp_path: Path
):
    path = tmp_path / "some"
    make(path)
    length = path.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(SimhwError):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= (64 << 20) + 8 * length
