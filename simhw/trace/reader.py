"""Reading a trace file: a zip of ``.npy`` tensors and one JSON page that says what they are.

Reading is lazy: loading looks at the directory and the metadata, and a tensor's bytes are touched when it is asked for.
The format is described in docs/trace-format.md; `simhw.trace.writer` writes it.
"""

import os
from functools import lru_cache
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

from simhw.bfloat16 import BF16Array
from simhw.errors import ShapeError, TraceError, quoted
from simhw.trace.archive import Archive, Limits, identity_of, let_go
from simhw.trace.find import find_trace
from simhw.trace.geometry import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from simhw.trace.layer import Layer, Operation, ProductBlock, TensorName, TensorSource
from simhw.trace.members import METADATA, block_member, tensor_member
from simhw.trace.nonfinite import NonFinite, finite
from simhw.trace.records import LayerRecord, bounded, parse, recorded_statistics
from simhw.trace.trace import Trace

# A convolution's padding may grow its input by this, and by so many times what the file holds of the layer: a kernel of
# 3 x 3 x 3 on a single position makes 27 of it.
PADDING_BYTES, PADDING_RATIO = 32 << 20, 32
OFFSET_BYTES = 8
KEPT_BYTES = 64 << 20
"""Blocks of a sample stay in memory once they are read where the whole file unpacks to no more: every machine takes all
of them, and unpacking a member takes as long as simulating it on some.
"""


class FileTensor:
    """A tensor that lies in a trace file; every `read` reads it, and only it, unless its values are to be `kept`."""

    def __init__(
        self,
        archive: Archive,
        member: str,
        shape: tuple[int, ...],
        where: str,
        nonfinite: NonFinite,
        kept: bool = False,
    ) -> None:
        self._archive = archive
        self._member = member
        self._shape = shape
        self._where = where
        self._nonfinite = nonfinite
        self._finite = False
        self._kept = kept
        self._values: BF16Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Another process reads the file itself."""
        return {**vars(self), "_values": None}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the metadata gives."""
        return self._shape

    def read(self) -> BF16Array:
        """The values, checked; a mapping of the file where it is stored uncompressed.

        Raises
        ------
        TraceError
            The member is damaged or not what the metadata says, or holds NaN or infinity and was not to be zeroed.
        """
        if self._values is not None:
            return self._values
        values = self._archive.array(self._member, self._shape, self._where)
        if not self._finite:
            read = values
            values = finite(read, self._nonfinite, lambda told: self._archive.error(f"{self._where}: {told}"), let_go)
            self._finite = values is read
        if self._kept:
            self._values = values
        return values


def load_trace(path: str | os.PathLike[str], nonfinite: NonFinite = "error", limits: Limits | None = None) -> Trace:
    """Open a trace file; its tensors are read when they are asked for.

    Parameters
    ----------
    path : str or path
        A path, or a name that `find_trace` finds.
    nonfinite : {"error", "zero"}
        What reading a tensor does with NaN and infinity: refuse the tensor, or take them as 0.
    limits : Limits, optional
        What a compressed trace may unpack to; by default 4 GiB a tensor and 64 GiB in all.

    Raises
    ------
    TraceError
        The file is not there, or its directory or metadata cannot be trusted.  Reading a tensor raises it for that
        tensor.
    """
    if nonfinite not in ("error", "zero"):
        raise TraceError(f"nonfinite={nonfinite!r}: give 'error' or 'zero'")
    found = find_trace(path)
    archive, metadata = _opened(found, limits or Limits.from_environment())
    record = parse(metadata, found.name)
    expected = {METADATA}
    layers = [_layer(archive, index, layer, nonfinite, expected) for index, layer in enumerate(record.layers)]
    extra = sorted(set(archive.members) - expected)
    if extra:
        raise archive.error(f"holds {len(extra)} members that its metadata does not name, the first {quoted(extra[0])}")
    return Trace(layers, record.metadata(), str(found))


def _opened(path: Path, limits: Limits) -> tuple[Archive, bytes]:
    """A trace file's directory and the text of its metadata, read once for loading it and for each hash of it."""
    try:
        identity = identity_of(os.stat(path))
    except OSError:
        identity = None
    return _read(path, limits, identity)


@lru_cache(maxsize=1)
def _read(path: Path, limits: Limits, identity: tuple[int, ...] | None) -> tuple[Archive, bytes]:  # noqa: ARG001 - a file that has changed is another
    archive = Archive(path, limits)
    return archive, _metadata_bytes(archive)


def _metadata_bytes(archive: Archive) -> bytes:
    if METADATA not in archive.members:
        raise archive.error(f"has no {METADATA}: a zip file, but not a trace")
    return bounded(
        archive.unpacked(METADATA, METADATA), archive.limits.metadata_bytes + 8 * archive.file_bytes, archive.path.name
    )


