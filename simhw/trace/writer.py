"""Writing a trace file: tensors in the order of the layers, and the page that says what they are.

Tensors are little-endian uint16, by default uncompressed and aligned to 64 bytes, so that a reader maps them.  The
format is described in docs/trace-format.md; `simhw.trace.reader` reads it.
"""

import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from pydantic import ValidationError

from simhw.bfloat16 import BF16Array
from simhw.errors import TraceError
from simhw.files.writing import replacing
from simhw.trace.archive import LOCAL_HEADER
from simhw.trace.layer import OPERATIONS, TENSORS, Layer, ProductBlock, TensorSource
from simhw.trace.members import METADATA, block_member, tensor_member
from simhw.trace.metadata import Metadata
from simhw.trace.records import LayerRecord, first_problem, layer_record, trace_record
from simhw.trace.statistics import layer_statistics

if TYPE_CHECKING:
    from typing_extensions import Buffer

ALIGNMENT = 64
# The zip extra field that other tools also use to align data: an id, its length, and filling.
ALIGNMENT_ID = 0xD935
ZIP64_EXTRA_BYTES = 20


def write_layers(layers: Sequence[Layer], metadata: Metadata, path: str | os.PathLike[str], compress: bool) -> None:
    """Write the layers of a trace as a file; see `simhw.trace.trace.Trace.save`."""
    try:
        json.dumps(metadata.extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TraceError(f"{path}: metadata.extra cannot be written as JSON: {error}") from error
    with replacing(path) as temporary, open(temporary, "wb") as file:
        _write(layers, metadata, file, Path(path).name, compress)


class _Counter(io.RawIOBase):
    """A file that keeps nothing but its length."""

    def __init__(self) -> None:
        self.bytes = self._at = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self.bytes)[whence]
        return self._at

    def write(self, content: "Buffer") -> int:
        length = memoryview(content).nbytes
        self._at += length
        self.bytes = max(self.bytes, self._at)
        return length


def layers_bytes(layers: Sequence[Layer], metadata: Metadata, compress: bool) -> int:
    """Length of the file that `write_layers` would write; nothing is written anywhere.  Raises as it does."""
    counter = _Counter()
    _write(layers, metadata, counter, "trace", compress)
    return counter.bytes


def _write(layers: Sequence[Layer], metadata: Metadata, file: BinaryIO | _Counter, name: str, compress: bool) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        try:
            records = [_write_layer(archive, file, index, layer, compress) for index, layer in enumerate(layers)]
            text = trace_record(metadata, records).model_dump_json().encode()
        except ValidationError as error:
            raise TraceError(f"{name}: {first_problem(error)}") from error
        # Always deflated: histograms are mostly zeros, and nothing maps this member.
        with archive.open(_info(METADATA, len(text), compress=True), "w") as member:
            member.write(text)


def _write_layer(
    archive: zipfile.ZipFile, file: BinaryIO | _Counter, index: int, layer: Layer, compress: bool
) -> LayerRecord:
    statistics = dict(layer.statistics)
    for tensor in TENSORS:
        if layer.holds(tensor):
            where = f"layer {layer.name!r}, tensor {tensor.upper()}"
            bits = _write_array(archive, file, tensor_member(index, tensor), layer.source(tensor), compress, where)
            if tensor not in statistics:
                statistics[tensor] = layer_statistics(layer, tensor, bits)
    for operation in OPERATIONS:
        for number, block in enumerate(layer.blocks.get(operation, ())):
            where = f"layer {layer.name!r}, {operation} block {number}"
            if len(block.x.shape) != 2 or len(block.y.shape) != 2 or block.x.shape[1] != block.y.shape[1]:
                raise TraceError(f"{where}: X {block.x.shape} and Y {block.y.shape} must be (rows, K) with one K")
            for side, source in _sides(block):
                _write_array(archive, file, block_member(index, operation, number, side), source, compress, where)
    return layer_record(layer, statistics)


def _sides(block: ProductBlock) -> Iterator[tuple[Literal["x", "y"], TensorSource]]:
    yield "x", block.x
    yield "y", block.y


def _info(name: str, size: int, compress: bool) -> zipfile.ZipInfo:
    # The fixed date that ZipInfo has by default keeps files of equal content equal.
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    info.file_size = size
    return info


def _write_array(
    archive: zipfile.ZipFile, file: BinaryIO | _Counter, name: str, source: TensorSource, compress: bool, where: str
) -> BF16Array:
    values = source.read()
    if values.dtype != np.uint16 or values.shape != source.shape:
        raise TraceError(f"{where}: its source gives {values.dtype} {values.shape}, not uint16 {source.shape}")
    # No third memory order in a file: a transposed view is copied, one tensor at a time.
    bits = np.ascontiguousarray(values, dtype="<u2")
    # The header is padded to a multiple of 64 bytes (numpy's own rule); 128 is its length for up to a dozen axes.
    info = _info(name, bits.nbytes + 128, compress)
    if not compress:
        zip64 = ZIP64_EXTRA_BYTES if info.file_size * 1.05 > zipfile.ZIP64_LIMIT else 0
        begin = file.tell() + LOCAL_HEADER.size + len(name) + zip64 + 4
        filling = -begin % ALIGNMENT
        info.extra = ALIGNMENT_ID.to_bytes(2, "little") + filling.to_bytes(2, "little") + bytes(filling)
    with archive.open(info, "w") as member:
        np.lib.format.write_array(member, bits, version=(1, 0), allow_pickle=False)
    return bits
