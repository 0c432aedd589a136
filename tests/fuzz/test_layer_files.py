"""Folders of arrays damaged at random: each is imported whole, or refused in one line that leaves no file behind.
Seeded; 240 by default.
"""

import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simhw.trace.layer import TENSORS
from simhw.trace.layer_files import import_folder
from simhw.trace.reader import load_trace
from tests.mutations import ODD_NUMBERS, accepted, fuzz, generators, mutated_bytes, mutated_text

TABLE = "conv1,data,3,3,3,1,1\nlstm_1,8,1,1,1,0\nfc1,conv1,2,1,1,1,0\n"
SHAPES = {
    "input/conv1-1-2-in.npy": (1, 2, 4, 4),
    "weights/conv1-1-2-w.npy": (3, 2, 3, 3),
    "outGrad/conv1-1-2-outGrad.npy": (1, 3, 4, 4),
    "input/lstm_1-1-2-in.npy": (2, 1, 3),
    "weights/lstm_1-1-2-w.npy": (8, 3),
    "outGrad/lstm_1-1-2-outGrad.npy": (2, 1, 8),
    "input/fc1-1-2-in.npy": (1, 3, 2, 2),
    "weights/fc1-1-2-w.npy": (2, 12),
    "outGrad/fc1-1-2-outGrad.npy": (1, 2),
}
DTYPES = ("<f2", ">f4", "<f8", "<u2", "<i4", "<u1", "<c8", "<M8[s]", "?", "S3", "<U3", "V4", "<f4,<f4", "O")
NAMES = ("../conv1", "/etc/passwd", "conv1/..", "..", ".", "", "conv1\\x", "~", "con\x00v1", "conv1\n", "é" * 300, "*")
"""Names of layers that would lead out of the folder, or to no file."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that can be imported."""
    folder = tmp_path / "net"
    for name in ("input", "weights", "outGrad"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(7)
    for name, shape in SHAPES.items():
        np.save(folder / name, rng.standard_normal(shape, np.float32))
    (folder / "trace_params.csv").write_text(TABLE)
    return folder


def damaged_bytes(rng: random.Random, path: Path) -> None:
    path.write_bytes(mutated_bytes(rng, path.read_bytes()))


def cut_off(rng: random.Random, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def other_type(rng: random.Random, path: Path) -> None:
    """Values of another type, of the same shape; objects are pickled."""
    np.save(path, np.zeros(np.load(path).shape, np.dtype(rng.choice(DTYPES))), allow_pickle=True)


def other_shape(rng: random.Random, path: Path) -> None:
    """As many values, of other axes or none."""
    values = np.load(path)
    shapes = ((), (0,), (values.size,), (1,) * 33, values.shape[::-1], (1, *values.shape), (values.size, 1, 1))
    shape = rng.choice(shapes)
    np.save(path, np.zeros(shape, np.float32))


def claimed_shape(rng: random.Random, path: Path) -> None:
    """A header that claims what the file does not hold."""
    sizes = [rng.choice((*ODD_NUMBERS[:17], 3, True, "x")) for _ in range(rng.randrange(5))]
    header = f"{{'descr': '<f4', 'fortran_order': {rng.choice((True, False, 2))}, 'shape': {tuple(sizes)}, }}\n"
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    path.write_bytes(b"\x93NUMPY" + bytes(version) + length + header.encode() + path.read_bytes()[128:])


def nonfinite(rng: random.Random, path: Path) -> None:
    values = np.load(path)
    values.flat[rng.randrange(values.size)] = rng.choice((np.nan, np.inf, -np.inf, 3.4e38))
    np.save(path, values)


def no_file(rng: random.Random, path: Path) -> None:
    """Something else in the file's place, or nothing."""
    path.unlink()
    match rng.randrange(4):
        case 0:
            path.mkdir()
        case 1:
            path.symlink_to(path)
        case 2:
            path.touch()


ARRAY_DAMAGE: tuple[Callable[[random.Random, Path], None], ...] = (
    damaged_bytes,
    cut_off,
    other_type,
    other_shape,
    claimed_shape,
    nonfinite,
    no_file,
)


def damage_table(rng: random.Random, path: Path) -> None:
    match rng.randrange(4):
        case 0:
            content = mutated_bytes(rng, TABLE.encode())
        case 1:
            content = TABLE.replace(rng.choice(("conv1,data", "lstm_1", "fc1")), rng.choice(NAMES)).encode()
        case 2:
            cells = TABLE.replace("\n", ",\n,").split(",")
            cells[rng.randrange(len(cells))] = str(rng.choice(ODD_NUMBERS))
            content = ",".join(cells).replace(",\n,", "\n").encode()
        case _:
            content = mutated_text(rng, TABLE).encode("utf-8", "surrogatepass")
    path.write_bytes(content)


@fuzz(240)
def test_a_damaged_folder_is_imported_whole_or_refused_in_a_line(seeds: range, folder: Path, tmp_path: Path) -> None:
    good = {name: (folder / name).read_bytes() for name in (*SHAPES, "trace_params.csv")}
    out = tmp_path / "out" / "t.npz"
    out.parent.mkdir()
    imported = 0
    for seed, rng in generators(seeds):
        name = rng.choice(list(good)) if rng.random() < 0.7 else "trace_params.csv"
        path = folder / name
        how = damage_table if name == "trace_params.csv" else rng.choice(ARRAY_DAMAGE)
        how(rng, path)
        what = f"seed {seed}, {how.__name__} of {name}"
        if accepted(lambda: import_folder(folder).save(out), what):
            imported += 1
            for layer in load_trace(out).layers:
                for tensor in TENSORS:
                    if layer.holds(tensor):
                        layer.source(tensor).read()
            out.unlink()
        assert not list(out.parent.iterdir()), f"{what}: left {list(out.parent.iterdir())}"
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_bytes(good[name])
    # A value that changes, or a layer that the table forgets, leaves a good folder.
    assert 0 < imported < len(seeds)
