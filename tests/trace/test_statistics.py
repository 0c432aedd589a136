"""Statistics against a plain-Python count of the same definitions, and against cases counted by hand."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.bfloat16 import BF16Array, from_float32, significand_terms
from simhw.errors import ShapeError
from simhw.trace.layer import Layer, TensorStatistics
from simhw.trace.statistics import channel_axis, layer_statistics, per_image, tensor_statistics


def plain_bdc_bits(bits: BF16Array, axis: int) -> int:
    """Base-delta bits by the definition: groups of 32 along the axis, the smallest width that holds every delta."""
    total = 0
    for row in np.moveaxis(bits, axis, -1).reshape(-1, bits.shape[axis]).tolist():
        for start in range(0, len(row), 32):
            exponents = [value >> 7 & 0xFF for value in row[start : start + 32]]
            deltas = [exponent - exponents[0] for exponent in exponents[1:]]
            fits = [w for w in range(7) if all((-(2**w) // 2 <= d <= (2**w) // 2 - 1) if w else d == 0 for d in deltas)]
            total += 8 + 3 + len(deltas) * (fits[0] if fits else 8) + 8 * len(exponents)
    return total


def plain_statistics(bits: BF16Array, axis: int, by_image: bool) -> TensorStatistics:
    exponents, fractions = [0] * 256, [0] * 128
    images = bits if by_image else bits[np.newaxis]
    zeros, terms = [0] * len(images), [0] * len(images)
    for index, image in enumerate(images):
        for value in image.ravel().tolist():
            exponent, fraction = value >> 7 & 0xFF, value & 0x7F
            exponents[exponent] += 1
            if exponent:
                fractions[fraction] += 1
                terms[index] += len(significand_terms(fraction))
            else:
                zeros[index] += 1
    nonzero = bits.size - sum(zeros)
    as_array = lambda counts: np.array(counts, np.int64)  # noqa: E731
    return TensorStatistics(
        bits.size,
        sum(zeros),
        as_array(exponents),
        as_array(fractions),
        as_array(zeros),
        as_array(terms),
        {"bdc": -(-plain_bdc_bits(bits, axis) // 8), "zero": -(-(bits.size + 16 * nonzero) // 8)},
    )


def assert_same(measured: TensorStatistics, expected: TensorStatistics) -> None:
    assert measured.size == expected.size
    assert measured.zeros == expected.zeros
    for histogram in ("exponents", "fractions", "zeros_per_image", "terms_per_image"):
        np.testing.assert_array_equal(getattr(measured, histogram), getattr(expected, histogram))
    assert measured.compressed_bytes == expected.compressed_bytes


def values(seed: int, shape: tuple[int, ...], zeros: float = 0.4) -> BF16Array:
    rng = np.random.default_rng(seed)
    numbers = rng.standard_normal(shape, dtype=np.float32) * np.float32(2.0) ** rng.integers(-9, 9, shape).astype(
        np.float32
    )
    return from_float32(np.where(rng.random(shape) < zeros, np.float32(0), numbers))


@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=4).filter(lambda s: np.prod(s) < 3000),
    axis=st.integers(0, 3),
    by_image=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_a_plain_count_on_any_shape_and_axis(shape: list[int], axis: int, by_image: bool, seed: int) -> None:
    bits = (
        np.random.default_rng(seed).integers(0, 1 << 16, shape).astype(np.uint16)
        if seed % 2
        else values(seed, tuple(shape))
    )
    axis %= len(shape)
    assert_same(tensor_statistics(bits, axis, by_image), plain_statistics(bits, axis, by_image))


@pytest.mark.parametrize("by_image", [True, False])
def test_tensor_that_is_not_contiguous_counts_the_same(by_image: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simhw.trace.statistics.PIECE_VALUES", 700)  # several pieces, the last one short
    channels_last = values(3, (5, 6, 7, 40))
    bits = channels_last.transpose(0, 3, 1, 2)
    assert_same(tensor_statistics(bits, 1, by_image), plain_statistics(bits, 1, by_image))


def test_read_only_memory_counts_the_same() -> None:
    bits = values(4, (3, 33, 5))
    frozen = bits.copy()
    frozen.setflags(write=False)
    assert_same(tensor_statistics(frozen, 1), tensor_statistics(bits, 1))


def test_both_zeros_and_subnormals_count_as_zero_and_carry_no_terms() -> None:
    bits = np.array([0x0000, 0x8000, 0x007F, 0x8001, 0x3F80], np.uint16)  # +0, -0, two subnormals, 1.0 (one term)
    measured = tensor_statistics(bits, 0, per_image=False)
    assert measured.zeros == 4
    assert measured.terms_per_image.tolist() == [1]
    assert measured.fractions.sum() == 1


def test_every_significand_once_has_the_mean_terms_of_the_specification() -> None:
    bits = (np.arange(128) | 0x3F80).astype(np.uint16)  # 1.0 .. 1.9921875, each fraction once
    assert tensor_statistics(bits, 0, per_image=False).terms_per_value() == pytest.approx(3.4453, abs=5e-5)


def exponents_of(*fields: int) -> npt.NDArray[np.uint16]:
    return (np.array(fields) << 7).astype(np.uint16)


@pytest.mark.parametrize(
    ("fields", "width"),
    [
        ([120] * 32, 0),
        ([120] + [119] * 31, 1),  # one bit of two's complement holds -1 and 0 ...
        ([120] + [121] * 31, 2),  # ... but not +1
        ([120] + [120 + 31] * 31, 6),
        ([120] + [120 - 32] * 31, 6),
        ([120] + [120 + 32] * 31, 8),  # beyond six bits: raw
        ([120] + [120 - 33] * 31, 8),
        ([120] + [0] * 31, 8),  # a zero's exponent field is 0
    ],
)
def test_width_of_a_group_is_the_smallest_that_holds_its_deltas(fields: list[int], width: int) -> None:
    # Exponent footprint of a group (spec section 4): 8 + 3 + 31 w bits; 32 signs and fractions take 32 bytes.
    expected = -(-(8 + 3 + 31 * width) // 8) + 32
    assert tensor_statistics(exponents_of(*fields), 0).compressed_bytes["bdc"] == expected


def test_last_group_of_a_row_is_short_and_groups_never_span_rows() -> None:
    # Two rows of 33 channels: 32 + 1 values each.  Groups: 11 bits of base and width each, no deltas; 66 bytes of the
    # rest.
    bits = np.stack([exponents_of(*[100] * 33), exponents_of(*[140] * 33)])
    assert tensor_statistics(bits, 1).compressed_bytes["bdc"] == -(-4 * 11 // 8) + 66


def test_groups_run_along_the_channel_axis_not_along_memory() -> None:
    # Channels alike, positions far apart: constant groups along channels, raw ones along positions.
    bits = np.broadcast_to(exponents_of(*range(60, 220, 5)), (32, 32))
    assert tensor_statistics(bits, 0).compressed_bytes["bdc"] == -(-32 * 11 // 8) + 1024
    assert tensor_statistics(bits, 1).compressed_bytes["bdc"] == 32 * (8 + 3 + 31 * 8) // 8 + 1024


def test_nonfinite_values_are_counted_in_the_last_exponent() -> None:
    bits = np.array([0x7F80, 0xFFC0, 0x3F80], np.uint16)
    assert tensor_statistics(bits, 0).exponents[255] == 2


def test_channel_axis_and_images_follow_the_kind() -> None:
    assert channel_axis("conv2d", 4) == 1
    assert channel_axis("linear", 3) == 2
    assert channel_axis("matmul", 4) == 3
    assert per_image("linear", "a")
    assert not per_image("conv2d", "w")
    assert per_image("matmul", "w")


def test_layer_statistics_of_weights_have_one_entry() -> None:
    layer = Layer("c", "conv2d", {}, a=values(0, (3, 4, 5, 5)), w=values(1, (6, 4, 3, 3)), g=values(2, (3, 6, 3, 3)))
    assert layer_statistics(layer, "w").zeros_per_image.shape == (1,)
    assert_same(layer_statistics(layer, "g"), plain_statistics(layer.g, 1, True))


@pytest.mark.parametrize("bad", [np.zeros(4, np.float32), np.zeros((), np.uint16)])
def test_other_types_and_scalars_are_refused(bad: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ShapeError, match="uint16"):
        tensor_statistics(bad, 0)  # type: ignore[arg-type]


def test_missing_channel_axis_is_refused() -> None:
    with pytest.raises(ShapeError, match="channel axis 2"):
        tensor_statistics(np.zeros((2, 2), np.uint16), 2)
