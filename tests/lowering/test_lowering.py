"""Lowering: products in the documented order, nothing else executed or read, and what cannot be lowered refused."""

import threading
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simhw.bfloat16 import from_float32
from simhw.errors import TraceError
from simhw.lowering import lower, multiply_accumulates
from simhw.lowering.grid import Axis, sums_within
from simhw.trace.layer import InMemory, Layer, ProductBlock
from tests.lowered_layers import GEOMETRIES, conv_layer, numbered
from tests.oracles import lowering as oracle

# --- order of the reduction, against the table of spec page lowering.md ---


def test_forward_runs_kernel_rows_then_columns_then_channels_each_position_padded_to_sets():
    layer = Layer("c", "conv", {"padding": 1}, a=numbered(1, 3, 4, 5), w=numbered(2, 3, 2, 3))
    (family,) = lower(layer, "forward", 4)
    assert (family.count, family.m, family.n, family.segments, family.segment_length) == (1, 5 * 5, 2, 6, 3)
    x, y = (operand.rows(0, 99) for operand in family.product(0))
    padded = np.zeros((3, 6, 7), np.uint16)
    padded[:, 1:-1, 1:-1] = layer.a[0]
    for row, (oy, ox) in enumerate(product(range(5), range(5))):  # x fastest
        expected = [[*padded[:, oy + ky, ox + kx], 0] for ky in range(2) for kx in range(3)]
        np.testing.assert_array_equal(x[row], np.concatenate(expected))
    for row in range(2):
        expected = [[*layer.w[row, :, ky, kx], 0] for ky in range(2) for kx in range(3)]
        np.testing.assert_array_equal(y[row], np.concatenate(expected))


def test_forward_packed_pads_only_the_end():
    layer = Layer("c", "conv", a=numbered(1, 3, 4, 5), w=numbered(2, 3, 2, 3))
    (family,) = lower(layer, "forward", 4, lane_padding="pack")
    assert family.k() == 20  # 6 positions x 3 channels = 18, to a multiple of 4
    _, y = family.product(0)
    np.testing.assert_array_equal(y.rows(1, 2)[0], [*layer.w[1].transpose(1, 2, 0).ravel(), 0, 0])


def test_input_grad_runs_the_rotated_kernel_then_output_channels():
    layer = Layer("c", "conv", a=numbered(1, 2, 4, 4), w=numbered(3, 2, 2, 2), g=numbered(1, 3, 3, 3))
    (family,) = lower(layer, "input_grad", 4)
    assert (family.m, family.n, family.segments, family.segment_length, family.k()) == (16, 2, 4, 3, 16)
    x, y = (operand.rows(0, 99) for operand in family.product(0))
    padded = np.zeros((3, 5, 5), np.uint16)
    padded[:, 1:-1, 1:-1] = layer.g[0]
    for row, (iy, ix) in enumerate(product(range(4), range(4))):
        expected = [[*padded[:, iy + ky, ix + kx], 0] for ky in range(2) for kx in range(2)]
        np.testing.assert_array_equal(x[row], np.concatenate(expected))
    for row in range(2):
        expected = [[*layer.w[:, row, 1 - ky, 1 - kx], 0] for ky in range(2) for kx in range(2)]
        np.testing.assert_array_equal(y[row], np.concatenate(expected))


def test_weight_grad_runs_output_positions_of_one_image_after_another_per_kernel_position():
    layer = Layer(
        "c", "conv", {"stride": (1, 2)}, a=numbered(2, 3, 3, 5), w=numbered(2, 3, 2, 3), g=numbered(2, 2, 2, 2)
    )
    (family,) = lower(layer, "weight_grad", 8)
    assert (family.count, family.m, family.n, family.segments, family.segment_length, family.k()) == (6, 3, 2, 2, 4, 16)
    for index, (ky, kx) in enumerate(product(range(2), range(3))):
        x, y = (operand.rows(0, 99) for operand in family.product(index))
        for c in range(3):
            expected = [[*layer.a[n, c, ky : ky + 2, kx : kx + 3 : 2].ravel(), 0, 0, 0, 0] for n in range(2)]
            np.testing.assert_array_equal(x[c], np.concatenate(expected))
        for o in range(2):
            np.testing.assert_array_equal(
                y[o], np.concatenate([[*layer.g[n, o].ravel(), 0, 0, 0, 0] for n in range(2)])
            )


