"""Traces of a kilobyte that claim terabytes, and archives that other tools have edited: one line each, before anything
is allocated.
"""

import json
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simhw import Layer, Trace, load_trace, simulate
from simhw.errors import TraceError
from simhw.lowering import lower
from simhw.lowering.validate import validate_trace
from simhw.trace.archive import Limits
from simhw.trace.find import find_trace
from simhw.trace.layer import InMemory, ProductBlock
from simhw.trace.reader import trace_hash
from tests.bounded import run_simhw
from tests.places import SHARED
from tests.trace_files import patched, read_all, refused, sampled_trace, small_trace, values, with_member, with_metadata

CASES = SHARED / "cases"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "good.npz"
    sampled_trace().save(path)
    return path


# Sizes that are only claimed


def shape_only(path: Path, kind: str, a: tuple[int, ...], w: tuple[int, ...], **geometry: int) -> Path:
    Trace([Layer("l", kind, geometry, shapes={"a": a, "w": w}, operations=["forward"])]).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "a", "w", "geometry", "words"),
    [
        ("linear", (1 << 40, 1 << 40, 1), (1, 1), {}, "tensor A of shape"),
        ("matmul", (1 << 33, 1, 1), (1 << 33, 1, 1), {}, "tensor A of shape"),
        ("conv1d", (1, 1, 4), (1, 1, 1), {"padding": 1 << 33}, "with padding (8589934592,)"),
        ("conv1d", (1, 1, 1 << 20), (1 << 20, 1, 1), {}, "the output of input"),
        ("conv_transpose1d", (1, 1, 4), (1, 1, 1), {"stride": 1 << 33}, "with padding"),
    ],
)
def test_claims_beyond_one_tensor_are_refused(
    tmp_path: Path, kind: str, a: tuple[int, ...], w: tuple[int, ...], geometry: dict[str, int], words: str
) -> None:
    refused(
        shape_only(tmp_path / "t.npz", kind, a, w, **geometry), "layer 'l'", words, "SIMHW_MAX_TENSOR_BYTES", read=False
    )


def test_padding_far_beyond_what_is_held_is_refused(tmp_path: Path) -> None:
    # 2 x 2^23 + 4 input values and as many positions: 10 bytes each are 168 MB, the layer holds 10.
    for padding, fits in ((1 << 23, False), (1 << 10, True)):
        Trace([Layer("l", "conv1d", {"padding": padding}, values(0, 1, 1, 4), values(1, 1, 1, 1))]).save(
            tmp_path / "t.npz"
        )
        if fits:
            read_all(tmp_path / "t.npz")
        else:
            refused(tmp_path / "t.npz", "far beyond what the file holds", read=False)


def test_a_stride_beyond_the_input_costs_nothing() -> None:
    # Inputs 0 to 2 of a kernel of 2 at a stride of 2^30: each kernel position is a phase of one input position.
    layer = Layer("l", "conv1d", {"stride": 1 << 30}, shapes={"a": (1, 1, 3), "w": (1, 1, 2), "g": (1, 1, 1)})
    assert [(family.m, family.segments, family.fed) for family in lower(layer, "input_grad", 8)] == [
        (1, 1, 1),
        (1, 1, 1),
    ]


def test_a_stride_of_more_families_than_any_network_has_is_refused() -> None:
    layer = Layer("l", "conv1d", {"stride": 5000}, shapes={"a": (1, 1, 5000), "w": (1, 1, 5000), "g": (1, 1, 1)})
    with pytest.raises(TraceError, match="splits it into 5000 families of products, over 4096"):
        lower(layer, "input_grad", 8)


def claimed_sample(a: tuple[int, ...], w: tuple[int, ...], kind: str = "linear", rows: int = 16) -> Layer:
    block = ProductBlock(0, 0, 0, 0, InMemory(values(0, rows, a[-1])), InMemory(values(1, 1, a[-1])))
    return Layer("l", kind, shapes={"a": a, "w": w}, blocks={"forward": [block]}, operations=["forward"])


def test_a_part_of_a_cell_is_no_sample_of_it() -> None:
    with pytest.raises(TraceError, match="is not all 16 rows of its cell"):
        lower(claimed_sample((64, 3), (1, 3), rows=8), "forward", 8)


def test_claimed_products_of_a_sample_are_bounded() -> None:
    with pytest.raises(TraceError, match="claims 2097152 products"):
        lower(claimed_sample((1 << 21, 16, 1), (1 << 21, 1, 1), "matmul"), "forward", 8)


