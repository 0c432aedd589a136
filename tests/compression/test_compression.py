"""Both formats against bit strings written down by their definition, against bytes worked out by hand, and against
damage.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from simhw.bfloat16 import BF16Array, from_float32
from simhw.compression import CODECS, Codec, Encoded, base_delta, zero
from simhw.errors import ShapeError
from simhw.trace.statistics import tensor_statistics

both_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def bit_string(number: int, bits: int) -> str:
    """The low bits of a number, least significant first."""
    return "".join(str(number >> bit & 1) for bit in range(bits))


def as_bytes(bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    return bytes(int(padded[start : start + 8][::-1], 2) for start in range(0, len(padded), 8))


def groups_of(values: BF16Array, axis: int) -> Iterator[list[int]]:
    """Groups in C order of (axes before the channels, group, axes behind)."""
    before, behind = values.shape[:axis], values.shape[axis + 1 :]
    for outer in np.ndindex(before):
        for start in range(0, values.shape[axis], 32):
            for inner in np.ndindex(behind):
                yield values[(*outer, slice(start, start + 32), *inner)].tolist()


def plain_bdc(values: BF16Array, axis: int) -> bytes:
    plane = bytes(value >> 8 & 0x80 | value & 0x7F for value in values.ravel().tolist())
    stream = ""
    for group in groups_of(values, axis):
        base, *others = [value >> 7 & 0xFF for value in group]
        deltas = [exponent - base for exponent in others]
        fits = [w for w in range(7) if all((-(2**w) // 2 <= d <= (2**w) // 2 - 1) if w else d == 0 for d in deltas)]
        stream += bit_string(base, 8) + bit_string(fits[0] if fits else 7, 3)
        stream += "".join(bit_string(d, fits[0]) for d in deltas) if fits else "".join(bit_string(e, 8) for e in others)
    return plane + as_bytes(stream)


def plain_zero(values: BF16Array, _axis: int = 0) -> bytes:
    flat = values.ravel().tolist()
    mask = as_bytes("".join("01"[value != 0] for value in flat))
    return mask + b"".join(value.to_bytes(2, "little") for value in flat if value)


PLAIN = {"bdc": plain_bdc, "zero": plain_zero}

# Exponents at both ends, both zeros, subnormals, infinities, NaN with payloads, and neighbours of 1.0.
SPECIAL = [
    0x0000,
    0x8000,
    0x0001,
    0x807F,
    0x0080,
    0x7F7F,
    0x7F80,
    0xFF80,
    0x7FC1,
    0xFFFF,
    0x7F81,
    0x3F80,
    0xBF7F,
    0x4000,
]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[BF16Array, int]:
    """A tensor with a channel axis: any bits, special values, or exponents about one base that reach every width."""
    shape = draw(st.lists(st.integers(0, 70), min_size=1, max_size=5).filter(lambda s: prod(s) <= 1500))
    axis = draw(st.integers(0, len(shape) - 1))
    kind = draw(st.sampled_from(["any", "special", "near", "sparse"]))
    if kind == "special":
        return draw(arrays.arrays(np.uint16, shape, elements=st.sampled_from(SPECIAL))), axis
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    bits = rng.integers(0, 1 << 16, shape).astype(np.uint16)
    if kind == "near":
        spread = draw(st.integers(0, 40))
        exponents = np.clip(draw(st.integers(0, 255)) + rng.integers(-spread, spread + 1, shape), 0, 255)
        bits = ((bits & 0x807F) | exponents << 7).astype(np.uint16)
    if kind == "sparse":
        bits[rng.random(shape) < draw(st.sampled_from([0.02, 0.5, 0.98, 1.0]))] = 0
    return bits, axis


def relu(shape: tuple[int, ...], seed: int = 0) -> BF16Array:
    return from_float32(np.maximum(np.random.default_rng(seed).standard_normal(shape, np.float32), 0))


def gradient(shape: tuple[int, ...], seed: int = 0) -> BF16Array:
    return from_float32(1e-4 * np.random.default_rng(seed).standard_normal(shape, np.float32))


@both_codecs
@settings(max_examples=150)
@given(tensor=tensors())
def test_payload_equals_the_bit_strings_of_the_definition_and_decodes_to_the_same_bits(
    codec: Codec, tensor: tuple[BF16Array, int]
) -> None:
    values, axis = tensor
    encoded = codec.encode(values, axis)
    assert encoded.payload.tobytes() == PLAIN[encoded.codec](values, axis)
    decoded = codec.decode(encoded)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, values)


@both_codecs
@pytest.mark.parametrize("order", ["ascending", "shuffled"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_bit_pattern_comes_back(codec: Codec, order: str, axis: int) -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    if order == "shuffled":
        np.random.default_rng(0).shuffle(patterns)
    values = patterns.reshape(32, 32, 64)
    np.testing.assert_array_equal(codec.decode(codec.encode(values, axis)), values)


@both_codecs
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2, 70, 13, 21), 1),
        ((3, 4100), 1),
        ((2, 8200), -1),
        ((5, 33), 0),
        ((2, 3, 150), 1),
        ((1, 4096, 1), 1),
        ((4, 4097, 1), 1),
    ],
)
@pytest.mark.parametrize("kind", [relu, gradient])
def test_tensors_that_take_several_batches_equal_the_definition(
    codec: Codec, shape: tuple[int, ...], axis: int, kind
) -> None:
    # The kernels take 128 groups at a time, along a row of channels (4096 of them) or along the axes behind.
    values = kind(shape)
    encoded = codec.encode(values, axis)
    assert encoded.payload.tobytes() == PLAIN[encoded.codec](values, axis % len(shape))
    np.testing.assert_array_equal(codec.decode(encoded), values)


@settings(max_examples=150)
@given(tensor=tensors())
def test_sizes_are_those_of_the_statistics(tensor: tuple[BF16Array, int]) -> None:
    values, axis = tensor
    recorded = tensor_statistics(values, axis).compressed_bytes
    assert base_delta.encode(values, axis).nbytes == recorded["bdc"]
    # The statistics count what the machines see: -0 and subnormals are flushed.
    flushed = np.where(values & 0x7F80, values, 0).astype(np.uint16)
    assert zero.encode(flushed, axis).nbytes == recorded["zero"]
    with_flush = zero.encode(values, axis, flush=True)
    assert with_flush.payload.tobytes() == zero.encode(flushed, axis).payload.tobytes()
    np.testing.assert_array_equal(zero.decode(with_flush), flushed)


def test_without_flush_minus_zero_and_subnormals_are_kept() -> None:
    values = np.array([0x0000, 0x8000, 0x0001, 0x807F, 0x3F80], np.uint16)
    assert zero.encode(values).nbytes == 1 + 2 * 4
    assert zero.encode(values, flush=True).nbytes == 1 + 2 * 1
    np.testing.assert_array_equal(zero.decode(zero.encode(values)), values)


def test_zero_payload_worked_out_by_hand() -> None:
    # Values 1, 3 and 8 of nine are not zero: mask bits 1 and 3 of byte 0 (0x0A), bit 0 of byte 1; then three values,
    # low byte first.
    values = np.array([0, 0x3F80, 0, 0xC040, 0, 0, 0, 0, 0x0001], np.uint16)
    assert zero.encode(values).payload.tobytes() == bytes.fromhex("0a01 803f 40c0 0100")


def test_bdc_payload_worked_out_by_hand() -> None:
    # 1.0, -0.5, 1.5, 3.0: exponents 127, 126, 127, 128, deltas -1, 0, +1 in 2 bits.  Signs and fractions: 00 80 40 40.
    # Stream, least significant bit first: base 127 = 1111 1110, width 2 = 010, -1 = 11, 0 = 00, +1 = 10: 17 bits.
    # As a number: 127 + (2 << 8) + (3 << 11) + (0 << 13) + (1 << 15) = 0x9A7F, and a last byte of zeros.
    values = np.array([0x3F80, 0xBF00, 0x3FC0, 0x4040], np.uint16)
    assert base_delta.encode(values).payload.tobytes() == bytes.fromhex("00804040 7f9a00")


@both_codecs
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4), (2, 0, 5), (2, 3, 0)])
def test_empty_tensor_takes_no_bytes_and_keeps_its_shape(codec: Codec, shape: tuple[int, ...]) -> None:
    for axis in range(len(shape)):
        encoded = codec.encode(np.zeros(shape, np.uint16), axis)
        assert encoded.nbytes == 0
        assert encoded.ratio == 1.0
        assert codec.decode(encoded).shape == shape


@both_codecs
def test_tensor_that_is_not_contiguous_or_not_writable_encodes_the_same(codec: Codec) -> None:
    values = gradient((5, 6, 7, 40)).transpose(0, 3, 1, 2)
    expected = codec.encode(np.ascontiguousarray(values), 1)
    assert codec.encode(values, 1).payload.tobytes() == expected.payload.tobytes()
    frozen = np.ascontiguousarray(values)
    frozen.setflags(write=False)
    assert codec.encode(frozen, -3).payload.tobytes() == expected.payload.tobytes()


@both_codecs
def test_payload_may_be_a_view_of_read_only_memory(codec: Codec) -> None:
    values = gradient((3, 37))
    encoded = codec.encode(values)
    inside = np.frombuffer(b"x" + encoded.payload.tobytes() + b"y", np.uint8)[1:-1]  # read-only, at an odd address
    np.testing.assert_array_equal(codec.decode(replace(encoded, payload=inside)), values)


def test_raw_exponents_cost_a_group_of_32_one_and_a_half_percent() -> None:
    # A zero beside 1.0: delta 127 takes the raw width; (11 + 31 x 8 + 32 x 8) / 512 = 1.006.
    values = np.array([0x3F80] * 31 + [0], np.uint16)
    assert base_delta.encode(values).nbytes == -(-(11 + 31 * 8 + 32 * 8) // 8) == 65


@both_codecs
@pytest.mark.parametrize("bad", [np.zeros(4, np.float32), np.zeros((), np.uint16), [1, 2]])
def test_other_types_and_scalars_are_refused(codec: Codec, bad: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ShapeError, match="uint16"):
        codec.encode(bad)


@both_codecs
def test_missing_channel_axis_is_refused(codec: Codec) -> None:
    with pytest.raises(ShapeError, match="channel axis 2"):
        codec.encode(np.zeros((2, 2), np.uint16), 2)


@both_codecs
@settings(max_examples=400)
@given(data=st.data(), tensor=tensors())
def test_decode_accepts_nothing_but_what_encode_writes(
    codec: Codec, data: st.DataObject, tensor: tuple[BF16Array, int]
) -> None:
    values, axis = tensor
    encoded = codec.encode(values, axis)
    payload = bytearray(encoded.payload.tobytes())
    damage = data.draw(st.sampled_from(["flip", "cut", "extend", "noise", "shape"]))
    shape = encoded.shape
    if damage == "flip" and payload:
        # The last bytes hold the variable part, where most of the checks are.
        for _ in range(data.draw(st.integers(1, 3))):
            byte = data.draw(
                st.integers(0, len(payload) - 1) | st.integers(max(0, len(payload) - 40), len(payload) - 1)
            )
            payload[byte] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "cut" and payload:
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    elif damage == "extend":
        payload += data.draw(st.binary(min_size=1, max_size=70))
    elif damage == "noise":
        payload[:] = np.random.default_rng(data.draw(st.integers(0, 2**32))).bytes(len(payload))
    elif damage == "shape":
        shape = tuple(data.draw(st.lists(st.integers(0, 70), min_size=len(shape), max_size=len(shape))))
    changed = Encoded(encoded.codec, np.frombuffer(bytes(payload), np.uint8), shape, axis)
    try:
        decoded = codec.decode(changed)
    except ShapeError:
        return
    # Bits that still make a whole tensor cannot be told from it: but then it is exactly that tensor's payload.
    assert codec.encode(decoded, axis).payload.tobytes() == bytes(payload)


@both_codecs
def test_payload_cut_anywhere_or_too_long_is_refused(codec: Codec) -> None:
    encoded = codec.encode(gradient((3, 37, 5)), 1)
    for length in range(encoded.nbytes):
        with pytest.raises(ShapeError, match=r"cut short|corrupt"):
            codec.decode(replace(encoded, payload=encoded.payload[:length]))
    for extra in (1, 2, 8, 64):
        with pytest.raises(ShapeError, match=r"cut short|corrupt"):
            codec.decode(replace(encoded, payload=np.append(encoded.payload, np.zeros(extra, np.uint8))))


def stream_of(payload: str, values: int) -> Encoded:
    """One group of values without signs and fractions, and the given stream."""
    return Encoded("bdc", np.frombuffer(bytes(values) + as_bytes(payload), np.uint8), (values,), 0)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (
            bit_string(100, 8) + bit_string(3, 3) + bit_string(1, 3),
            "group 0 of 1 is not the smallest",
        ),  # +1 takes 2 bits
        (
            bit_string(100, 8) + bit_string(7, 3) + bit_string(101, 8),
            "group 0 of 1 is not the smallest",
        ),  # raw, where 2 bits do
        (bit_string(255, 8) + bit_string(2, 3) + bit_string(1, 2), "group 0 of 1 is not the smallest"),  # exponent 256
        (bit_string(0, 8) + bit_string(1, 3) + bit_string(1, 1), "group 0 of 1 is not the smallest"),  # exponent -1
        (bit_string(100, 8) + bit_string(6, 3), "ends within group 0 of 1"),  # 17 bits of 16
        (bit_string(100, 8) + bit_string(0, 3) + "00001", "ones follow its last group"),
        (bit_string(100, 8) + bit_string(0, 3) + "0" * 13, "take 2 bytes of the 3"),
    ],
)
def test_streams_that_no_encoder_writes_are_refused_with_what_is_wrong(stream: str, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        base_delta.decode(stream_of(stream, 2))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("", "shorter than the mask"),
        ("10", "past the last of 3"),  # bit 4 of a mask of three
        ("05 803f", "its mask asks for 4"),
        ("01 0000", "1 of the 1 values that its mask keeps are 0"),
    ],
)
def test_masks_that_no_encoder_writes_are_refused_with_what_is_wrong(payload: str, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        zero.decode(Encoded("zero", np.frombuffer(bytes.fromhex(payload), np.uint8), (3,), 0))


@both_codecs
def test_forged_shapes_are_refused_before_memory_is_taken(codec: Codec) -> None:
    encoded = codec.encode(gradient((4, 4)))
    for shape in [(1 << 40, 1 << 40), (4, 5), (-4, -4), (), (4, 4.0), (4,) * 70, (1 << 70, 0)]:
        with pytest.raises(ShapeError):
            codec.decode(replace(encoded, shape=shape))
    with pytest.raises(ShapeError, match="impossible shape"):
        codec.decode(replace(encoded, shape=(1 << 70, 0), payload=np.zeros(0, np.uint8)))
    for axis in (-1, 2, 0.5):
        with pytest.raises(ShapeError, match="channel axis"):
            codec.decode(replace(encoded, channel_axis=axis))
    for payload in (b"", np.zeros(4, np.int8), np.zeros((2, 2), np.uint8)):
        with pytest.raises(ShapeError, match="uint8"):
            codec.decode(replace(encoded, payload=payload))


def test_other_codecs_tensor_is_refused() -> None:
    with pytest.raises(ShapeError, match="codec 'zero' cannot be decoded by 'bdc'"):
        base_delta.decode(zero.encode(gradient((4,))))


def test_codecs_go_by_the_names_of_the_recorded_sizes() -> None:
    assert set(CODECS) == set(tensor_statistics(gradient((4,)), 0).compressed_bytes)
    assert all(codec.encode(gradient((4,))).codec == name for name, codec in CODECS.items())