def test_stride_two_pointwise_gradient_has_one_phase_of_one_tap():
    layer = conv_layer(5, *GEOMETRIES["1x1 stride 2"])
    (family,) = lower(layer, "input_grad", 8)  # of the four phases only (0, 0) has a kernel position
    assert (family.m, family.segments) == (2 * 3, 1)


def test_depthwise_reduction_is_one_channel_per_kernel_position_padded_to_a_set():
    layer = conv_layer(6, *GEOMETRIES["depthwise"])
    (family,) = lower(layer, "forward", 16)
    assert (family.count, family.n, family.segments, family.segment_length, family.k()) == (2 * 4, 1, 9, 1, 9 * 16)


# --- dense layers ---


def test_linear_of_single_samples_per_image_is_one_window_each():
    layer = Layer("fc", "linear", a=numbered(3, 5), w=numbered(4, 5))
    (family,) = lower(layer, "forward", 8, fc_windows="image")
    assert (family.count, family.m) == (3, 1)


# --- sharing, counting, images ---


@pytest.mark.parametrize("name", ["3x3 stride 2", "grouped", "depthwise", "3d"])
def test_equal_keys_mean_equal_operands_and_different_keys_different_ones(name):
    *head, groups = GEOMETRIES[name]
    shape = conv_layer(0, *head, groups).shapes
    geo = {"stride": head[5], "padding": head[6], "dilation": head[7], "groups": groups}
    layer = Layer("c", "conv", geo, **{t: numbered(*shape[t]) for t in "awg"})
    for operation in layer.operations:
        families = lower(layer, operation, 8)
        for side, keys in (
            (0, [[f.x_key(i) for i in range(f.count)] for f in families]),
            (1, [[f.y_key(i) for i in range(f.count)] for f in families]),
        ):
            seen = {}
            for family, family_keys in zip(families, keys, strict=True):
                for index, key in enumerate(family_keys):
                    rows = family.product(index)[side].rows(0, 999).tobytes()
                    assert seen.setdefault(key, rows) == rows
    images, sides = shape["a"][0], prod(shape["w"][2:])
    (forward,), (weight,) = lower(layer, "forward", 8), lower(layer, "weight_grad", 8)
    # W is shared by the images of a group, G by the kernel positions of a group.
    assert len({forward.y_key(i) for i in range(forward.count)}) == groups == forward.count // images
    assert len({weight.y_key(i) for i in range(weight.count)}) == groups == weight.count // sides
    assert len({forward.x_key(i) for i in range(forward.count)}) == forward.count


