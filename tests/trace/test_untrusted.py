"""Trace files that nobody vouches for: every bad one gets one clear line, and costs no more than it is worth."""

import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simhw import Layer, Trace, load_trace
from simhw.errors import TraceError
from simhw.trace.archive import Limits
from tests.trace_files import (
    A,
    G,
    convolution,
    directory_offset,
    forged_header,
    large_trace,
    patched,
    read_all,
    refused,
    rewritten,
    sampled_trace,
    small_trace,
    unchanged,
    values,
    with_member,
    with_metadata,
)
from tests.zip_files import npy

# Bad files: the archive


def test_text_file_is_no_zip(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    path.write_text("hello")
    refused(path, "is not a zip file")


def test_empty_file_is_no_zip(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(b"")
    refused(path, "is not a zip file")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_named_so(good: Path, fraction: float) -> None:
    bad = good.with_name("bad.npz")
    content = good.read_bytes()
    bad.write_bytes(content[: int(len(content) * fraction)])
    refused(bad, "is cut off or damaged", read=False)


def test_other_npz_is_no_trace(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros(3))
    refused(tmp_path / "t.npz", "has no metadata.json: a zip file, but not a trace")


def test_member_twice_is_refused(good: Path) -> None:
    bad = rewritten(good, unchanged)
    with warnings.catch_warnings(), zipfile.ZipFile(bad, "a") as archive:
        warnings.simplefilter("ignore")  # zipfile warns of what we do on purpose
        archive.writestr(A, npy(np.zeros((2, 3, 6, 6), np.uint16)))
    refused(bad, f"holds member '{A}' twice", read=False)


def test_missing_member_is_named(good: Path) -> None:
    refused(rewritten(good, lambda members: members.pop(G)), "layer 'conv', tensor G", G, "is missing", read=False)


def test_extra_member_is_refused(good: Path) -> None:
    refused(with_member(good, "layers/0000/evil.npy", b""), "does not name", "layers/0000/evil.npy", read=False)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b.npy", "C:/x.npy"])
def test_name_that_leaves_the_archive_is_refused(good: Path, name: str) -> None:
    refused(with_member(good, name, b""), "not a name that a trace has", read=False)


def test_encrypted_member_is_refused(good: Path) -> None:
    refused(patched(good, (directory_offset(good, G) + 8, b"\x01\x00")), G, "is encrypted", read=False)


def test_other_compression_is_refused(good: Path) -> None:
    bad = rewritten(good, unchanged, compression=zipfile.ZIP_LZMA)
    refused(bad, "compression method 14; known are stored (0) and deflated (8)", read=False)


def test_checksum_of_a_compressed_member_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "good.npz"
    small_trace().save(path, compress=True)
    bad = patched(path, (directory_offset(path, G) + 16, b"\x00\x00\x00\x00"))
    refused(bad, "layer 'conv', tensor G", "is damaged: its checksum is wrong")


def test_stored_member_whose_directory_claims_more_is_refused(good: Path) -> None:
    entry = directory_offset(good, G)
    huge = struct.pack("<I", 1 << 31)
    refused(patched(good, (entry + 24, huge)), G, "is stored, but claims 2147483648 bytes", read=False)
    refused(patched(good, (entry + 20, huge), (entry + 24, huge)), G, "reaches into what follows it", read=False)


def test_overlapping_members_are_refused(good: Path) -> None:
    # The trick of a flat zip bomb: two names for the same bytes.
    offset = good.read_bytes()[directory_offset(good, A) + 42 :][:4]
    refused(patched(good, (directory_offset(good, G) + 42, offset)), "reaches into what follows it", read=False)


def test_local_header_that_disagrees_with_the_directory_is_refused(good: Path) -> None:
    local = good.read_bytes().index(G.encode())
    refused(patched(good, (local, b"layers/0000/x.npy")), "layer 'conv', tensor G", "differs from the directory")
    refused(patched(good, (local - 30, b"XXXX")), "layer 'conv', tensor G", "local header", "is damaged")
    refused(patched(good, (local - 2, b"\xff\xff")), "layer 'conv', tensor G", "reaches into what follows it")


def test_deflate_that_claims_more_than_it_can_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "good.npz"
    small_trace().save(path, compress=True)
    bad = patched(path, (directory_offset(path, G) + 24, struct.pack("<I", 1 << 31)))
    refused(bad, G, "more than the 1032 to 1 that deflate can reach", read=False)


def zeros_trace(path: Path) -> Path:
    Trace([Layer("l", "linear", a=np.zeros((1000, 1000), np.uint16), w=values(0, 2, 1000))]).save(path, compress=True)
    return path


def test_honest_zip_bomb_meets_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zeros_trace(tmp_path / "bomb.npz")  # 2 MB of zeros in some kB
    assert path.stat().st_size < 50_000
    refused(path, "unpacks to", "SIMHW_MAX_TENSOR_BYTES", read=False, limits=Limits(tensor_bytes=1_000_000))
    refused(path, "unpacks to", "SIMHW_MAX_TRACE_BYTES", read=False, limits=Limits(trace_bytes=1_000_000))
    monkeypatch.setenv("SIMHW_MAX_TENSOR_BYTES", "1000000")
    refused(path, "SIMHW_MAX_TENSOR_BYTES", read=False)
    monkeypatch.setenv("SIMHW_MAX_TENSOR_BYTES", "3000000")  # what the message tells to do helps
    assert len(read_all(path)) == 2


def test_limit_that_is_no_number_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMHW_MAX_TRACE_BYTES", "lots")
    with pytest.raises(TraceError, match="SIMHW_MAX_TRACE_BYTES='lots': give a number of bytes"):
        load_trace(good)


def test_stream_longer_or_shorter_than_the_directory_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "good.npz"
    Trace([convolution()]).save(path, compress=True)
    entry = directory_offset(path, G) + 24
    size = struct.unpack("<I", path.read_bytes()[entry : entry + 4])[0]
    for claimed in (size - 2, size + 2):
        refused(patched(path, (entry, struct.pack("<I", claimed))), "layer 'conv', tensor G")


def test_allocation_is_never_larger_than_the_file_bears_out(good: Path) -> None:
    import tracemalloc

    bad = with_metadata(
        good, lambda record: record["layers"][1]["tensors"]["a"].update(shape=[1 << 20, 1 << 20], statistics=None)
    )
    tracemalloc.start()
    try:
        refused(bad, "layer 'fc', tensor A", "does not fit shape (1048576, 1048576)", read=False)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_damaged_member_that_unpacks_to_much_is_found_out_before_room_is_made_for_it(tmp_path: Path) -> None:
    import tracemalloc

    zeros = np.zeros((40, 1_000_000), np.uint16)  # 80 MB of which the file keeps 80 kB
    path = tmp_path / "good.npz"
    Trace([Layer("fc", "linear", a=zeros, w=zeros[:1], operations=["forward"])]).save(path, compress=True)
    bad = patched(path, (directory_offset(path, A) + 16, b"\x00\x00\x00\x00"))
    tracemalloc.start()
    try:
        refused(bad, "layer 'fc', tensor A", "its checksum is wrong")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


# Bad files: the arrays


def payload(shape: tuple[int, ...] = (2, 4, 3, 3)) -> bytes:
    return values(3, *shape).tobytes()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(np.zeros((2, 4, 3, 3), np.float16)), "dtype '<f2'"),
        (npy(np.zeros((2, 4, 3, 3), np.int16)), "dtype '<i2'"),
        (npy(np.zeros((2, 4, 3, 3), ">u2")), "dtype '>u2' (big-endian)"),
        (npy(np.asfortranarray(values(3, 2, 4, 3, 3))), "Fortran order"),
        (npy(values(3, 4, 2, 3, 3)), "claims shape (4, 2, 3, 3), the metadata (2, 4, 3, 3)"),
        (npy(values(3, 72)), "claims shape (72,), the metadata (2, 4, 3, 3)"),
        (forged_header("'|O'", False, "(2, 4, 3, 3)", payload()), "dtype '|O'"),
        (forged_header("'<u2'", False, "(1000000, 1000000)", payload()), "claims shape (1000000, 1000000)"),
        (forged_header("'<u2'", False, "(2, 4, 3, 3)", payload() + b"\0\0"), "need another number"),
        (forged_header("'<u2'", False, "(2, 4, 3, -3)", payload()), "claims shape (2, 4, 3, -3)"),
        (forged_header("__import__('os')", False, "(2, 4, 3, 3)", payload()), "is not a .npy array"),
        (forged_header("'nonsense'", False, "(2, 4, 3, 3)", payload()), "is not a .npy array"),
        (forged_header("'<u2'", False, "(" * 500, payload()), "is not a .npy array"),
        (forged_header("'<u2'", False, "(2, 4, 3, 3", payload()), "is not a .npy array"),
        (b"\x93NUMPY\x03\x00" + npy(values(3, 2, 4, 3, 3))[8:], "unknown version (3, 0)"),
        (b"\x93NUMPY\x01\x00\xff\xff" + npy(values(3, 2, 4, 3, 3))[10:], "is not a .npy array"),
        (b"x" * 272, "is not a .npy array"),
        (npy(values(3, 2, 4, 3, 3))[:-2], "need another number"),
        (npy(values(3, 2, 4, 3, 2)), "claims shape (2, 4, 3, 2)"),
        (npy(np.zeros((2, 4, 3, 3, 20), np.uint16)), "does not fit shape (2, 4, 3, 3)"),
        (npy(np.array([{}, None]), allow_pickle=True), "dtype '|O'"),
    ],
)
def test_array_that_is_not_what_the_metadata_says_is_refused(
    good: Path, content: bytes, words: str, compression: int
) -> None:
    bad = rewritten(good, lambda members: members.update({G: content}), compression)
    refused(bad, "layer 'conv', tensor G", words)


