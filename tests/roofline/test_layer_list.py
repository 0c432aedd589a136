"""Layer lists: what a person may leave out, what is refused and how it is told, and files of other simulators."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.errors import ShapeError
from simhw.roofline.layers.lists import MAX_FILE_BYTES, layer_list_text, parse_layer_list, write_layer_list
from simhw.roofline.layers.network import (
    Attention,
    Conv,
    Embedding,
    Experts,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    RecurrentLayer,
    Softmax,
    Weight,
)
from simhw.roofline.networks.catalogue import load_network, network_names
from tests.places import ROOT


def layers_of(body: str, head: str = "input: [3, 32, 32]") -> tuple[NetworkLayer, ...]:
    return parse_layer_list(f"name: small\n{head}\nlayers:\n{body}", "small.yaml").layers


def conv(name: str, inputs: int, outputs: int, size: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> Conv:
    return Conv(name, inputs, outputs, (size,) * 2, (kernel,) * 2, (stride,) * 2, (padding,) * 2, (1, 1))


# --- what flows from layer to layer ---


def test_sizes_follow_from_the_layer_before() -> None:
    body = """
  - conv: {name: conv, out: 8, kernel: 3, stride: 2, padding: 1}
  - batchnorm: {name: bn}
  - relu: {name: relu}
  - maxpool: {name: pool, kernel: 2}
  - avgpool: {name: mean}
  - linear: {name: fc, out: 10}
"""
    assert layers_of(body) == (
        conv("conv", 3, 8, 32, stride=2),
        Normalization("bn", "batchnorm", 8, 8 * 16 * 16),
        Pointwise("relu", "relu", 8 * 16 * 16),
        Pool("pool", "max", 8, (16, 16), (8, 8), (2, 2)),
        Pool("mean", "average", 8, (8, 8), (1, 1), (8, 8)),
        Linear("fc", 8, 10),
    )


def test_rows_of_features_follow_through_a_transformer() -> None:
    body = """
  - embedding: {name: words, vocabulary: 100, width: 12, rows: 5}
  - layernorm: {name: norm}
  - linear: {name: up, out: [4, 12]}
  - gelu: {name: gelu}
  - matmul: {name: scores, products: 2, m: 5, n: 5, k: 6}
  - softmax: {name: softmax}
  - copy: {name: first, elements: [1, 12]}
  - linear: {name: head, out: 3, bias: false}
  - weight: {name: token, parameters: 12}
"""
    assert layers_of(body, "") == (
        Embedding("words", 100, 12, 5),
        Normalization("norm", "layernorm", 12, 60),
        Linear("up", 12, 48, rows=5),
        Pointwise("gelu", "gelu", 240),
        MatMul("scores", 2, 5, 5, 6),
        Softmax("softmax", 10, 5),
        Pointwise("first", "copy", 12),
        Linear("head", 12, 3, rows=1, bias=False),
        Weight("token", 12),
    )


def test_a_branch_reads_an_earlier_layer_and_the_nearest_of_that_name() -> None:
    body = """
  - conv: {name: stem, out: 4, kernel: 3, padding: 1}
  - block: stage
    repeat: 2
    layers:
      - fork: {name: input}
      - conv: {name: down, out: 8, kernel: 3, stride: 2, padding: 1}
      - conv: {name: skip, from: input, out: 8, kernel: 1, stride: 2}
      - add: {name: add}
  - conv: {name: late, from: stem, out: 2, kernel: 1}
"""
    convs = {each.name: (each.in_channels, each.size) for each in layers_of(body) if isinstance(each, Conv)}
    assert convs == {
        "stem": (3, (32, 32)),
        "stage.0.down": (4, (32, 32)),
        "stage.0.skip": (4, (32, 32)),
        "stage.1.down": (8, (16, 16)),
        "stage.1.skip": (8, (16, 16)),
        "late": (4, (32, 32)),
    }


def test_blocks_nest_and_are_numbered_from_first() -> None:
    body = """
  - block: a
    repeat: 2
    first: 1
    layers:
      - block: b
        layers:
          - relu: {name: r}