def test_a_sample_stands_for_a_bounded_number_of_cells() -> None:
    layer = claimed_sample((1 << 29, 1), (1, 1))
    layer.statistics |= sampled_trace().layers[0].statistics
    with pytest.raises(
        TraceError, match="claims 33554432 cells of 16 x 16 rows, far more than 1 sampled blocks can stand for"
    ):
        simulate(Trace([layer]), "fpraker", progress=False)


# What is not there


def test_a_layer_without_values_is_refused_by_validate_and_by_run(tmp_path: Path) -> None:
    trace = load_trace(shape_only(tmp_path / "t.npz", "linear", (2, 5), (3, 5)))
    for action in (lambda: validate_trace(trace), lambda: simulate(trace, "tensordash", progress=False)):
        with pytest.raises(TraceError, match="operation forward: the trace holds neither tensor A nor W nor a sample"):
            action()


def test_a_sample_without_statistics_is_refused_by_validate_and_by_run(sample: Path) -> None:
    def forget(record: dict[str, Any]) -> None:
        record["layers"][0]["tensors"]["w"]["statistics"] = None

    trace = load_trace(with_metadata(sample, forget))
    for action in (lambda: validate_trace(trace), lambda: simulate(trace, "tensordash", progress=False)):
        with pytest.raises(TraceError, match="sampled, but without statistics of tensor W"):
            action()


def test_missing_compressed_sizes_are_measured_where_the_tensor_is_held(good: Path) -> None:
    def forget(record: dict[str, Any]) -> None:
        for layer in record["layers"]:
            for tensor in layer["tensors"].values():
                tensor["statistics"]["compressed_bytes"] = {}

    trace, whole = load_trace(with_metadata(good, forget)), load_trace(good)
    validate_trace(trace)
    one, other = (simulate(each, "fpraker", progress=False).operations[0].cost.memory for each in (trace, whole))
    assert one is not None
    assert other is not None
    assert one.traffic_bytes == other.traffic_bytes


def test_missing_compressed_sizes_of_a_sample_are_refused(sample: Path) -> None:
    bad = with_metadata(
        sample, lambda record: record["layers"][0]["tensors"]["a"]["statistics"]["compressed_bytes"].pop("bdc")
    )
    refused(bad, "its statistics lack the compressed size 'bdc', and it is not there to be measured", read=False)


def test_statistics_of_as_many_images_as_a_convolution_has_outputs_are_refused(good: Path) -> None:
    def split(record: dict[str, Any]) -> None:
        statistics = record["layers"][0]["tensors"]["w"]["statistics"]  # (4, 3, 3, 3): weights have one entry
        statistics["zeros_per_image"] += [0, 0, 0]
        statistics["terms_per_image"] += [0, 0, 0]

    refused(with_metadata(good, split), "statistics of W have neither one entry nor one per index", read=False)


# Metadata


def metadata(extra: str) -> bytes:
    record = json.dumps({"format": "simhw-trace", "format_version": 1, "extra": "X"})
    return record.replace('"X"', extra).encode()


@pytest.mark.parametrize(
    "extra",
    [
        '{"x": [' + "[]," * 1_000_000 + "[]]}",
        '{"x": [' + "{}," * 300_000 + "{}]}",
        "{" + ",".join(f'"{i:x}":0' for i in range(400_000)) + "}",
        '{"x": [' + "1000," * 1_000_000 + "0]}",
        '{"x": "' + "\\u20ac" * 2_000_000 + '"}',
    ],
)
def test_metadata_that_unfolds_in_memory_is_refused_before_it_is_parsed(good: Path, extra: str) -> None:
    bad = good.with_name("bad.npz")
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", metadata(extra))
    refused(bad, "would take over 5", "SIMHW_MAX_METADATA_BYTES", read=False)


def test_metadata_of_a_thousand_measured_layers_is_accepted_beside_its_sample(tmp_path: Path) -> None:
    # A layer's three tensors with their histograms; a sample of a cell of each operation takes at least 4 kB of the
    # file.
    layers = []
    for index in range(1000):
        layers.append(Layer(f"layer{index}", "linear", a=values(0, 8, 128), w=values(1, 2, 128), g=values(2, 8, 2)))
    Trace(layers).save(tmp_path / "t.npz")
    assert len(load_trace(tmp_path / "t.npz").layers) == 1000


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_could_not_be_written_again_is_refused(good: Path, number: str) -> None:
    content = json.dumps(json.loads(zipfile.ZipFile(good).read("metadata.json")) | {"extra": {"x": [0]}}).replace(
        "[0]", f"[{number}]", 1
    )
    assert content.count(number) == 1
    refused(with_member(good, "metadata.json", content.encode()), "metadata.json", read=False)


