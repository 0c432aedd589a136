"""Vectors of PEs: every operation, on every type of lane, does to each lane what numpy does to it."""

import numba
import numpy as np
import pytest

from simhw.pe import vector
from simhw.pe.vector import (
    WIDTH,
    any_lane,
    count_bits,
    exchange,
    four_words,
    lane_bits,
    leading_zeros,
    load,
    magnitude,
    narrow,
    nonzero_bits,
    popcount,
    positions,
    rotate_left,
    signed_max,
    spread,
    store,
    total,
    unsigned_min,
    where_negative,
    where_zero,
    widen,
)

DTYPES = [np.uint16, np.uint32, np.int32, np.int64]


@numba.njit
def _arithmetic(a, b, out):
    x, y = load(a, 0), load(b, 0)
    store(out, 0 * WIDTH, x + y)
    store(out, 1 * WIDTH, x - y)
    store(out, 2 * WIDTH, x * y)
    store(out, 3 * WIDTH, x & y)
    store(out, 4 * WIDTH, x | y)
    store(out, 5 * WIDTH, x ^ y)
    store(out, 6 * WIDTH, ~x)
    store(out, 7 * WIDTH, -x)
    store(out, 8 * WIDTH, signed_max(x, y))
    store(out, 9 * WIDTH, unsigned_min(x, y))
    store(out, 10 * WIDTH, where_zero(x, y, x))
    store(out, 11 * WIDTH, where_negative(x, y, x))
    store(out, 12 * WIDTH, popcount(x))
    store(out, 13 * WIDTH, leading_zeros(x))
    store(out, 14 * WIDTH, magnitude(x))


@numba.njit
def _shifts(a, counts, out):
    x, n = load(a, 0), load(counts, 0)
    store(out, 0, x << n)
    store(out, WIDTH, x >> n)


@numba.njit
def _rotations(a, count, out):
    store(out, 0, rotate_left(load(a, 0), count))


@numba.njit
def _exchanges(a, out):
    x = load(a, 0)
    store(out, 0 * WIDTH, exchange(x, 1))
    store(out, 1 * WIDTH, exchange(x, 2))
    store(out, 2 * WIDTH, exchange(x, 4))
    store(out, 3 * WIDTH, exchange(x, 8))
    store(out, 4 * WIDTH, exchange(x, 16))


@numba.njit
def _reductions(a):
    x = load(a, 0)
    return any_lane(x), total(x), count_bits(nonzero_bits(x)), nonzero_bits(x), lane_bits(x)


@numba.njit
def _widen(a, out):
    store(out, 0, widen(load(a, 0)))


@numba.njit
def _narrow(a, out):
    store(out, 0, narrow(load(a, 0)))


@numba.njit
def _positions(a, out):
    store(out, 0, positions(load(a, 0)))


@numba.njit
def _four_words(array, offset, places, out):
    words = four_words(array, offset, load(places, 0))
    for index in range(4):
        store(out, index * WIDTH, words[index])


@numba.njit
def _spread(scalar, out):
    store(out, 0, spread(scalar, load(out, 0)))


@numba.njit
def _copy(a, at, out, to):
    store(out, to, load(a, at))


