"""Trace files: what is written comes back bit by bit, lazily, and NaN and infinity do not pass unseen."""

import ast
import pickle
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simhw import Layer, Trace, load_trace
from simhw.bfloat16 import BF16Array
from simhw.errors import SimhwError, TraceError
from simhw.trace.archive import Archive, Limits, let_go
from simhw.trace.layer import InMemory, ProductBlock
from simhw.trace.metadata import Metadata
from simhw.trace.reader import trace_hash
from simhw.trace.statistics import layer_statistics
from tests.trace_files import (
    convolution,
    forged_header,
    large_trace,
    patched,
    read_all,
    sampled_trace,
    small_trace,
    values,
    with_member,
    with_metadata,
)

# Round trips


@pytest.mark.parametrize("compress", [False, True])
def test_trace_comes_back_as_it_was(tmp_path: Path, compress: bool) -> None:
    original = small_trace()
    original.save(tmp_path / "t.npz", compress=compress)
    back = load_trace(tmp_path / "t.npz")
    assert back.metadata == original.metadata
    assert back.path == str(tmp_path / "t.npz")
    assert [layer.name for layer in back.layers] == ["conv", "fc"]
    for layer, source in zip(back.layers, original.layers, strict=True):
        assert (layer.kind, layer.geometry, layer.shapes, layer.operations) == (
            source.kind,
            source.geometry,
            source.shapes,
            source.operations,
        )
        for tensor in ("a", "w", "g"):
            np.testing.assert_array_equal(layer.source(tensor).read(), source.source(tensor).read())