"""
    assert [each.name for each in layers_of(body)] == ["a.1.b.r", "a.2.b.r"]


def test_named_sizes_multiply_and_can_be_set() -> None:
    text = (
        "name: t\nsizes: {tokens: 4, heads: 3, head: 8}\nlayers:\n  - gelu: {name: g, elements: [tokens, heads, "
        "head, 2]}\n"
    )
    assert parse_layer_list(text, "t.yaml").layers == (Pointwise("g", "gelu", 4 * 3 * 8 * 2),)
    assert parse_layer_list(text, "t.yaml", {"tokens": 10}).layers == (Pointwise("g", "gelu", 480),)


def test_one_and_three_dimensional_convolutions() -> None:
    one, three = layers_of(
        """
  - conv: {name: one, in: 4, out: 8, size: [100], kernel: 5, padding: 2}
  - conv: {name: three, in: 4, out: 8, size: [8, 16, 16], kernel: [3, 1, 1], padding: [1, 0, 0], groups: 2}
"""
    )
    assert isinstance(one, Conv)
    assert isinstance(three, Conv)
    assert (one.size, one.out_size) == ((100,), (100,))
    assert (three.out_size, three.kernel, three.groups, three.dilation) == ((8, 16, 16), (3, 1, 1), 2, (1, 1, 1))


def test_recurrent_layers_and_functions_without_a_short_form() -> None:
    body = """
  - lstm: {name: lstm, hidden: 16}
  - pointwise: {name: f, function: hardswish, inputs: 2}