def _layer(archive: Archive, index: int, record: LayerRecord, nonfinite: NonFinite, expected: set[str]) -> Layer:
    """A layer whose tensors stay in the file; the members it needs are added to ``expected``."""
    small = archive.unpacked_bytes <= KEPT_BYTES

    def source(member: str, shape: tuple[int, ...], where: str, kept: bool = False) -> FileTensor:
        archive.check_array_size(member, shape, where)
        expected.add(member)
        return FileTensor(archive, member, shape, where, nonfinite, kept)

    held: dict[TensorName, TensorSource] = {
        tensor: source(
            tensor_member(index, tensor), tuple(entry.shape), f"layer {record.name!r}, tensor {tensor.upper()}"
        )
        for tensor, entry in record.tensors.items()
        if entry.held
    }
    blocks: dict[Operation, list[ProductBlock]] = {}
    for operation, entries in record.blocks.items():
        blocks[operation] = []
        for number, entry in enumerate(entries):
            where = f"layer {record.name!r}, {operation} block {number}"
            x_shape, y_shape = (entry.x_rows, entry.reduction), (entry.y_rows, entry.reduction)
            x = source(block_member(index, operation, number, "x"), x_shape, f"{where}, X", small)
            y = source(block_member(index, operation, number, "y"), y_shape, f"{where}, Y", small)
            blocks[operation].append(ProductBlock(entry.family, entry.product, entry.x_start, entry.y_start, x, y))
    try:
        layer = Layer(
            record.name,
            record.kind,
            record.geometry.model_dump(),
            a=held.get("a"),
            w=held.get("w"),
            g=held.get("g"),
            operations=record.operations,
            shapes={tensor: tuple(entry.shape) for tensor, entry in record.tensors.items()},
            statistics={
                t: recorded_statistics(entry.statistics)
                for t, entry in record.tensors.items()
                if entry.statistics is not None
            },
            blocks=blocks,
            blocks_by_size=record.blocks_by_size,
            scales={tensor: entry.scale for tensor, entry in record.tensors.items() if entry.scale is not None},
        )
    except ShapeError as error:
        raise archive.error(str(error)) from error
    unknown = sorted(set(blocks) - set(layer.operations))
    if unknown:
        raise archive.error(f"layer {record.name!r}: holds blocks of {unknown[0]}, which training did not run")
    _check_claims(archive, layer)
    return layer


def _check_claims(archive: Archive, layer: Layer) -> None:
    """Refuse sizes that the file states but does not hold, beyond those of one tensor or, of padding, beyond what it
    holds.

    Held tensors are as large as their members.  A sample's were once captured whole, under the same limit.
    """
    limit = archive.limits.tensor_bytes // 2
    sizes = {
        f"tensor {t.upper()} of shape {shape}": prod(shape) for t, shape in layer.shapes.items() if not layer.holds(t)
    }
    if layer.kind in CONVOLUTIONS and "a" in layer.shapes and "w" in layer.shapes:
        a, w, padding = layer.shapes["a"], layer.shapes["w"], layer.geometry.padding
        out = layer.output_spatial
        # What is padded is the input, or the output of a transposed convolution: that of the convolution which it
        # mirrors.
        mirrored = layer.kind in TRANSPOSED_CONVOLUTIONS
        outputs = w[1] * layer.geometry.groups if mirrored else w[0]
        channels, image = (outputs, out) if mirrored else (a[1], a[2:])
        padded = a[0] * channels * prod(size + 2 * pad for size, pad in zip(image, padding, strict=True))
        positions = a[0] * prod(out)
        sizes |= {f"input {a} with padding {padding}": padded, f"the output of input {a}": positions * outputs}
        held = 2 * sum(prod(shape) for t, shape in layer.shapes.items() if layer.holds(t))
        if held and 2 * padded + OFFSET_BYTES * positions > PADDING_BYTES + PADDING_RATIO * held:
            raise archive.error(
                f"layer {layer.name!r}: {layer.geometry} grows input {a} to {padded} values "
                f"and {positions} output positions, far beyond what the file holds"
            )
    for what, size in sizes.items():
        if size > limit:
            raise archive.error(
                f"layer {layer.name!r}, {what}: claims {size} values, more than {limit} for one tensor; "
                "set SIMHW_MAX_TENSOR_BYTES to allow more"
            )


def trace_hash(path: str | os.PathLike[str]) -> str:
    """Hash of a trace file's whole content, for the provenance of results.

    It covers the metadata and every tensor's name, size and checksum as the directory has them.  So no tensor is read,
    and a compressed copy has the hash of the uncompressed original.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    TraceError
        The file is not there or is no trace.
    """
    archive, metadata = _opened(find_trace(path), Limits.from_environment())
    digest = sha256(metadata)
    for name in sorted(archive.members):
        member = archive.members[name]
        digest.update(f"\n{name} {member.bytes} {member.crc:08x}".encode())
    return digest.hexdigest()[:16]