def test_object_array_is_never_unpickled(good: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (marker.touch, ())

    evil = npy(np.array([Evil()] * 72, object).reshape(2, 4, 3, 3), allow_pickle=True)
    size = 2 * 72
    # Cut and filled to the size that the metadata wants, so that only the type can refuse it.
    head = evil[: evil.index(b"\n") + 1]
    bad = with_member(good, G, head + evil[len(head) :][:size].ljust(size, b"\0"))
    refused(bad, "dtype '|O'")
    assert not marker.exists()


def test_array_at_an_odd_byte_is_copied_to_an_aligned_place(tmp_path: Path) -> None:
    path = large_trace(tmp_path / "good.npz")

    odd = rewritten(path, unchanged)
    with zipfile.ZipFile(odd) as archive:
        starts = {info.filename: info.header_offset + 30 + len(info.filename) for info in archive.infolist()}
    assert starts[A] % 2 == 1  # 30 + 17 characters
    a = load_trace(odd).layers[0].a
    assert a.flags.aligned
    np.testing.assert_array_equal(a, load_trace(path).layers[0].a)


# Bad files: the metadata


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "metadata.json"),
        (b"not json", "not JSON: expected ident"),
        (b"[1, 2]", "metadata.json"),
        (b"\xff\xfe", "metadata.json"),
        (b"[" * 100_000, "metadata.json"),
        (b'{"format_version": 1}', "format is '', not 'simhw-trace'; this is no trace"),
        (b'{"format": "simhw-trace"}', "format version None is unknown"),
        (
            b'{"format": "simhw-trace", "format_version": 2}',
            "format version 2 is unknown; simhw 0.1.0 reads version 1: upgrade simhw",
        ),
        (b'{"format": "simhw-trace", "format_version": "1"}', "metadata.json"),
        (b'{"format": "simhw-trace", "format_version": 1}', "Field required"),
    ],
)
def test_metadata_that_is_not_ours_is_refused(good: Path, content: bytes, words: str) -> None:
    refused(with_member(good, "metadata.json", content), words, read=False)