@pytest.mark.parametrize("change", [lambda r: r.update(seed=10**5000), lambda r: r["extra"].update(x=10**5000)])
def test_a_number_of_absurd_length_is_refused(
    good: Path, change: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(sys, "set_int_max_str_digits", sys.set_int_max_str_digits)
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        bad = with_metadata(good, change)
    finally:
        sys.set_int_max_str_digits(before)
    refused(bad, "metadata.json", read=False)


# Archives


def test_an_empty_zip_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "t.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    refused(tmp_path / "t.npz", "has no metadata.json", read=False)


def end_of(path: Path) -> int:
    return path.stat().st_size - 22


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (8, b"\x01\x00\x01\x00"),  # fewer members than the directory has
        (10, b"\xff\xff"),  # in a zip64 end that is not there
        (12, b"\xff\xff\xff\xff"),
        (12, b"\x00\x00\x00\x00"),
        (16, b"\x00\x00\x00\x00"),
        (16, b"\xff\xff\xff\x7f"),
        (4, b"\x01\x00"),  # another disk
    ],
)
def test_an_end_record_that_does_not_fit_is_refused(good: Path, at: int, new: bytes) -> None:
    refused(patched(good, (end_of(good) + at, new)), "is cut off or damaged", read=False)


def test_a_zip64_end_is_read(good: Path) -> None:
    content = good.read_bytes()
    end = end_of(good)
    _, _, _, number, _, size, offset, _ = struct.unpack("<4s4H2IH", content[end:])
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, number, number, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    record = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    same = good.with_name("same.npz")
    same.write_bytes(content[:end] + end64 + locator + record)
    assert len(zipfile.ZipFile(same).namelist()) == number
    assert trace_hash(same) == trace_hash(good)
    far = good.with_name("bad.npz")
    far.write_bytes(content[:end] + end64 + struct.pack("<4sIQI", b"PK\x06\x07", 0, 1 << 62, 1) + record)
    refused(far, "is cut off or damaged", read=False)


def test_folders_that_other_zip_tools_add_are_passed_over(good: Path) -> None:
    same = good.with_name("same.npz")
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(same, "w", zipfile.ZIP_DEFLATED) as target:
        target.mkdir("layers")
        target.mkdir("layers/0000")
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    assert trace_hash(same) == trace_hash(good)
    for one, other in zip(read_all(same), read_all(good), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_long_name_is_not_quoted_whole(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("x" * 65_000 + ":", b"")
    assert len(refused(tmp_path / "t.npz", "not a name that a trace has", read=False)) < 250


# Names and places


@pytest.mark.parametrize("name", ["x" * 300, "/" + "x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(TraceError) as caught:
        find_trace(name)
    assert len(str(caught.value)) < 400


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_file = Path.is_file

    def denied(path: Path) -> bool:
        if path.parent != tmp_path:
            return is_file(path)
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)  # whoever runs this may be allowed everything
    with pytest.raises(TraceError, match="cannot be looked up: Permission denied"):
        find_trace(tmp_path / "t.npz")


@pytest.mark.parametrize("compress", [False, True])
def test_written_bytes_are_those_of_the_file(tmp_path: Path, compress: bool) -> None:
    for trace in (small_trace(), sampled_trace()):
        trace.save(tmp_path / "t.npz", compress)
        assert trace.saved_bytes(compress) == (tmp_path / "t.npz").stat().st_size


def test_a_limit_on_claims_can_be_lowered(good: Path) -> None:
    bad = shape_only(good, "linear", (100, 10), (3, 10))
    refused(bad, "claims 1000 values, more than 500 for one tensor", read=False, limits=Limits(tensor_bytes=1000))


@pytest.mark.slow  # two processes an input
@pytest.mark.skipif(not CASES.is_dir(), reason="the inputs that failed are not beside this checkout")
@pytest.mark.parametrize("name", sorted(path.name for path in CASES.glob("*.npz")))
def test_inputs_that_failed_give_success_or_one_line(name: str) -> None:
    for arguments in (
        ("trace", "validate", str(CASES / name)),
        ("run", "--trace", str(CASES / name), "--pe", "tensordash"),
    ):
        done = run_simhw(*arguments)
        assert done.code in (0, 2), done.err
        assert "Traceback" not in done.err
        assert done.peak_bytes < 256 << 20
        assert done.code == 0 or len(done.err.strip().splitlines()[-1]) <= 400