def lanes(rng, dtype, count=WIDTH):
    """Random lanes with every extreme among them, and many small ones, so that zeros and ties occur."""
    information = np.iinfo(dtype)
    values = rng.integers(information.min, information.max, count, dtype=dtype, endpoint=True)
    extremes = np.array(
        [0, 1, information.max, information.min, information.max // 2 + 1, information.max // 2], dtype=dtype
    )
    values[rng.integers(count, size=6)] = extremes
    small = rng.random(count) < 0.25
    values[small] = rng.integers(0, 3, small.sum()).astype(dtype)
    return values


def as_signed(values):
    return values.view(f"i{values.itemsize}")


def as_unsigned(values):
    return values.view(f"u{values.itemsize}")


def bits_of(value, width):
    return f"{int(value) & ((1 << width) - 1):0{width}b}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_is_numpys_lane_by_lane(dtype):
    rng = np.random.default_rng(1)
    width = np.dtype(dtype).itemsize * 8
    for _ in range(50):
        x, y = lanes(rng, dtype), lanes(rng, dtype)
        out = np.zeros(15 * WIDTH, dtype)
        _arithmetic(x, y, out)
        with np.errstate(over="ignore"):
            expected = [
                x + y, x - y, x * y, x & y, x | y, x ^ y, ~x, np.zeros_like(x) - x,
                np.maximum(as_signed(x), as_signed(y)), np.minimum(as_unsigned(x), as_unsigned(y)),
                np.where(x == 0, y, x), np.where(as_signed(x) < 0, y, x),
                np.array([bits_of(v, width).count("1") for v in x]),
                np.array([width - len(bits_of(v, width).lstrip("0")) for v in x]),
                np.where(as_signed(x) < 0, np.zeros_like(x) - x, x),
            ]  # fmt: skip
        for index, values in enumerate(expected):
            assert (out.reshape(15, WIDTH)[index] == values.astype(dtype)).all(), index


@pytest.mark.parametrize("dtype", DTYPES)
def test_shifts_by_every_count_below_the_width_are_arithmetic_for_signed_lanes_only(dtype):
    rng = np.random.default_rng(2)
    width = np.dtype(dtype).itemsize * 8
    for _ in range(20):
        x, counts = lanes(rng, dtype), rng.integers(0, width, WIDTH).astype(dtype)
        out = np.zeros(2 * WIDTH, dtype)
        _shifts(x, counts, out)
        assert (out[:WIDTH] == x << counts).all()
        assert (out[WIDTH:] == x >> counts).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_rotation_by_any_count_either_way(dtype):
    rng = np.random.default_rng(3)
    width = np.dtype(dtype).itemsize * 8
    for count in range(-width - 3, width + 4):
        x, out = lanes(rng, dtype), np.zeros(WIDTH, dtype)
        _rotations(x, count, out)
        turn = count % width
        expected = [int(bits_of(v, width)[turn:] + bits_of(v, width)[:turn], 2) for v in x]
        assert out.tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_exchange_swaps_neighbours_at_a_distance(dtype):
    x, out = np.arange(WIDTH).astype(dtype), np.zeros(5 * WIDTH, dtype)
    _exchanges(x, out)
    for row, distance in zip(out.reshape(5, WIDTH), (1, 2, 4, 8, 16), strict=True):
        assert row.tolist() == [lane ^ distance for lane in range(WIDTH)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions(dtype):
    rng = np.random.default_rng(4)
    width = np.dtype(dtype).itemsize * 8
    cases = [np.zeros(WIDTH, dtype), np.ones(WIDTH, dtype), *(lanes(rng, dtype) for _ in range(20))]
    cases += [np.where(np.arange(WIDTH) == lane, 1, 0).astype(dtype) for lane in range(WIDTH)]
    for x in cases:
        wrapped = sum(int(v) for v in x) & ((1 << width) - 1)  # modulo the lane's width, then signed where the lane is
        if np.issubdtype(dtype, np.signedinteger) and wrapped >> (width - 1):
            wrapped -= 1 << width
        bits = sum(1 << lane for lane in range(WIDTH) if x[lane])
        assert _reductions(x) == (bool(x.any()), wrapped, int((x != 0).sum()), bits, width)


@pytest.mark.parametrize(("word", "double"), [(np.uint16, np.int32), (np.uint32, np.int64)])
def test_widening_keeps_the_sign_and_narrowing_the_low_bits(word, double):
    rng = np.random.default_rng(5)
    for _ in range(20):
        x, wide = lanes(rng, word), np.zeros(WIDTH, double)
        _widen(x, wide)
        assert (wide == as_signed(x)).all()
        y, short = lanes(rng, double), np.zeros(WIDTH, word)
        _narrow(y, short)
        assert (short == y.astype(word)).all()


def test_positions_are_words_without_a_sign():
    x, out = lanes(np.random.default_rng(6), np.uint16), np.zeros(WIDTH, np.int64)
    _positions(x, out)
    assert out.tolist() == x.tolist()


def test_four_words_are_those_from_each_lanes_own_place():
    rng = np.random.default_rng(7)
    array = rng.integers(0, 1 << 16, 200).astype(np.uint16)
    for offset in (0, 1, 37):
        # Any order, places twice and ones that overlap, and both ends of the array.
        places = rng.integers(-offset, 200 - 3 - offset, WIDTH)
        places[rng.permutation(WIDTH)[:2]] = -offset, 200 - 4 - offset
        out = np.zeros(4 * WIDTH, np.uint16)
        _four_words(array, offset, places, out)
        expected = [[array[offset + place + index] for place in places] for index in range(4)]
        assert out.reshape(4, WIDTH).tolist() == np.array(expected).tolist()


@pytest.mark.parametrize("wrong", [np.uint32, np.int32])
def test_four_words_of_other_elements_do_not_compile(wrong):
    with pytest.raises(numba.TypingError):
        _four_words(np.zeros(200, wrong), 0, np.zeros(WIDTH, np.int64), np.zeros(4 * WIDTH, np.uint16))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scalar", [0, 1, -1, 32767, -8192, 1 << 40, -(1 << 62)])
def test_spread_cuts_a_scalar_to_the_lane(dtype, scalar):
    out = np.zeros(WIDTH, dtype)
    _spread(scalar, out)
    assert (out == np.array([scalar], np.int64).astype(dtype)[0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_load_and_store_take_any_offset(dtype):
    # Element-aligned, not vector-aligned: kernels run over slices of rows.
    source = np.arange(4 * WIDTH).astype(dtype)
    for at, to in ((0, 0), (1, 3), (7, 1), (WIDTH + 5, WIDTH - 1)):
        out = np.zeros(4 * WIDTH, dtype)
        _copy(source, at, out, to)
        assert (out[to : to + WIDTH] == source[at : at + WIDTH]).all()
        assert not out[:to].any()
        assert not out[to + WIDTH :].any()


def test_storing_a_vector_into_lanes_of_another_size_does_not_compile():
    with pytest.raises(numba.TypingError):
        _copy(np.zeros(WIDTH, np.uint16), 0, np.zeros(WIDTH, np.uint32), 0)


def test_a_vector_is_whole_tiles_of_rows():
    # Columns of 1, 2, 4, ... 32 PEs must fill it, and a kernel's `exchange` distances are powers of two below it.
    assert all(vector.WIDTH % rows == 0 for rows in (1, 2, 4, 8, 16, 32))