def layer_field(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["layers"][0].update({key: value})


def tensor_field(tensor: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["layers"][0]["tensors"][tensor].update(fields)


def statistics_field(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["layers"][0]["tensors"]["g"]["statistics"].update(fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.pop("model"), "model: Field required"),
        (lambda record: record.update(model=3), "model: Input should be a valid string"),
        (lambda record: record.update(step="7"), "step: Input should be a valid integer"),
        (lambda record: record.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (lambda record: record.update(layers=[]), "layers: List should have at least 1 item"),
        (lambda record: record["layers"].append(record["layers"][0]), "two layers have the name 'conv'"),
        (layer_field("name", ""), "layers.0.name"),
        (layer_field("name", "\x1b[31mred"), "printable"),
        (layer_field("kind", "pooling"), "layer 'conv': unknown kind 'pooling'"),
        (layer_field("operations", ["backward"]), "layers.0.operations.0"),
        (
            layer_field("geometry", {"stride": [2], "padding": [1, 1], "dilation": [1, 1], "groups": 1}),
            "layer 'conv': geometry stride",
        ),
        (
            layer_field("geometry", {"stride": [0, 0], "padding": [1, 1], "dilation": [1, 1], "groups": 1}),
            "layers.0.geometry.stride.0",
        ),
        (
            layer_field("geometry", {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}),
            "layer 'conv', tensor G: shape",
        ),
        (tensor_field("g", shape=[2, 4, 3, 10**30]), "layers.0.tensors.g.shape.3"),
        (tensor_field("g", shape=[2, 4, 3, 0]), "layers.0.tensors.g.shape.3"),
        (tensor_field("g", shape=[2, 4, 3, "3"]), "layers.0.tensors.g.shape.3"),
        (tensor_field("g", shape=[]), "layers.0.tensors.g.shape"),
        (
            tensor_field("g", shape=[4, 2, 3, 3], statistics=None),
            "layer 'conv', tensor G: shape (4, 2, 3, 3) should be (2, 4, 3, 3)",
        ),
        (tensor_field("g", shape=[2, 4, 9], statistics=None), "layer 'conv', tensor G: shape (2, 4, 9) needs 4 axes"),
        (tensor_field("g", held=1), "layers.0.tensors.g.held"),
        (tensor_field("g", held=False), "members that its metadata does not name"),
        (statistics_field(size=73), "sums do not agree"),
        (statistics_field(zeros=1), "sums do not agree"),
        (statistics_field(exponents=[72]), "layers.0.tensors.g.statistics.exponents"),
        (statistics_field(terms_per_image=[1, 1]), "sums do not agree"),
        (statistics_field(zeros_per_image=[-1, 1]), "zeros_per_image.0"),
        (statistics_field(compressed_bytes={"bdc": 1.5}), "compressed_bytes.bdc"),
    ],
)
def test_metadata_with_a_bad_field_is_refused(good: Path, change: Callable[[dict[str, Any]], None], words: str) -> None:
    refused(with_metadata(good, change), words, read=False)


def test_block_fields_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "good.npz"
    sampled_trace().save(path)

    def block_field(**fields: Any) -> Callable[[dict[str, Any]], None]:
        return lambda record: record["layers"][0]["blocks"]["forward"][1].update(fields)

    refused(with_metadata(path, block_field(x_start=8)), "multiple of 16", read=False)
    refused(with_metadata(path, block_field(x_rows=17)), "blocks.forward.1.x_rows", read=False)
    refused(
        with_metadata(path, block_field(reduction=10**6)),
        "layer 'fc', forward block 1, X",
        "does not fit shape",
        read=False,
    )
    refused(with_metadata(path, block_field(x_rows=15)), "layer 'fc', forward block 1, X")


def test_metadata_beyond_its_limit_is_refused(good: Path) -> None:
    refused(good, "metadata.json", "SIMHW_MAX_METADATA_BYTES", read=False, limits=Limits(metadata_bytes=100))


@pytest.mark.parametrize("compress", [False, True])
def test_any_flipped_byte_is_an_error_or_harmless(tmp_path: Path, compress: bool) -> None:
    """Either the file is refused, or all that is read from it equals the original (dates and the like)."""
    path = tmp_path / "good.npz"
    Trace([Layer("l", "linear", a=values(0, 3, 5), w=values(1, 2, 5))]).save(path, compress)
    expected = read_all(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = 0
    places = [*range(0, len(content), max(1, len(content) // 400)), *range(len(content) - 300, len(content))]
    for at in places:
        bad = patched(path, (at, bytes([content[at] ^ int(rng.integers(1, 256))])))
        try:
            arrays = read_all(bad)
        except TraceError:
            refusals += 1
        else:
            for array, original in zip(arrays, expected, strict=True):
                np.testing.assert_array_equal(array, original)
    assert refusals > len(places) // 3
