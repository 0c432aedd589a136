"""Small traces, good ones and ways to spoil them, for the tests of the trace format."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simhw import Layer, Trace, load_trace
from simhw.bfloat16 import BF16Array, from_float32
from simhw.errors import TraceError
from simhw.trace.layer import InMemory, ProductBlock
from simhw.trace.metadata import Metadata
from simhw.trace.statistics import layer_statistics
from tests.zip_files import members_of, zipped

A, W, G = "layers/0000/a.npy", "layers/0000/w.npy", "layers/0000/g.npy"


def values(seed: int, *shape: int) -> BF16Array:
    return from_float32(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def convolution(name: str = "conv", channels: int = 3) -> Layer:
    return Layer(
        name,
        "conv2d",
        {"padding": 1, "stride": 2},
        a=values(1, 2, channels, 6, 6),
        w=values(2, 4, channels, 3, 3),
        g=values(3, 2, 4, 3, 3),
    )


def small_trace() -> Trace:
    metadata = Metadata(
        "cnn", "digits", "dense", "torch 2.13.0", 7, 2, 0, "simhw capture ...", {"loss": 0.5, "note": "ü"}
    )
    linear = Layer(
        "fc", "linear", a=values(4, 2, 5), w=values(5, 3, 5), g=values(6, 2, 3), operations=["forward", "weight_grad"]
    )
    return Trace([convolution(), linear], metadata)


def sampled_trace() -> Trace:
    whole = Layer("fc", "linear", a=values(1, 40, 70), w=values(2, 20, 70), g=values(3, 40, 20))
    statistics = {
        "a": layer_statistics(whole, "a"),
        "w": layer_statistics(whole, "w"),
        "g": layer_statistics(whole, "g"),
    }
    blocks = {
        "forward": [
            ProductBlock(0, 0, 32, 16, InMemory(whole.a[32:40]), InMemory(whole.w[16:20])),
            ProductBlock(0, 0, 0, 0, InMemory(whole.a[:16]), InMemory(whole.w[:16])),
        ]
    }
    return Trace(
        [Layer("fc", "linear", shapes=whole.shapes, statistics=statistics, blocks=blocks, operations=["forward"])]
    )


def read_all(path: Path, **options: Any) -> list[BF16Array]:
    arrays = []
    for layer in load_trace(path, **options).layers:
        arrays += [layer.source(tensor).read() for tensor in ("a", "w", "g") if layer.holds(tensor)]
        arrays += [side.read() for blocks in layer.blocks.values() for block in blocks for side in (block.x, block.y)]
    return arrays


def large_trace(path: Path) -> Path:
    a = np.random.default_rng(0).integers(0, 0x4000, (64, 4096)).astype(np.uint16)  # 512 KiB
    Trace([Layer("l", "linear", a=a, w=values(1, 2, 4096), g=values(2, 64, 2))]).save(path)
    return path


def unchanged(members: dict[str, bytes]) -> None:
    """A change to no member."""


def rewritten(
    source: Path,
    change: Callable[[dict[str, bytes]], None],
    compression: int = zipfile.ZIP_STORED,
    name: str = "bad.npz",
) -> Path:
    """A copy of a trace whose members were changed."""
    members = members_of(source)
    change(members)
    target = source.with_name(name)
    target.write_bytes(zipped(members, compression))
    return target


def with_metadata(source: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a trace whose metadata was changed."""

    def edit(members: dict[str, bytes]) -> None:
        record = json.loads(members["metadata.json"])
        change(record)
        members["metadata.json"] = json.dumps(record).encode()

    return rewritten(source, edit)


def with_member(source: Path, member: str, content: bytes) -> Path:
    return rewritten(source, lambda members: members.update({member: content}))


def patched(source: Path, *edits: tuple[int, bytes]) -> Path:
    """A copy of a file with some bytes replaced."""
    content = bytearray(source.read_bytes())
    for offset, new in edits:
        content[offset : offset + len(new)] = new
    target = source.with_name("bad.npz")
    target.write_bytes(content)
    return target


def directory_offset(path: Path, member: str) -> int:
    """Where the central directory's entry of a member begins."""
    content = path.read_bytes()
    at = content.rindex(member.encode())
    return content.rindex(b"PK\x01\x02", 0, at)


def forged_header(descr: str, fortran: bool, shape: str, payload: bytes) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payload


def refused(path: Path, *words: str, read: bool = True, **options: Any) -> str:
    """The error for a bad file: a TraceError of one line that names the file and has these words."""
    with pytest.raises(TraceError) as caught:
        read_all(path, **options) if read else load_trace(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    for word in words:
        assert word in message
    return message