@pytest.mark.parametrize("compress", [False, True])
def test_tensors_are_read_without_pythons_compiler(
    tmp_path: Path, compress: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPython 3.11 fails at random when two threads build syntax trees, and numba does while tensors are read."""
    large_trace(tmp_path / "mapped.npz")
    small_trace().save(tmp_path / "t.npz", compress=compress)

    parsed: list[object] = []
    parse = ast.parse
    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", lambda *args, **options: parsed.append(args) or parse(*args, **options))
        arrays = read_all(tmp_path / "mapped.npz") + read_all(tmp_path / "t.npz")
    assert len(arrays) == 9
    assert not parsed


@pytest.mark.parametrize(
    "shape",
    ["(2, 4, 3, 3)", "(2,4,3,3)", "(2, 4, 3, 3,)", "(1 + 1, 4, 3, 3)", "( 2, 4, 3, 3 )"],
    ids=["numpy", "tight", "comma", "sum", "gaps"],
)
def test_header_may_be_spelled_another_way(good: Path, shape: str) -> None:
    """What numpy itself would read is read, and what it would not is refused."""
    values_of_g = load_trace(good).layers[0].source("g").read()
    path = with_member(good, "layers/0000/g.npy", forged_header("'<u2'", False, shape, values_of_g.tobytes()))
    if "+" in shape:
        with pytest.raises(TraceError, match=r"not a \.npy array"):
            read_all(path)
    else:
        np.testing.assert_array_equal(load_trace(path).layers[0].source("g").read(), values_of_g)


@pytest.mark.parametrize("compress", [False, True])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lead=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
def test_any_finite_bit_pattern_comes_back(
    tmp_path: Path, compress: bool, lead: list[int], inputs: int, outputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # All patterns but NaN and infinity: -0, subnormals and the extremes among them.
    finite = np.array([bits for bits in range(1 << 16) if bits & 0x7F80 != 0x7F80], np.uint16)
    a, w, g = (rng.choice(finite, shape) for shape in ((*lead, inputs), (outputs, inputs), (*lead, outputs)))
    a.flat[0] = 0x8000
    Trace([Layer("l", "linear", a=a, w=w, g=g)]).save(tmp_path / "t.npz", compress)
    layer = load_trace(tmp_path / "t.npz").layers[0]
    for back, original in ((layer.a, a), (layer.w, w), (layer.g, g)):
        assert back.dtype == np.uint16
        np.testing.assert_array_equal(back, original)


@pytest.mark.parametrize("compress", [False, True])
def test_tensor_of_several_megabytes_comes_back(tmp_path: Path, compress: bool) -> None:
    # Larger than a piece of the reader, and large enough to be mapped where it is stored.
    a = np.random.default_rng(0).integers(0, 0x4000, (3, 700_001)).astype(np.uint16)
    Trace([Layer("l", "linear", a=a, w=values(1, 2, 700_001))]).save(tmp_path / "t.npz", compress)
    np.testing.assert_array_equal(load_trace(tmp_path / "t.npz").layers[0].a, a)


def test_views_of_any_memory_order_come_back(tmp_path: Path) -> None:
    a = values(0, 6, 6, 3, 2).transpose(3, 2, 1, 0)
    w = np.asfortranarray(values(1, 4, 3, 3, 3))
    Trace([Layer("l", "conv2d", a=a, w=w)]).save(tmp_path / "t.npz")
    layer = load_trace(tmp_path / "t.npz").layers[0]
    np.testing.assert_array_equal(layer.a, a)
    np.testing.assert_array_equal(layer.w, w)


def test_sampled_layer_keeps_its_blocks_population_and_statistics(tmp_path: Path) -> None:
    original = sampled_trace()
    original.save(tmp_path / "s.npz", compress=True)
    back = load_trace(tmp_path / "s.npz")
    assert back.sampled
    layer, source = back.layers[0], original.layers[0]
    assert layer.shapes == source.shapes
    assert layer.operations == ("forward",)
    assert not layer.holds("a")
    for block, first in zip(layer.blocks["forward"], source.blocks["forward"], strict=True):
        assert (block.family, block.product, block.x_start, block.y_start) == (0, 0, first.x_start, first.y_start)
        np.testing.assert_array_equal(block.x.read(), first.x.read())
        np.testing.assert_array_equal(block.y.read(), first.y.read())
    np.testing.assert_array_equal(layer.statistics["a"].exponents, source.statistics["a"].exponents)
    assert layer.statistics["g"].compressed_bytes == source.statistics["g"].compressed_bytes


def test_statistics_are_measured_on_writing(good: Path) -> None:
    layer, source = load_trace(good).layers[0], small_trace().layers[0]
    expected = layer_statistics(source, "g")
    np.testing.assert_array_equal(layer.statistics["g"].terms_per_image, expected.terms_per_image)
    np.testing.assert_array_equal(layer.statistics["g"].exponents, expected.exponents)
    assert set(layer.statistics) == {"a", "w", "g"}


def test_statistics_of_capture_are_kept(tmp_path: Path) -> None:
    layer = convolution()
    recorded = layer_statistics(layer, "a")
    recorded.compressed_bytes["bdc"] = 12345  # a value that measuring would not give
    layer.statistics["a"] = recorded
    Trace([layer]).save(tmp_path / "t.npz")
    assert load_trace(tmp_path / "t.npz").layers[0].statistics["a"].compressed_bytes["bdc"] == 12345


def test_file_is_an_ordinary_npz_for_other_tools(good: Path) -> None:
    with np.load(good, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["layers/0000/a"], small_trace().layers[0].a)


def test_equal_traces_give_equal_files(tmp_path: Path) -> None:
    small_trace().save(tmp_path / "1.npz")
    small_trace().save(tmp_path / "2.npz")
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


# Laziness


def test_stored_tensor_is_mapped_aligned_and_private(tmp_path: Path) -> None:
    path = large_trace(tmp_path / "t.npz")
    before = path.read_bytes()
    a = load_trace(path).layers[0].a
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(path) in maps.read_text()
    assert a.ctypes.data % 64 == 0
    a[:] = 0  # the mapping is copy-on-write: the file is not touched
    assert path.read_bytes() == before


def _file_bytes_held() -> int:
    """Bytes of files that this process has in memory through mappings."""
    status = Path("/proc/self/status")
    held = re.search(r"RssFile:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if held is None:
        pytest.skip("the system does not tell what mappings hold")
    return 1024 * int(held[1])


def test_a_mapped_tensor_is_held_where_it_was_asked_for_not_where_it_was_checked(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 1 << 14, (4, 2 << 20)).astype(np.uint16)  # 16 MiB, all finite
    Trace([Layer("fc", "linear", a=values, w=values)], Metadata("m")).save(tmp_path / "t.npz")
    layer = load_trace(tmp_path / "t.npz").layers[0]
    before = _file_bytes_held()
    a = layer.a
    checked = _file_bytes_held() - before
    assert checked < values.nbytes / 4
    a[0] = 7
    np.testing.assert_array_equal(a[1:], values[1:])
    assert _file_bytes_held() - before > values.nbytes / 2
    let_go(a[2:])
    np.testing.assert_array_equal(a[1:], values[1:])
    # Neither that nor another reading, which looks at the file again, undoes what was written.
    np.testing.assert_array_equal(layer.a, values)
    assert (a[0] == 7).all()


def test_letting_go_of_values_in_memory_does_nothing() -> None:
    values = np.arange(5000, dtype=np.uint16)
    let_go(values)
    np.testing.assert_array_equal(values, np.arange(5000))


def test_tensors_lie_at_multiples_of_64_bytes(good: Path) -> None:
    for layer in small_trace().layers:
        for tensor in ("a", "w", "g"):
            assert good.read_bytes().index(layer.source(tensor).read().tobytes()) % 64 == 0


def test_damaged_tensor_does_not_hinder_reading_the_others(good: Path) -> None:
    at = good.read_bytes().index(small_trace().layers[1].a.tobytes())
    bad = patched(good, (at, b"\x01\x02\x03\x04"))
    first, second = load_trace(bad).layers
    np.testing.assert_array_equal(first.a, small_trace().layers[0].a)
    np.testing.assert_array_equal(second.w, small_trace().layers[1].w)
    with pytest.raises(
        TraceError, match=r"layer 'fc', tensor A: member 'layers/0001/a\.npy' is damaged: its checksum is wrong"
    ):
        _ = second.a


class Generated:
    """A megabyte that exists only while it is read."""

    shape = (512, 1024)

    def read(self) -> BF16Array:
        return np.random.default_rng(0).integers(0, 0x4000, self.shape).astype(np.uint16)


@pytest.mark.parametrize("compress", [False, True])
def test_memory_does_not_grow_with_the_number_of_layers(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "t.npz"
    trace = Trace([Layer(f"layer{index}", "linear", a=Generated(), w=values(1, 2, 1024)) for index in range(24)])
    tracemalloc.start()
    try:
        trace.save(path, compress)
        for layer in load_trace(path).layers:
            layer.a.sum()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A tensor, its 64-bit random numbers and buffers take some 6 MB; the 24 layers together 24 MB.
    assert peak < 10_000_000


def test_nothing_is_kept_between_reads(tmp_path: Path) -> None:
    layer = load_trace(large_trace(tmp_path / "t.npz")).layers[0]
    first = layer.a
    first[:] = 0
    assert layer.a.any()


def test_blocks_of_a_small_sample_are_read_once_and_travel_without_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.npz"
    sampled_trace().save(path, compress=True)

    def block(trace: Trace) -> ProductBlock:
        return next(layer for layer in trace.layers if layer.sampled).blocks["forward"][0]

    kept = block(load_trace(path))
    expected = kept.x.read().copy()
    path.rename(tmp_path / "away.npz")
    np.testing.assert_array_equal(kept.x.read(), expected)
    for unread in (kept.y, pickle.loads(pickle.dumps(kept.x))):
        with pytest.raises(TraceError, match="No such file"):
            unread.read()
    (tmp_path / "away.npz").rename(path)
    monkeypatch.setattr("simhw.trace.reader.KEPT_BYTES", Archive(path, Limits()).unpacked_bytes - 1)
    large = block(load_trace(path))
    assert large.x.read() is not large.x.read()


def test_trace_travels_to_another_process(good: Path) -> None:
    layer = pickle.loads(pickle.dumps(load_trace(good).layers[0]))
    np.testing.assert_array_equal(layer.a, small_trace().layers[0].a)


def test_file_that_changes_after_loading_is_noticed(good: Path) -> None:
    trace = load_trace(good)
    Trace([convolution("other")]).save(good)
    with pytest.raises(TraceError, match="changed since it was opened"):
        _ = trace.layers[0].a


def test_file_that_vanishes_after_loading_is_noticed(good: Path) -> None:
    trace = load_trace(good)
    good.unlink()
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        _ = trace.layers[0].a


def test_trace_can_be_written_over_the_file_it_is_read_from(good: Path) -> None:
    trace = load_trace(good)
    trace.save(good, compress=True)
    np.testing.assert_array_equal(load_trace(good).layers[1].g, small_trace().layers[1].g)


# Writing


class Interrupting:
    shape = (2, 5)

    def read(self) -> BF16Array:
        raise KeyboardInterrupt


def test_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    layers = [convolution(), Layer("fc", "linear", a=Interrupting(), w=values(1, 3, 5))]
    with pytest.raises(KeyboardInterrupt):
        Trace(layers).save(tmp_path / "t.npz")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_write_leaves_the_older_file_alone(good: Path) -> None:
    before = good.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        Trace([convolution(), Layer("fc", "linear", a=Interrupting(), w=values(1, 3, 5))]).save(good)
    assert good.read_bytes() == before
    assert [file.name for file in good.parent.iterdir()] == ["good.npz"]


def test_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SimhwError, match="cannot be written: No such file or directory"):
        small_trace().save(tmp_path / "missing" / "t.npz")


def one_block(x_start: int, x: BF16Array, y: BF16Array) -> Trace:
    blocks = {"forward": [ProductBlock(0, 0, x_start, 0, InMemory(x), InMemory(y))]}
    return Trace([Layer("l", "linear", shapes={"a": (4, 8), "w": (3, 8)}, blocks=blocks)])


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (Trace([convolution(), convolution()]), "two layers have the name 'conv'"),
        (Trace([]), "at least 1 item"),
        (Trace([convolution("a\nb")]), "printable"),
        (Trace([convolution()], Metadata(extra={"array": object()})), "metadata.extra cannot be written as JSON"),
        (Trace([convolution()], Metadata(extra={"loss": float("nan")})), "metadata.extra cannot be written as JSON"),
        (one_block(0, values(0, 4, 8), values(0, 3, 7)), "one K"),
        (one_block(8, values(0, 4, 8), values(0, 3, 8)), "multiple of 16"),
    ],
)
def test_trace_that_no_file_can_hold_is_refused(tmp_path: Path, trace: Trace, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        trace.save(tmp_path / "t.npz")
    assert list(tmp_path.iterdir()) == []


# Content hash


def test_hash_is_the_same_for_a_compressed_copy_and_differs_for_other_values(tmp_path: Path) -> None:
    other = small_trace()
    bits = other.layers[1].w.copy()
    bits[0, 0] ^= 1
    other.layers[1] = Layer(
        "fc", "linear", a=other.layers[1].a, w=bits, g=other.layers[1].g, operations=other.layers[1].operations
    )
    small_trace().save(tmp_path / "stored.npz")
    small_trace().save(tmp_path / "deflated.npz", compress=True)
    other.save(tmp_path / "other.npz")
    stored, deflated, changed = (trace_hash(tmp_path / f"{name}.npz") for name in ("stored", "deflated", "other"))
    assert stored == deflated
    assert stored != changed
    assert len(stored) == 16


def test_hash_covers_the_metadata(good: Path) -> None:
    assert trace_hash(with_metadata(good, lambda record: record.update(seed=1))) != trace_hash(good)


# NaN and infinity


def with_nonfinite(path: Path, compress: bool, size: int = 0) -> Path:
    g = values(3, 2, 4, 3, 3) if not size else values(3, 1, 4, size, size)
    g[0, 1, 2, 1] = 0x7FC0  # NaN
    g[-1, 2, 0, 0] = 0xFFC1  # NaN
    g[-1, 3, 2, 2] = 0xFF80  # -Inf
    a = values(1, g.shape[0], 3, g.shape[2] + 2, g.shape[3] + 2)
    Trace([Layer("layer3.1.conv2", "conv2d", a=a, w=values(2, 4, 3, 3, 3), g=g)]).save(path, compress)
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_nonfinite_values_are_refused_with_count_and_first_index(tmp_path: Path, compress: bool) -> None:
    path = with_nonfinite(tmp_path / "resnet50.npz", compress)
    layer = load_trace(path).layers[0]
    assert layer.a.shape == (2, 3, 5, 5)  # the other tensors are fine
    with pytest.raises(TraceError) as caught:
        _ = layer.g
    assert str(caught.value) == (
        "resnet50.npz: layer 'layer3.1.conv2', tensor G: 2 NaN and 1 Inf (first at index (0, 1, 2, 1)); "
        "training diverged? use --nonfinite zero to treat them as 0"
    )


@pytest.mark.parametrize("size", [0, 600])  # 600 x 600 x 4 values take several pieces and are mapped
@pytest.mark.parametrize("compress", [False, True])
def test_nonfinite_values_become_zero_on_request(tmp_path: Path, compress: bool, size: int) -> None:
    path = with_nonfinite(tmp_path / "t.npz", compress, size)
    g = load_trace(path, nonfinite="zero").layers[0].g
    expected = values(3, 2, 4, 3, 3) if not size else values(3, 1, 4, size, size)
    expected[0, 1, 2, 1] = expected[-1, 2, 0, 0] = expected[-1, 3, 2, 2] = 0
    np.testing.assert_array_equal(g, expected)


def test_unknown_word_for_nonfinite_is_refused(good: Path) -> None:
    with pytest.raises(TraceError, match="give 'error' or 'zero'"):
        load_trace(good, nonfinite="ignore")  # type: ignore[arg-type]