def test_convolution_products_name_their_image_and_the_weight_gradient_covers_all():
    layer = conv_layer(12, *GEOMETRIES["grouped"])
    (forward,), (weight,) = lower(layer, "forward", 8), lower(layer, "weight_grad", 8)
    assert [forward.image(i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert {weight.image(i) for i in range(weight.count)} == {None}
    for family in lower(layer, "input_grad", 8):
        assert [family.image(i) for i in range(6)] == [0, 0, 0, 1, 1, 1]


def test_macs_of_the_three_operations_follow_their_closed_forms():
    layer = conv_layer(13, *GEOMETRIES["3x3 same"])
    images, channels, outputs, size = 2, 3, 2, 5 * 6
    # Three kernel positions for each of 5 and of 6, but for one at either end, which reads padding.
    pairs = (3 * 5 - 2) * (3 * 6 - 2)
    for operation in layer.operations:  # stride 1, output as large as input: all three the same, whatever the set size
        assert multiply_accumulates(layer, operation) == images * channels * outputs * size * 9
        for lanes in (8, 16):
            families = lower(layer, operation, lanes)
            assert sum(f.fed for f in families) == images * channels * outputs * size * 9
            assert sum(f.real for f in families) == images * channels * outputs * pairs


@pytest.mark.parametrize("name", GEOMETRIES)
def test_macs_are_those_of_the_forward_convolution_and_of_its_mirror(name):
    layer = conv_layer(13, *GEOMETRIES[name])
    (images, outputs, *out), (_, channels, *kernel) = layer.shapes["g"], layer.shapes["w"]
    macs = images * outputs * prod(out) * channels * prod(kernel)
    assert [multiply_accumulates(layer, operation) for operation in layer.operations] == [macs] * 3


def test_stride_phases_execute_no_inserted_zeros():
    # Kernel = stride and no padding: each input belongs to one output position, so both directions cost the same.
    layer = conv_layer(14, 2, 3, 4, (6, 8), (2, 2), (2, 2), (0, 0), (1, 1), 1)
    fed = {o: sum(f.fed for f in lower(layer, o, 8)) for o in layer.operations}
    assert fed == dict.fromkeys(layer.operations, 2 * 3 * 4 * (3 * 4) * 4)
    families = lower(layer, "input_grad", 8)
    assert [(f.m, f.segments) for f in families] == [(12, 1)] * 4


def test_strided_gradient_costs_one_kernel_spread_over_its_phases():
    layer = conv_layer(15, 1, 2, 2, (8, 8), (3, 3), (2, 2), (1, 1), (1, 1), 1)
    # 3 taps a side split 1 + 2 over the two phases of 4 positions each: (4 + 8)^2 pairs against (8 * 3)^2 with inserted
    # zeros.
    families = lower(layer, "input_grad", 8)
    assert sum(f.fed for f in families) == 2 * 2 * (4 + 8) ** 2
    # Of a side's four outputs of three taps one reads padding: 11 of the 12 pairs have a value of G.
    assert sum(f.real for f in families) == 2 * 2 * 11**2


def test_gradient_of_an_unpadded_convolution_counts_no_zeros_around_g():
    # LeNet-5's second and third convolutions: 14 x 14 to 10 x 10 and 5 x 5 to one, each by 5 x 5 taps.
    for size, channels, outputs, fed in ((14, 6, 16, 14**2), (5, 16, 120, 5**2)):
        layer = conv_layer(15, 1, channels, outputs, (size, size), (5, 5), (1, 1), (0, 0), (1, 1), 1)
        macs = channels * outputs * (size - 4) ** 2 * 25
        assert {o: multiply_accumulates(layer, o) for o in layer.operations} == dict.fromkeys(layer.operations, macs)
        assert {o: sum(f.real for f in lower(layer, o, 8)) for o in layer.operations} == dict.fromkeys(
            layer.operations, macs
        )
        (family,) = lower(layer, "input_grad", 8)
        assert (
            family.fed == channels * outputs * fed * 25
        )  # 1.96 and 25 times the MACs: the stream, for the switch to leave out


def test_population_counts_partial_tiles():
    layer = conv_layer(16, *GEOMETRIES["3x3 same"])  # 2 images of 30 windows by 2 filters
    (family,) = lower(layer, "forward", 8)
    assert family.population(8, 8) == 2 * 4 * 1
    assert family.population(16, 1) == 2 * 2 * 2
    assert family.k(16) == 9 * 16


# --- padding: skip ---


@pytest.mark.parametrize("padding", ["stream", "skip"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_all_three_operations_count_the_products_of_the_definition(name, padding):
    layer = conv_layer(18, *GEOMETRIES[name])
    geo = layer.geometry
    expected = oracle.count(layer.shapes["a"], layer.shapes["w"], (geo.stride, geo.padding, geo.dilation, geo.groups))
    for operation in layer.operations:
        families = lower(layer, operation, 8, padding=padding)
        assert sum(f.real for f in families) == expected
        assert padding == "stream" or sum(f.fed for f in families) == expected


axes = st.builds(Axis, st.integers(1, 9), st.integers(-5, 5).filter(bool), st.integers(-9, 9))


@given(x=axes, y=axes, low=st.integers(-20, 20), size=st.integers(0, 30))
def test_sums_of_two_axes_are_counted_as_one_by_one(x, y, low, size):
    sums = [x.start + i * x.step + y.start + j * y.step for i in range(x.count) for j in range(y.count)]
    assert sums_within(x, y, low, low + size) == sum(low <= each < low + size for each in sums)


def test_skip_leaves_out_the_kernel_row_above_the_image_for_the_top_rows_only():
    layer = Layer("c", "conv", {"padding": 1}, a=numbered(1, 8, 4, 4), w=numbered(2, 8, 3, 3))
    (family,) = lower(layer, "forward", 8, padding="skip")
    x, y = family.product(0)
    np.testing.assert_array_equal(x.live_sets(0, 4), [False] * 3 + [True] * 6)  # top row of windows: ky = 0 is padding
    np.testing.assert_array_equal(
        x.live_sets(0, 1), [False] * 4 + [True, True, False, True, True]
    )  # corner: kx = 0 as well
    assert x.live_sets(0, 8).all()
    assert y.live_sets(0, 2).all()
    assert lower(layer, "forward", 8)[0].product(0)[0].live_sets(0, 4).all()


def test_kernel_positions_that_only_meet_padding_have_no_weight_gradient():
    layer = conv_layer(20, 1, 2, 2, (1, 1), (3, 3), (1, 1), (1, 1), (1, 1), 1)
    (family,) = lower(layer, "weight_grad", 8, padding="skip")
    assert (family.segments, family.segment_length) == (1, 1)


# --- laziness and memory ---


class CountingSource:
    def __init__(self, array):
        self.array, self.reads = array, 0

    @property
    def shape(self):
        return self.array.shape

    def read(self):
        self.reads += 1
        return self.array


def test_tensors_are_read_once_and_only_when_an_operand_is_asked_for():
    sources = {
        t: CountingSource(array)
        for t, array in (("a", numbered(2, 3, 6, 6)), ("w", numbered(4, 3, 3, 3)), ("g", numbered(2, 4, 3, 3)))
    }
    layer = Layer("c", "conv", {"stride": 2, "padding": 1}, **sources)
    families = lower(layer, "input_grad", 8)
    assert [s.reads for s in sources.values()] == [0, 0, 0]
    threads = [threading.Thread(target=family.product, args=(0,)) for family in families for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [s.reads for s in sources.values()] == [0, 1, 1]
    assert len({id(family.product(i)[0].values.base) for family in families for i in range(2)}) == 1


def test_values_hold_one_padded_copy_of_each_tensor():
    layer = Layer("c", "conv", {"padding": 1}, a=numbered(2, 8, 6, 6), w=numbered(8, 8, 3, 3), g=numbered(2, 8, 6, 6))
    for operation in layer.operations:
        x, y = lower(layer, operation, 8)[0].product(0)
        assert x.values.size == 2 * 8 * 8 * 8  # one ring of padding
        assert y.values.size in (8 * 8 * 9, 2 * 8 * 6 * 6)


def test_unaligned_read_only_tensors_are_taken():
    raw = np.zeros(2 * 12 + 1, np.uint8)
    raw[1:].view(np.uint16)[:] = np.arange(1, 13)
    odd = raw[1:].view(np.uint16).reshape(3, 4)
    odd.flags.writeable = False
    layer = Layer("fc", "linear", a=odd, w=numbered(2, 4))
    x, _ = lower(layer, "forward", 8)[0].product(0)
    np.testing.assert_array_equal(x.rows(0, 3)[:, :4], np.arange(1, 13).reshape(3, 4))


def test_rows_beyond_the_last_are_left_off():
    layer = Layer("fc", "linear", a=numbered(5, 4), w=numbered(2, 4))
    x, _ = lower(layer, "forward", 8)[0].product(0)
    assert x.rows(4, 12).shape == (1, 8)


# --- sampled layers ---


def sampled_layer(**changes):
    a, w = numbered(2, 3, 6, 4), numbered(4, 3, 3, 3)
    whole = Layer("c", "conv", {"padding": 1}, a=a, w=w)
    x, y = lower(whole, "forward", 1)[0].product(1)
    cell = {
        "family": 0,
        "product": 1,
        "x_start": 16,
        "y_start": 0,
        "x": InMemory(x.rows(16, 32)),
        "y": InMemory(y.rows(0, 16)),
    } | changes
    return whole, Layer("c", "conv", {"padding": 1}, shapes=whole.shapes, blocks={"forward": [ProductBlock(**cell)]})


@pytest.mark.parametrize("lane_padding", ["stream", "pack"])
def test_sampled_blocks_come_padded_to_sets_like_whole_operands(lane_padding):
    whole, layer = sampled_layer()
    (family,), (reference,) = (
        lower(each, "forward", 8, lane_padding=lane_padding, padding="skip") for each in (layer, whole)
    )
    assert (family.count, family.m, family.n, family.k(), family.fed) == (2, 24, 4, reference.k(), reference.fed)
    (block,) = family.blocks
    x, y = reference.product(block.product)
    np.testing.assert_array_equal(block.x, x.rows(16, 24))
    np.testing.assert_array_equal(block.y, y.rows(0, 4))
    assert (block.x_start, block.y_start) == (16, 0)
    for start, stop in ((0, 2), (4, 8), (7, 16)):
        np.testing.assert_array_equal(block.live_sets(start, stop), x.live_sets(16 + start, 16 + stop))
    assert not block.live_sets(4, 8).all()  # the bottom row of the image: its last kernel row is padding


def test_sampled_layer_has_no_whole_products():
    with pytest.raises(TraceError, match="'c', operation forward: the trace holds only a sample"):
        lower(sampled_layer()[1], "forward", 8)[0].product(0)


@pytest.mark.parametrize("change", [{"product": 2}, {"x_start": 32}, {"y_start": 1}, {"y": InMemory(numbered(4, 26))}])
def test_blocks_that_do_not_fit_the_shapes_are_refused(change):
    with pytest.raises(TraceError, match="sample it again"):
        lower(sampled_layer(**change)[1], "forward", 8)


def test_switches_that_change_the_products_are_refused_for_a_sample():
    block = ProductBlock(0, 0, 0, 0, InMemory(numbered(4, 8)), InMemory(numbered(2, 8)))
    fc = Layer("fc", "linear", shapes={"a": (4, 8), "w": (2, 8)}, blocks={"forward": [block]})
    with pytest.raises(TraceError, match="use fc_windows batch"):
        lower(fc, "forward", 8, fc_windows="image")
    shapes = {"a": (1, 3, 4, 4), "w": (2, 3, 3, 3), "g": (1, 2, 4, 4)}
    block = ProductBlock(0, 0, 0, 0, InMemory(numbered(3, 16)), InMemory(numbered(2, 16)))
    conv = Layer("c", "conv", {"padding": 1}, shapes=shapes, blocks={"weight_grad": [block]})
    assert len(lower(conv, "weight_grad", 8)[0].blocks) == 1
    with pytest.raises(TraceError, match="use padding stream"):
        lower(conv, "weight_grad", 8, padding="skip")


# --- what cannot be lowered, and what passes untouched ---


def test_operation_that_training_did_not_run_is_refused():
    layer = Layer(
        "conv1",
        "conv",
        a=numbered(1, 3, 4, 4),
        w=numbered(4, 3, 3, 3),
        g=numbered(1, 4, 2, 2),
        operations=["forward", "weight_grad"],
    )
    with pytest.raises(TraceError, match="'conv1', operation input_grad: training did not run it"):
        lower(layer, "input_grad", 8)


def test_product_that_does_not_exist_is_refused():
    (family,) = lower(Layer("fc", "linear", a=numbered(5, 4), w=numbered(2, 4)), "forward", 8)
    with pytest.raises(TraceError, match="product 1 does not exist"):
        family.product(1)


def test_convolution_without_its_input_shape_is_refused():
    layer = Layer("c", "conv", w=numbered(4, 3, 3, 3), g=numbered(1, 4, 2, 2))
    with pytest.raises(TraceError, match="shape of A is not known"):
        lower(layer, "input_grad", 8)


def test_bit_patterns_pass_through_untouched():
    bits = np.array([[0x8000, 0x0001, 0x7F80, 0xFFC0]], np.uint16)  # -0, subnormal, infinity, NaN
    x, _ = lower(Layer("fc", "linear", a=bits, w=from_float32(np.ones((1, 4), np.float32))), "forward", 4)[0].product(0)
    np.testing.assert_array_equal(x.rows(0, 1), bits)
