"""Lowering: the products of every operation add up to it, by its definition and by PyTorch."""

from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.lowering import builder, lower, multiply_accumulates
from simhw.lowering.operand import PIECE_COLUMNS, PIECE_ROWS, Columns, _gather_across
from simhw.trace.layer import Layer
from tests.lowered_layers import GEOMETRIES, conv_layer, integers, numbered, products, values
from tests.oracles import lowering as oracle


def assemble_forward(layer, families):
    images, outputs, *out = layer.shapes["g"]
    groups = layer.geometry.groups
    result = np.full((images, groups, prod(out), outputs // groups), np.nan)
    for _, index, values_ in products(families):
        result[divmod(index, groups)] = values_
    return np.moveaxis(result, 2, 3).reshape(layer.shapes["g"])


def assemble_input_grad(layer, families):
    images, channels, *sizes = layer.shapes["a"]
    kernel, geometry = layer.shapes["w"][2:], layer.geometry
    groups = geometry.groups
    result = np.zeros((images, groups, channels // groups, *sizes))
    remaining = list(families)
    for phase in product(*map(range, geometry.stride)):
        grid, taps = [], []
        for r, s, p, d, k, n in zip(
            phase, geometry.stride, geometry.padding, geometry.dilation, kernel, sizes, strict=True
        ):
            grid.append([i for i in range(n) if (i + p) % s == r])
            taps.append([j for j in range(k) if (j * d) % s == r])
        if not all(grid) or not all(taps):
            continue
        family = remaining.pop(0)
        assert family.segments == prod(map(len, taps))
        for _, index, block in products([family]):
            image, group = divmod(index, groups)
            for row, place in enumerate(product(*grid)):
                result[(image, group, slice(None), *place)] = block[row]
    assert not remaining
    return result.reshape(layer.shapes["a"])


def assemble_weight_grad(layer, families):
    outputs, group_in, *kernel = layer.shapes["w"]
    groups = layer.geometry.groups
    result = np.full((groups, outputs // groups, group_in, prod(kernel)), np.nan)
    for _, index, block in products(families):
        tap, group = divmod(index, groups)
        result[group, :, :, tap] = block.T
    return result.reshape(layer.shapes["w"])


def check_against_definition(layer, lanes, lane_padding="stream"):
    a, w, g = (values(layer.source(t).read()) for t in "awg")
    geo = layer.geometry
    geometry = (geo.stride, geo.padding, geo.dilation, geo.groups)
    families = {o: lower(layer, o, lanes, lane_padding=lane_padding) for o in layer.operations}
    np.testing.assert_array_equal(assemble_forward(layer, families["forward"]), oracle.forward(a, w, geometry, g.shape))
    np.testing.assert_array_equal(
        assemble_input_grad(layer, families["input_grad"]), oracle.input_grad(a, w, g, geometry)
    )
    np.testing.assert_array_equal(
        assemble_weight_grad(layer, families["weight_grad"]), oracle.weight_grad(a, w, g, geometry)
    )


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("lanes", [8, 16])
def test_products_add_up_to_the_convolution_and_its_gradients(name, lanes):
    layer = conv_layer(1, *GEOMETRIES[name])
    check_against_definition(layer, lanes)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("padding", ["stream", "skip"])
def test_a_transposed_convolution_is_the_convolution_that_it_mirrors(name, padding):
    """Its A is the other's G, so its forward product is the other's input gradient and the other way round."""
    conv = conv_layer(4, *GEOMETRIES[name])
    geo, (inputs, kernel, outputs) = conv.geometry, (conv.shapes["a"][2:], conv.shapes["w"][2:], conv.shapes["g"][2:])
    dims = zip(inputs, outputs, kernel, geo.stride, geo.padding, geo.dilation, strict=True)
    extra = tuple(n - ((o - 1) * s - 2 * p + d * (k - 1) + 1) for n, o, k, s, p, d in dims)
    layer = Layer("up", "conv_transpose", {**vars(geo), "output_padding": extra}, a=conv.g, w=conv.w, g=conv.a)
    a, w, g = (values(conv.source(t).read()) for t in "awg")
    geometry = (geo.stride, geo.padding, geo.dilation, geo.groups)
    forward, input_grad, weight_grad = (lower(layer, operation, 8, padding=padding) for operation in layer.operations)
    real = oracle.count(a.shape, w.shape, geometry)
    assert [sum(family.real for family in families) for families in (forward, input_grad, weight_grad)] == [real] * 3
    # Every value of A meets every weight of its group's kernel.
    macs = g.size * w[0].size
    assert [multiply_accumulates(layer, operation) for operation in layer.operations] == [macs] * 3
    np.testing.assert_array_equal(assemble_input_grad(conv, forward), oracle.input_grad(a, w, g, geometry))
    np.testing.assert_array_equal(assemble_forward(conv, input_grad), oracle.forward(a, w, geometry, g.shape))
    if padding == "stream":
        # X is the layer's own A, the other's G: its products lie turned.
        mirrored = lower(conv, "weight_grad", 8)
        for (_, _, ours), (_, _, theirs) in zip(products(weight_grad), products(mirrored), strict=True):
            np.testing.assert_array_equal(ours, theirs.T)


@pytest.mark.parametrize("name", ["3x3 stride 2", "grouped", "3d"])
def test_packed_reduction_gives_the_same_sums(name):
    layer = conv_layer(2, *GEOMETRIES[name])
    check_against_definition(layer, 8, lane_padding="pack")


@st.composite
def geometries(draw):
    dims = draw(st.integers(1, 2))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, stride, padding, dilation = each(1, 4), each(1, 3), each(0, 2), each(1, 2)
    extra = each(0, 3)
    sizes = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + e for d, k, p, e in zip(dilation, kernel, padding, extra, strict=True)
    )
    one_to_two = st.integers(1, 2)
    return (
        draw(one_to_two),
        draw(one_to_two),
        draw(one_to_two),
        sizes,
        kernel,
        stride,
        padding,
        dilation,
        draw(one_to_two),
    )


@settings(max_examples=60)
@given(geometry=geometries(), lanes=st.sampled_from([1, 3, 8]))
def test_any_geometry_adds_up(geometry, lanes):
    check_against_definition(conv_layer(3, *geometry), lanes)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_torch_autograd_agrees(name):
    torch = pytest.importorskip("torch")
    layer = conv_layer(4, *GEOMETRIES[name])
    a, w, g = (torch.tensor(values(layer.source(t).read()), requires_grad=True) for t in "awg")
    geo = layer.geometry
    convolution = getattr(torch.nn.functional, layer.kind)
    o = convolution(a, w, stride=geo.stride, padding=geo.padding, dilation=geo.dilation, groups=geo.groups)
    o.backward(g)
    np.testing.assert_array_equal(assemble_forward(layer, lower(layer, "forward", 8)), o.detach().numpy())
    np.testing.assert_array_equal(assemble_input_grad(layer, lower(layer, "input_grad", 8)), a.grad.numpy())
    np.testing.assert_array_equal(assemble_weight_grad(layer, lower(layer, "weight_grad", 8)), w.grad.numpy())


# --- dense layers ---


def test_linear_fills_the_windows_with_all_leading_axes():
    rng = np.random.default_rng(7)
    a, w, g = integers(rng, 2, 3, 5), integers(rng, 4, 5), integers(rng, 2, 3, 4)
    layer = Layer("fc", "linear", a=a, w=w, g=g)
    results = {}
    for operation in layer.operations:
        ((family, _, results[operation]),) = products(lower(layer, operation, 8))
        assert family.image(0) is None
    np.testing.assert_array_equal(results["forward"], a.reshape(6, 5) @ w.T)
    np.testing.assert_array_equal(results["input_grad"], g.reshape(6, 4) @ w)
    np.testing.assert_array_equal(results["weight_grad"], a.reshape(6, 5).T @ g.reshape(6, 4))


def test_linear_per_image_keeps_the_leading_axis_apart_but_not_in_the_weight_gradient():
    rng = np.random.default_rng(8)
    a, w, g = integers(rng, 2, 3, 5), integers(rng, 4, 5), integers(rng, 2, 3, 4)
    layer = Layer("fc", "linear", a=a, w=w, g=g)
    for operation, expected in (("forward", a @ w.T), ("input_grad", g @ w)):
        found = list(products(lower(layer, operation, 8, fc_windows="image")))
        assert [(f.m, f.image(i)) for f, i, _ in found] == [(3, 0), (3, 1)]
        np.testing.assert_array_equal([block for *_, block in found], expected)
    ((family, _, block),) = products(lower(layer, "weight_grad", 8, fc_windows="image"))
    assert (family.segments, family.segment_length) == (1, 6)
    np.testing.assert_array_equal(block, a.reshape(6, 5).T @ g.reshape(6, 4))


def test_matmul_is_a_product_per_batch_and_head():
    rng = np.random.default_rng(9)
    a, w, g = integers(rng, 2, 3, 4, 5), integers(rng, 2, 3, 5, 6), integers(rng, 2, 3, 4, 6)
    layer = Layer("attention", "matmul", a=a, w=w, g=g)
    expected = {"forward": a @ w, "input_grad": g @ w.swapaxes(2, 3), "weight_grad": a.swapaxes(2, 3) @ g}
    for operation in layer.operations:
        found = list(products(lower(layer, operation, 8)))
        assert [f.image(i) for f, i, _ in found] == [0, 0, 0, 1, 1, 1]
        np.testing.assert_array_equal(
            np.reshape([block for *_, block in found], expected[operation].shape), expected[operation]
        )


def test_matmul_without_batch_axes_is_one_product():
    rng = np.random.default_rng(10)
    a, w = integers(rng, 4, 5), integers(rng, 5, 6)
    ((family, index, block),) = products(lower(Layer("mm", "matmul", a=a, w=w), "forward", 8))
    assert family.image(index) is None
    np.testing.assert_array_equal(block, a @ w)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gate_products_are_one_product_per_time_step_with_shared_weights(kind):
    rng = np.random.default_rng(11)
    a, w, g = integers(rng, 3, 2, 5), integers(rng, 8, 5), integers(rng, 3, 2, 8)
    layer = Layer("cell", kind, a=a, w=w, g=g)
    expected = {"forward": a @ w.T, "input_grad": g @ w, "weight_grad": a.swapaxes(1, 2) @ g}
    for operation in layer.operations:
        found = list(products(lower(layer, operation, 8)))
        assert [f.image(i) for f, i, _ in found] == [0, 1, 2]
        np.testing.assert_array_equal([block for *_, block in found], expected[operation])
    (family,) = lower(layer, "forward", 8)
    assert len({family.y_key(i) for i in range(3)}) == 1
    assert len({family.x_key(i) for i in range(3)}) == 3


# --- padding: skip and the same sums ---


def skipped_product(family, index):
    """X Y^T by tile passes of 4 x 3 rows that leave out the sets which are not live."""
    x, y = family.product(index)
    result, sets = np.zeros((family.m, family.n)), 0
    for top in range(0, family.m, 4):
        for left in range(0, family.n, 3):
            live = np.repeat(x.live_sets(top, top + 4) & y.live_sets(left, left + 3), family.reduction.lanes)
            block = values(x.rows(top, top + 4)[:, live]) @ values(y.rows(left, left + 3)[:, live]).T
            result[top : top + 4, left : left + 3] = block
            sets += int(live.sum()) // family.reduction.lanes
    return result, sets


@pytest.mark.parametrize("lane_padding", ["stream", "pack"])
@pytest.mark.parametrize(
    "name", ["3x3 same", "7x7 stride 2 padding 3", "stride 2 dilation 3", "grouped", "3d", "padding beyond the kernel"]
)
def test_skipping_padding_leaves_every_result_as_it_was(name, lane_padding):
    layer = conv_layer(17, *GEOMETRIES[name])
    for operation in ("forward", "input_grad"):
        for stream, skip in zip(
            lower(layer, operation, 4),
            lower(layer, operation, 4, lane_padding=lane_padding, padding="skip"),
            strict=True,
        ):
            for index in range(stream.count):
                x, y = stream.product(index)
                found, sets = skipped_product(skip, index)
                np.testing.assert_array_equal(found, values(x.rows(0, 999)) @ values(y.rows(0, 999)).T)
                assert sets <= skip.population(4, 3) // skip.count * skip.k() // 4


@pytest.mark.parametrize("name", ["3x3 same", "7x7 stride 2 padding 3", "grouped", "3d"])
def test_weight_gradient_without_padding_reduces_over_the_positions_that_exist(name):
    layer = conv_layer(19, *GEOMETRIES[name])
    groups = layer.geometry.groups
    stream = [block for *_, block in products(lower(layer, "weight_grad", 4))]
    families = lower(layer, "weight_grad", 4, padding="skip")
    skip = [block for *_, block in products(families)]
    assert len(families) == len(stream) // groups
    np.testing.assert_array_equal(skip, stream)


# --- weights that are read as they lie ---


def rows_of(layer, **switches):
    """Rows of X and of Y of every product of every operation."""
    return {
        (operation, family.number, index, side): operand.rows(0, 1 << 20)
        for operation in layer.operations
        for family in lower(layer, operation, **switches)
        for index in range(family.count)
        for side, operand in enumerate(family.product(index))
    }


STAYING = {
    "linear": lambda: Layer("fc", "linear", a=numbered(2, 3, 5), w=numbered(150, 5), g=numbered(2, 3, 150)),
    "wide linear": lambda: Layer("fc", "linear", a=numbered(2, 280), w=numbered(40, 280), g=numbered(2, 40)),
    "gates": lambda: Layer("rnn", "lstm", a=numbered(2, 3, 5), w=numbered(8, 5), g=numbered(2, 3, 8)),
    "pointwise": lambda: conv_layer(21, 2, 5, 3, (4, 5), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "pointwise stride 2": lambda: conv_layer(22, *GEOMETRIES["1x1 stride 2"]),
    "pointwise grouped": lambda: conv_layer(23, 2, 20, 3, (4, 5), (1, 1), (2, 1), (1, 0), (1, 1), 3),
    "pointwise depthwise": lambda: conv_layer(24, 1, 1, 1, (3, 3), (1, 1), (1, 1), (0, 0), (1, 1), 4),
    # These have no part in it.
    "3x3": lambda: conv_layer(25, *GEOMETRIES["grouped"]),
    "matmul": lambda: Layer("qk", "matmul", a=numbered(2, 4, 5), w=numbered(2, 5, 20), g=numbered(2, 4, 20)),
}


@pytest.mark.parametrize("name", STAYING)
@pytest.mark.parametrize(("lanes", "lane_padding"), [(8, "stream"), (16, "pack")])
def test_weights_that_stay_as_they_lie_give_the_same_rows(name, lanes, lane_padding, monkeypatch):
    copied = rows_of(STAYING[name](), lanes=lanes, lane_padding=lane_padding)
    monkeypatch.setattr(builder, "LARGE_BYTES", 0)
    stayed = rows_of(STAYING[name](), lanes=lanes, lane_padding=lane_padding)
    assert copied.keys() == stayed.keys()
    for place, rows in copied.items():
        np.testing.assert_array_equal(stayed[place], rows, err_msg=str(place))


class Counted:
    """A tensor source that counts how often it is read."""

    def __init__(self, values):
        self.shape, self.reads, self._values = values.shape, 0, values

    def read(self):
        self.reads += 1
        return self._values


def test_operations_that_run_together_share_the_weights_that_stay_and_let_them_go_after(monkeypatch):
    monkeypatch.setattr(builder, "LARGE_BYTES", 2 * 4 * 5)
    weights = Counted(numbered(4, 5))
    layer = Layer("fc", "linear", a=numbered(2, 5), w=weights, g=numbered(2, 4))
    (forward,), (back,) = lower(layer, "forward", 8), lower(layer, "input_grad", 8)
    values = forward.product(0)[1].values
    assert back.product(0)[1].values is values
    assert np.shares_memory(values, weights._values)
    assert weights.reads == 1
    del forward
    lower(layer, "forward", 8)[0].product(0)  # the other still has them
    assert weights.reads == 1
    del back
    lower(layer, "forward", 8)[0].product(0)
    assert weights.reads == 2
    # One value less is copied: the gradient has its own.
    monkeypatch.setattr(builder, "LARGE_BYTES", 2 * 4 * 5 + 1)
    (back,) = lower(layer, "input_grad", 8)
    assert not np.shares_memory(back.product(0)[1].values, weights._values)


@pytest.mark.parametrize("rows", [2, 3, PIECE_ROWS - 1, PIECE_ROWS, PIECE_ROWS + 1, 2 * PIECE_ROWS + 5])
@pytest.mark.parametrize("columns", [1, PIECE_COLUMNS - 1, PIECE_COLUMNS, PIECE_COLUMNS + 1, 3 * PIECE_COLUMNS + 2])
def test_rows_that_lie_side_by_side_are_gathered_across(rows, columns):
    values = np.random.default_rng(rows * columns).integers(0, 1 << 16, 700 * (columns + 1)).astype(np.uint16)
    # Every third column is padding to sets; the rows lie in two stretches with one that only fills between them.
    offsets = np.where(np.arange(columns) % 3 == 2, -1, 700 * np.arange(columns))
    first = np.arange(rows // 2) + 7
    starts = np.concatenate([first, [-1], np.arange(rows - len(first)) + 300])
    expected = np.where((starts < 0)[:, None] | (offsets < 0), 0, values[starts[:, None] + offsets])
    np.testing.assert_array_equal(Columns(offsets).gather(values, starts), expected)
    found = np.full(expected.shape, 9, np.uint16)
    _gather_across(values, starts, offsets, found)
    np.testing.assert_array_equal(found, expected)