"""
    assert layers_of(body, "input: [7, 12]") == (
        RecurrentLayer("lstm", "lstm", 12, 16, 7),
        Pointwise("f", "hardswish", 7 * 16, 2),
    )


# --- round trip ---


@pytest.mark.parametrize("name", network_names())
def test_a_shipped_network_reads_back_as_written(name: str, tmp_path: Path) -> None:
    network = load_network(name)
    path = tmp_path / "written.yaml"
    write_layer_list(network, path)
    assert load_network(path) == network
    assert layer_list_text(load_network(path)) == path.read_text(encoding="utf-8")


size = st.integers(1, 10**6)
texts = st.text(min_size=1, max_size=20).filter(lambda text: text == text.strip())


@st.composite
def any_layers(draw: st.DrawFn, name: str) -> NetworkLayer:
    dims = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    groups, yes, other = draw(st.integers(1, 4)), draw(st.booleans()), draw(st.booleans())
    a, b, c, d = draw(size), draw(size), draw(size), draw(size)
    geometry = (each(9, 40), each(1, 3), each(1, 3), each(0, 2), each(1, 2))
    return draw(
        st.sampled_from(
            [
                Conv(name, groups * a, groups * b, *geometry, groups, yes, other),
                Linear(name, a, b, c, yes, other, draw(st.booleans())),
                Experts(name, a, b, c, d, yes),
                Attention(name, a * groups, b, c, d, groups, yes),
                MatMul(name, a, b, c, d),
                RecurrentLayer(name, draw(st.sampled_from(["rnn", "lstm", "gru"])), a, b, c, yes),
                Pointwise(
                    name,
                    draw(st.sampled_from(["relu", "fork", "add", "unknown", "conv", "600e6", "true"])),
                    a,
                    draw(st.integers(1, 5)),
                ),
                Normalization(name, draw(st.sampled_from(["batchnorm", "layernorm", "rmsnorm"])), a, a * b, yes),
                Softmax(name, a, b),
                Pool(name, draw(st.sampled_from(["max", "average"])), a, each(9, 40), each(1, 40), each(1, 9)),
                Embedding(name, a, b, c, yes, other),
                Weight(name, a, yes),
            ]
        )
    )


@settings(max_examples=150)
@given(data=st.data(), name=texts, source=st.text(max_size=30), names=st.lists(texts, max_size=6, unique=True))
def test_any_network_reads_back_as_written(data: st.DataObject, name: str, source: str, names: list[str]) -> None:
    network = Network(name, tuple(data.draw(any_layers(each)) for each in names), source)
    assert parse_layer_list(layer_list_text(network), "any.yaml") == network


# --- what is refused ---


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("  - conv: {name: c, out: 8}", r"small.yaml: layers\[0\] 'c': conv needs kernel"),
        (
            "  - conv: {name: c, out: 8, kernel: 3, strides: 2}",
            r"'c': conv has no field 'strides'; it has name, from, in, out, size, kernel",
        ),
        ("  - conv: {name: c, out: 0, kernel: 3}", r"'c': out: 0 is less than 1"),
        ("  - conv: {name: c, out: 8, kernel: 3.5}", r"'c': kernel: a size is a whole number.*given 3.5"),
        ("  - conv: {name: c, out: true, kernel: 3}", r"'c': out: a size is a whole number"),
        ("  - conv: {name: c, out: 8, kernel: 3, bias: 1}", r"'c': bias: Input should be a valid boolean"),
        (
            "  - conv: {name: c, out: widht, kernel: 3}",
            r"'c': out: no size is called 'widht'; the list's `sizes` are: none",
        ),
        ("  - conv: {name: c, out: 8, kernel: 64}", r"'c': kernel: \(64, 64\) does not fit into size \(32, 32\)"),
        ("  - conv: {name: c, out: 8, kernel: 3, groups: 2}", r"'c': groups: 2 do not divide 3 and 8 channels"),
        ("  - conv: {name: c, out: 8, kernel: [3, 3, 3]}", r"'c': kernel: 3 numbers for 2 spatial dimensions"),
        ("  - conv: {name: c, out: [1000000, 1000000, 1000000], kernel: 3}", r"'c': out: over 1,000,000,000,000"),
        ("  - conv: {name: c, from: d, out: 8, kernel: 3}", r"'c': from: no layer before this one is called 'd'"),
        ("  - dense: {name: c, out: 8}", r"layers\[0\]: no layer is called 'dense'; there are conv, linear"),
        ("  - conv: 3", r"layers\[0\]: conv needs its fields"),
        ("  - conv", r"layers\[0\]: a layer is one kind with its fields"),
        ("  - {conv: {name: a}, linear: {name: b}}", r"layers\[0\]: a layer is one kind"),
        ("  - relu: {name: a}\n  - relu: {name: a}", r"two layers are called 'a'"),
        ("  - relu: {}", r"layers\[0\]: relu needs name"),
        ("  - relu: {name: 5}", r"layers\[0\]: name: Input should be a valid string"),
        ("  - block: b\n    layers: []", r"layers\[0\]: `layers` of a block is a list of at least one layer"),
        ("  - block: b\n    repeat: 0\n    layers: [{relu: {name: r}}]", r"layers\[0\] 'b': repeat: 0 is less than 1"),
        ("  - block: b\n    times: 2\n    layers: [{relu: {name: r}}]", r"a block has no field 'times'"),
        ("  - block: b\n    first: 2\n    layers: [{relu: {name: r}}]", r"give `repeat` too"),
        ("  - repeat: 2\n    layers: [{relu: {name: r}}]", r"a block needs a name"),
        ("  - relu: {name: a", r"not valid YAML"),
        ("  - relu: &x {name: a}\n  - relu: *x", r"aliases are not allowed"),
        ("  - relu: {name: a, name: b}", r"name stands there 2 times"),
    ],
)
def test_a_mistake_is_told_with_its_place(body: str, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        layers_of(body)


def test_a_size_that_nothing_says_is_asked_for() -> None:
    for body, field in (
        ("  - conv: {name: c, out: 8, kernel: 3}", "size"),
        ("  - linear: {name: c, out: 8}", "in"),
        ("  - relu: {name: c}", "elements"),
    ):
        with pytest.raises(ShapeError, match=f"'c': {field}: missing, and the layer before does not say it"):
            layers_of(body, "")


def test_repeats_are_counted_before_they_are_made() -> None:
    nested = "layers: [{relu: {name: r}}]"
    for name in ("a", "b"):
        nested = f"layers: [{{block: {name}, repeat: 1000, {nested}}}]"
    with pytest.raises(ShapeError, match="1,000 times 1,000 layers; a list may have 20,000"):
        parse_layer_list(f"name: bomb\n{nested}\n", "bomb.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- conv", "a layer list is a mapping"),
        ("name: x", "a layer list is a mapping"),
        ("name: x\nlayer: []\nlayers: []", "no field 'layer'"),
        ("name: 5\nlayers: []", "name must be a text"),
        ("name: x\nsizes: {a: 1.5}\nlayers: []", "size a is 1.5"),
        ("name: x\nsizes: [1]\nlayers: []", "sizes are a mapping"),
        ("name: x\ninput: 5\nlayers: []", "input: give"),
        ("name: x\ninput: [1, 2, 3, 4, 5]\nlayers: []", "input: a shape has at most"),
        ("name: x\nlayers: " + "[" * 40 + "]" * 40, "nested deeper"),
    ],
)
def test_a_file_that_is_no_layer_list_is_told_so(text: str, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        parse_layer_list(text, "x.yaml")


def test_files_that_are_no_text_or_too_large(tmp_path: Path) -> None:
    binary, large = tmp_path / "binary.yaml", tmp_path / "large.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    with large.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ShapeError, match=r"line 1: byte 0xff is not UTF-8"):
        load_network(binary)
    with pytest.raises(ShapeError, match="over 4,000,000 bytes"):
        load_network(large)


# --- tables ---


def table(tmp_path: Path, text: str) -> Network:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return load_network(path)


def test_a_table_of_layers(tmp_path: Path) -> None:
    network = table(
        tmp_path,
        "kind,name,in,out,size,kernel,stride,padding,bias\n"
        "conv,first,3,8,32,3,2,1,\n"
        "conv,second,,16,,1x3,,0x1,true\n"
        "\n"
        "linear,fc,,10,,,,,\n",
    )
    assert network.name == "table"
    assert network.layers == (
        conv("first", 3, 8, 32, stride=2),
        Conv("second", 8, 16, (16, 16), (1, 3), (1, 1), (0, 1), (1, 1), bias=True),
        Linear("fc", 16 * 16 * 16, 10),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,out\na,3\n", "no column 'kind'"),
        ("kind,name\n", "no layers"),
        ("", "no layers"),
        ("kind,name,out\nlinear,a,3,4\n", "row 2: 4 cells under a header of 3"),
        ("kind,name,out\nlinear,a,big\n", "row 2 'a': in: missing"),
        ("kind,name,in,out\nlinear,a,4,big\n", "row 2 'a': out: no size is called 'big'"),
        ("kind,name,in,out\nlinear,a,4,-3\n", "row 2 'a': out: '-3' is neither a whole number"),
        ("kind,name,in,out\n,a,4,3\n", "row 2: no layer is called ''"),
    ],
)
def test_a_mistake_in_a_table_is_told_with_its_row(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        table(tmp_path, text)


def test_a_table_is_read_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    text = "sep=;\nKind;Name;In;Out;Size;Kernel;Bias\nconv;a;3;8;8;3X3;TRUE\n"
    assert table(tmp_path, text).layers == (Conv("a", 3, 8, (8, 8), (3, 3), (1, 1), (0, 0), (1, 1), bias=True),)
    with pytest.raises(ShapeError, match=r"row 2: a column without a name holds '5'"):
        table(tmp_path, "kind,name,,in,out\nlinear,a,5,3,8\n")
    for number in ("3.0", "1e2", "+3", "0b10"):
        with pytest.raises(ShapeError, match=rf"row 2 'a': in: '{re.escape(number)}' is neither a whole number"):
            table(tmp_path, f"kind,name,in,out\nlinear,a,{number},8\n")


def test_padding_beyond_half_a_window_is_refused() -> None:
    text = "name: t\ninput: [3, 8, 8]\nlayers: [{{maxpool: {{name: p, kernel: 3, stride: 2, padding: {}}}}}]\n"
    (pool,) = parse_layer_list(text.format(1), "t.yaml").layers
    assert isinstance(pool, Pool)
    assert pool.out_size == (4, 4)
    with pytest.raises(ShapeError, match=r"'p': padding: \(2, 2\) is more than half of the kernel \(3, 3\)"):
        parse_layer_list(text.format(2), "t.yaml")


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"no network '.*lost.csv': no such file"):
        load_network(tmp_path / "lost.csv")


def test_a_table_has_no_sizes_to_set(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("kind,name,in,out\nlinear,a,4,3\n", encoding="utf-8")
    with pytest.raises(ShapeError, match="no named sizes"):
        load_network(path, sequence=3)


# --- SCALE-Sim topologies ---

CONVOLUTIONS = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"


def test_convolutions_of_a_topology_have_their_padding_in_the_size(tmp_path: Path) -> None:
    network = table(tmp_path, CONVOLUTIONS + "Conv1, 224, 224, 7, 7, 3, 64, 1,\n\tConv2 , 58,58,3,3,64,128,1\n")
    assert network.layers == (conv("Conv1", 3, 64, 224, kernel=7, padding=0), conv("Conv2", 64, 128, 58, padding=0))


def test_a_window_that_sticks_out_counts_as_in_scale_sim(tmp_path: Path) -> None:
    # ceil((224 - 7) / 2) + 1 = 110 outputs; a convolution without padding rounds down to 109.
    (layer,) = table(tmp_path, CONVOLUTIONS + "Conv1, 224, 224, 7, 7, 3, 64, 2,\n").layers
    assert isinstance(layer, Conv)
    assert layer.out_size == (110, 110)
    assert layer.size == (225, 225)
    assert layer.macs == 110 * 110 * 7 * 7 * 3 * 64


def test_depthwise_strides_of_both_dimensions_names_twice_and_density(tmp_path: Path) -> None:
    rows = "DPConv, 16, 16, 3, 3, 32, 1, 1,\nConv, 9, 9, 3, 3, 8, 8, 2, 1,\nConv, 9, 9, 3, 3, 8, 8, 1, 1:1,\n"
    depthwise, first, second = table(tmp_path, CONVOLUTIONS + rows).layers
    assert isinstance(depthwise, Conv)
    assert isinstance(first, Conv)
    assert (depthwise.groups, depthwise.out_channels, depthwise.macs) == (32, 32, 14 * 14 * 9 * 32)
    assert first.stride == (2, 1)
    assert (first.name, second.name) == ("Conv", "Conv#2")


def test_products_of_a_topology(tmp_path: Path) -> None:
    network = table(tmp_path, "Layer, M, N, K,\nQKT,1024,1000,64,\nfc,1,10,512,\n")
    assert network.layers == (Linear("QKT", 64, 1000, rows=1024, bias=False), Linear("fc", 512, 10, bias=False))
    assert network.macs == 1024 * 1000 * 64 + 5120


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("Conv1, 224, 224, 7, 7, 3, 64,", "row 2 'Conv1': 6 numbers after the name; there should be 7"),
        ("Conv1, 224, 224, 7, 7, three, 64, 2,", "row 2 'Conv1': Channels is 'three'"),
        ("Conv1, 224, 224, 7, 7, 0, 64, 2,", "Channels is '0'"),
        ("Conv1, 5, 224, 7, 7, 3, 64, 2,", "a filter of height 7 is larger than the IFMAP's 5"),
        ("Conv1, 224, 224, 7, 7, 3, 64, 2, 0:0,", "row 2 'Conv1': sparsity is '0:0'; give N:M"),
        ("Conv1, 224, 224, 7, 7, 3, 64, 2, :,", "sparsity is ':'"),
        ("Conv1, 224, 224, 7, 7, 3, 64, 2, 4:2,", "sparsity is '4:2'"),
        ("Conv1, 224, 224, 7, 7, 3, 64, 2, 0:4,", "sparsity is '0:4'"),
        ("Conv1, 224, 224, 7, 7, 3, 64, 2, 2,5,", "row 2 'Conv1': column 10, without a name, holds '5'"),
        ('Conv1, "224, 224, 7, 7, 3, 64, 2,', "row 3: a quoted cell is not closed"),
        ("Conv1, 224, 224, 7, 7, 3, 64, -2,", "Strides is '-2'"),
        ("Conv1, 224, 224, 7, 7, 3, 64, 0,", "Strides is '0'"),
        ("Conv1, 224, 224, 7, 7, 3, 64, " + "9" * 5000 + ",", "Strides is '999"),
        (", 224, 224, 7, 7, 3, 64, 2,", "row 2 has no layer name"),
    ],
)
def test_a_mistake_in_a_topology_is_told_with_its_row(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        table(tmp_path, CONVOLUTIONS + row + "\n")


# --- the manual ---


def test_the_examples_of_the_manual_are_read(tmp_path: Path) -> None:
    manual = (ROOT / "docs" / "layer-lists.md").read_text(encoding="utf-8")
    tiny = parse_layer_list(manual.split("```yaml\n")[1].split("```")[0], "tiny.yaml")
    assert [layer.name for layer in tiny.layers if layer.name.startswith("stage.1")] == [
        f"stage.1.{name}" for name in ("input", "conv1", "bn1", "add", "relu")
    ]
    assert tiny.parameters == 3 * 16 * 9 + 2 * (16 * 16 * 9 + 2 * 16) + 16 * 10 + 10
    rows = "kind" + manual.split("```text\nkind")[1].split("```")[0]
    assert table(tmp_path, rows).layers[2] == Linear("fc", 128 * 112 * 112, 1000)


# --- what is bounded ---


def test_layers_and_fields_are_counted_before_they_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"layers: 20,001 layers; there may be 20,000"):
        parse_layer_list("name: x\nlayers: [" + "{}," * 20_001 + "]", "x.yaml")
    with pytest.raises(ShapeError, match=r"x.yaml: over 500,000 fields"):
        parse_layer_list("name: x\nlayers: [" + "[]," * 300_000 + "]", "x.yaml")


def test_a_table_names_every_column_once(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"the header names 'out' 2 times"):
        table(tmp_path, "kind,name,in,out,out\nlinear,a,4,3,5\n")


def test_an_absurd_number_is_quoted_shortly(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"row 2 'a': padding: '9{30,40}\.\.\.9{30,40}' is neither a whole number"):
        table(tmp_path, f"kind,name,in,out,size,kernel,padding\nconv,a,3,8,8x8,3x3,{'9' * 5000}\n")


def test_tokens_are_as_many_as_an_image_has_patches() -> None:
    assert load_network("vit-s", sizes={"image": 160, "sequence": 101}).layers
    for sizes in ({"sequence": 256}, {"image": 160}, {"image": 224, "sequence": 196}):
        with pytest.raises(
            ShapeError,
            match=r"vit-s: sequence: \d+, but an image of \d+ has (197|101) tokens; set sequence and image together",
        ):
            load_network("vit-s", sizes=sizes)
    text = "name: t\nsizes: {{n: 4, side: 9}}\npatches: {}\nlayers: [{{relu: {{name: r, elements: n}}}}]\n"
    assert parse_layer_list(text.format("{n: {image: side, patch: 4}}"), "t.yaml").layers == (
        Pointwise("r", "relu", 4),
    )
    for wrong in (
        "[n]",
        "{n: 4}",
        "{n: {image: 9}}",
        "{n: {image: 9, patch: 4, mode: 1}}",
        "{n: {image: true, patch: 4}}",
        "{3: {image: [9], patch: 4}}",
    ):
        with pytest.raises(ShapeError, match="patches is a mapping"):
            parse_layer_list(text.format(wrong), "t.yaml")
    for wrong in ("{n: {image: 9, patch: 0}}", "{n: {image: 9, patch: 4, more: -1}}", "{m: {image: 9, patch: 4}}"):
        with pytest.raises(ShapeError, match=r"t.yaml: patches"):
            parse_layer_list(text.format(wrong), "t.yaml")


def test_a_size_may_be_limited_by_another() -> None:
    text = (
        "name: t\nsizes: {tokens: 4, positions: 8}\nmost: {tokens: positions}\nlayers: [{relu: {name: r, "
        "elements: tokens}}]\n"
    )
    assert parse_layer_list(text, "t.yaml", {"tokens": 8}).layers == (Pointwise("r", "relu", 8),)
    with pytest.raises(ShapeError, match=r"t.yaml: tokens is 9, more than the positions of 8; give at most 8"):
        parse_layer_list(text, "t.yaml", {"tokens": 9})
    assert parse_layer_list(text, "t.yaml", {"tokens": 9, "positions": 9}).layers == (Pointwise("r", "relu", 9),)
    for name in ("bert-base", "bert-large"):
        assert load_network(name, sequence=512).layers
        with pytest.raises(ShapeError, match="sequence is 4,096, more than the positions of 512"):
            load_network(name, sequence=4096)
    for wrong in ("[tokens]", "{tokens: [1]}", "{tokens: true}", "{other: 3}"):
        with pytest.raises(ShapeError, match="most"):
            parse_layer_list(f"name: t\nsizes: {{tokens: 4}}\nmost: {wrong}\nlayers: []\n", "t.yaml")
