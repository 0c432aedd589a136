"""SCALE-Sim topologies as people publish them: their headers, separators, remarks, batches and sparsity; counts by
hand.
"""

from pathlib import Path

import pytest

from simhw.errors import ShapeError
from simhw.roofline.layers.network import Conv, Linear, MatMul, Network
from simhw.roofline.networks.catalogue import load_network

HEADER = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
ROW = "C1, 10, 12, 3, 2, 4, 8, 1,"
MACS = (10 - 3 + 1) * (12 - 2 + 1) * 3 * 2 * 4 * 8
"""Of `ROW`: outputs of every window that fits, taps, channels, filters."""


def read(tmp_path: Path, text: str | bytes) -> Network:
    path = tmp_path / "topology.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_network(path)


# --- headers ---


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        "Layer name,Ifmap height,ifmap width,filter height,filter width,channels,num filters,strides,",
        "Layer, ifmap_h, ifmap_w, filter_h, filter_w, channel, num_filter, stride",
        "name, Input Height, Input Width, Kernel Height, Kernel Width, Input Channels, Output Channels, Stride",
        "Layer, IFMAP Width, IFMAP Width, Filter Width, Filter Width, Channels, Number of Filters, Strides",
        "Layer, H, W, R, S, C, M, Stride",
        "no, words, that, mean, anything, at, all, here",
        "Layer name, IFMAP Hight, IFMAP Wdith, Filter Height, Filter Width, Chanels, Num Filter, Strides",
        '"Layer name","IFMAP Height","IFMAP Width","Filter Height","Filter Width","Channels","Num Filter","Strides"',
    ],
)
def test_words_of_all_kinds_stand_for_the_same_columns(tmp_path: Path, header: str) -> None:
    network = read(tmp_path, f"{header}\n{ROW}\n")
    assert network.layers == (Conv("C1", 4, 8, (10, 12), (3, 2), (1, 1), (0, 0), (1, 1)),)
    assert network.macs == MACS


def test_words_that_are_known_decide_in_any_order(tmp_path: Path) -> None:
    header = (
        "Channels, Num Filter, Layer name, IFMAP Width, IFMAP Height, Filter Width, Filter Height, Stride "
        "Width, Stride Height"
    )
    (layer,) = read(tmp_path, f"{header}\n4, 8, C1, 12, 10, 2, 3, 2, 1\n").layers
    # Widths: 12 is covered by windows of 2 that move by 2.
    assert layer == Conv("C1", 4, 8, (10, 12), (3, 2), (1, 2), (0, 0), (1, 1))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Layer,In_H,In_W,In_C,Out_C,K_H,K_W,Stride", "C1,10,12,4,8,3,2,1"),
        ("layer,ih,iw,ic,oc,kh,kw,stride", "C1,10,12,4,8,3,2,1"),
        ("name,Cin,Cout,Hin,Win,Kh,Kw,stride", "C1,4,8,10,12,3,2,1"),
        ("Layer,H,W,C,K,R,S,stride", "C1,10,12,4,8,3,2,1"),
        ("Layer,N,C,X,Y,M,S,R,stride", "C1,1,4,12,10,8,2,3,1"),
        (
            "Layer, IFMAP Width (px), IFMAP Height [px], Filter Width(px), Filter Height, Channels (#), Num Filter, "
            "Strides(HW)",
            "C1,12,10,2,3,4,8,1",
        ),
        (
            ",Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides",
            "0,C1,10,12,3,2,4,8,1",
        ),
        (f"{HEADER[:-1]}, Layer Type, MAC Cycles", f"{ROW[:-1]}, GEMM, 32"),
    ],
)
def test_abbreviations_units_and_the_letters_of_papers_are_known_words(tmp_path: Path, header: str, row: str) -> None:
    network = read(tmp_path, f"{header}\n{row}\n")
    assert network.layers == (Conv("C1", 4, 8, (10, 12), (3, 2), (1, 1), (0, 0), (1, 1)),)
    assert network.macs == MACS
    assert network.cautions == ()


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (
            "Layer, H0, W0, out maps, F1, F2, F3, Stride",
            "the header has 'out maps' in the place of Filter Height; call it Num Filter",
        ),
        (
            "Layer, width of it, height of it, F1, F2, C, F3, Stride",
            "the header has 'width of it' in the place of IFMAP Height",
        ),
        ("Layer, H0, W0, F1, F2, Stride across, C0, F3", "the header has 'Stride across' in the place of Channels"),
        (
            "Layer, H0, W0, F1, F2, C0, Groups, Stride",
            "the header has 'Groups' in the place of Num Filter; call it otherwise",
        ),
    ],
)
def test_words_that_speak_of_something_else_than_their_place_are_refused(
    tmp_path: Path, header: str, told: str
) -> None:
    with pytest.raises(ShapeError, match=told):
        read(tmp_path, f"{header}\nC1, 10, 12, 3, 2, 4, 8, 1\n")


@pytest.mark.parametrize(
    ("row", "told"), [(f"{ROW[:-1]}, NPU", "Stride Width is 'NPU'"), ("fc, 10, 11, 12, GPU", "Batch is 'GPU'")]
)
def test_a_first_row_of_numbers_and_a_word_is_no_header_that_would_be_left_out(
    tmp_path: Path, row: str, told: str
) -> None:
    with pytest.raises(ShapeError, match=f"row 1 '.*': {told}"):
        read(tmp_path, f"{row}\n{row}\n")


@pytest.mark.parametrize(
    ("column", "word"), [("Depthwise", "true"), ("Type", "dw"), ("Layer Type", "MaxPool"), ("op", "Transposed conv")]
)
def test_a_word_for_another_operation_is_refused(tmp_path: Path, column: str, word: str) -> None:
    with pytest.raises(
        ShapeError, match=f"row 3 'C2': column 9, '{column}', holds '{word}': what that changes is not known here"
    ):
        read(tmp_path, f"{HEADER} {column}\n{ROW} conv\nC2, 10, 12, 3, 2, 4, 8, 1, {word}\n")
    for plain in ("conv", "Conv2D", "fc", "false", "-", ""):
        assert read(tmp_path, f"{HEADER} {column}\n{ROW} {plain}\n").cautions == ()


def test_a_file_without_a_header_has_a_layer_in_its_first_row(tmp_path: Path) -> None:
    assert read(tmp_path, f"{ROW}\nC2, 8, 8, 1, 1, 8, 2, 1\n").macs == MACS + 64 * 8 * 2
    assert read(tmp_path, "fc, 10, 11, 12\n").layers == (Linear("fc", 12, 11, 10, bias=False),)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (f"{HEADER} Padding, Padding", "the header names Padding 2 times"),
        (
            "Layer, Channels, Channels, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Strides",
            "the header names Channels 2 times",
        ),
        (f"{HEADER} Stride Width, Stride Width", "the header names Stride Width 2 times"),
        (
            "Layer, IFMAP Height, IFMAP Width, Batch, Filter Width, Channels, Num Filter, Strides",
            "the header has no column Filter Height",
        ),
    ],
)
def test_a_header_that_says_a_thing_twice_or_not_at_all_is_refused(tmp_path: Path, header: str, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        read(tmp_path, f"{header}\nC1, 10, 12, 3, 2, 4, 8, 1, 1, 1\n")


def test_a_ninth_number_is_the_stride_along_the_width_only_where_no_header_says_otherwise(tmp_path: Path) -> None:
    plain, named, batch, padding = (
        read(tmp_path, f"{HEADER}{word}\nC1, 12, 12, 3, 3, 4, 8, 1, 3,\n")
        for word in ("", " Stride Width,", " Batch Size,", " Padding,")
    )
    # Windows at 0, 3, 6 and 9 of 12 columns, of which the last ends at 12.
    assert plain.macs == named.macs == 10 * 4 * 9 * 4 * 8
    assert (batch.macs, batch.batch) == (10 * 10 * 9 * 4 * 8, 3)
    assert padding.macs == 16 * 16 * 9 * 4 * 8
    (padded,) = padding.layers
    assert isinstance(padded, Conv)
    assert (padded.size, padded.padding) == ((12, 12), (3, 3))
    # A padding of 1 in height and 2 in width: 10 + 2 rows and 12 + 4 columns.
    beside = read(tmp_path, f"{HEADER} Pad_H, Pad_W\n{ROW} 1, 2\n")
    assert beside.macs == (12 - 3 + 1) * (16 - 2 + 1) * 3 * 2 * 4 * 8


def test_addresses_and_remarks_change_nothing_and_other_numbers_are_refused(tmp_path: Path) -> None:
    header = f"{HEADER} IFMAP Offset, Filter Offset, OFMAP Offset, Comment"
    assert read(tmp_path, f"{header}\n{ROW} 0, 10000000, 20000000, first\n").macs == MACS
    placed = read(tmp_path, f"{HEADER}, Target\n{ROW[:-1]}, NPU\n")
    assert placed.macs == MACS
    assert placed.cautions == ("words in columns that are no sizes are left out: 'NPU'",)
    with pytest.raises(
        ShapeError, match=r"row 2 'C1': column 9, 'Groups', holds '4': what that changes is not known here"
    ):
        read(tmp_path, f"{HEADER} Groups\n{ROW} 4\n")
    # A header that names what no row has.
    assert read(tmp_path, "Layer,M,N,K,FFN_up,\nFFN_up,1378,18944,3584,\n").macs == 1378 * 18944 * 3584


# --- separators, comments, empty cells ---


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\r\n{ROW}\r\n",
        f"{HEADER}\r{ROW}\r",
        f"{HEADER}\n{ROW},,\n",
        f"{HEADER},,\n\n,,,,,,,\n{ROW}\n,,,\n",
        f"{HEADER}\n{ROW}".replace(",", "\t"),
        f"{HEADER}\n{ROW}".replace(",", ";"),
        "sep=;\n" + f"{HEADER}\n{ROW}".replace(",", ";"),
        f"sep=,\n{HEADER}\n{ROW}",
        HEADER.replace(",", ", px;") + "\n" + ROW.replace(",", ";"),
        f"{HEADER}\n{ROW}#dw\n",
        f"{HEADER}\n{ROW[:-1]} # of 8, say\n",
        f"{HEADER}\n{ROW[:-1]} // of 8, say\n",
        f"# a topology, by hand\n{HEADER}\n# the first\n// and only\n{ROW}\n",
        f'{HEADER}\n"C1","10","12",3,2,4,8,1\n',
        b"\xef\xbb\xbf" + f"{HEADER}\n\tC1 ,10 , 12,3,2,4,8,1".encode(),
    ],
)
def test_a_row_is_the_same_however_it_is_written(tmp_path: Path, text: str | bytes) -> None:
    network = read(tmp_path, text)
    assert [layer.name for layer in network.layers] == ["C1"]
    assert network.macs == MACS
    assert network.cautions == ()


def test_a_row_of_a_name_alone_is_a_heading_and_said_so(tmp_path: Path) -> None:
    network = read(tmp_path, f"{HEADER}\n\nTransformer,\n{ROW}\n")
    assert network.macs == MACS
    assert network.cautions == ("rows of a name alone are taken as headings: 'Transformer'",)


def test_names_may_hold_blanks_signs_and_numbers(tmp_path: Path) -> None:
    rows = "Convolution Layer 1, 3,3,1,1,1,1,1,\nConv#2, 3,3,1,1,1,1,1,\nAttn_QxK', 3,3,1,1,1,1,1,\n7, 3,3,1,1,1,1,1,\n"
    assert [layer.name for layer in read(tmp_path, f"{HEADER}\n{rows}").layers] == [
        "Convolution Layer 1",
        "Conv#2",
        "Attn_QxK'",
        "7",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no layers"),
        ("# nothing\n", "no layers"),
        (f"{HEADER}\n", "no layers"),
        ("Transformer\n", "no layers: none of its 1 rows has more than one cell"),
        (f"{HEADER}\n{ROW}".replace(",", "|"), "its cells between commas, semicolons or tabs"),
        (f"{HEADER}\n{ROW}\nC2, 10, 12, 3, 2, 4, 8,\n", "row 3 'C2': 6 numbers after the name; there should be 7"),
        (f"{HEADER}\nL1, 1, B, 1, 1, H, H, 1,\n", "row 2 'L1': IFMAP Width is 'B'"),
        (
            f"{HEADER}\n\nC1, 10, 10, 3, 3, ,1 2, 2, 1,\n",
            "row 3 'C1': 6 numbers after the name; there should be 7: Channels is missing",
        ),
        (f"{HEADER}\nC1, 10, 10, 3, 3, 1e3, 8, 1,\n", "Channels is '1e3'"),
        (f"{HEADER}\nC1, 10, 10, 3, 3, \N{SUPERSCRIPT TWO}, 8, 1,\n", "Channels is"),
        ("name,macs\na,3\n", "no column 'kind'"),
        ("name,out\na,3\n" + "x," * 2000, r"row 3: over 128 cells"),
        (f"{HEADER}\n{'x' * 200_000}, 1\n", r"row 2: not CSV: field larger"),
        (b"Layer, M, N, K\nfc\xff, 1, 2, 3\n", "line 2: byte 0xff is not UTF-8"),
    ],
)
def test_what_is_no_topology_is_told_with_its_row(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        read(tmp_path, text)


# --- batches and sparsity ---


def test_a_batch_of_products_makes_as_many(tmp_path: Path) -> None:
    expected = (MatMul("scores", 8, 4, 5, 6), Linear("fc", 6, 5, 4, bias=False))
    for header in ("Layer, M, N, K, Batch", "Layer, M, N, K, batch size", "Layer, M, N, K,"):
        network = read(tmp_path, f"{header}\nscores, 4, 5, 6, 8,\nfc, 4, 5, 6, 1,\n")
        assert network.layers == expected
    assert network.macs == 8 * 4 * 5 * 6 + 4 * 5 * 6


def test_a_batch_of_convolutions_is_the_steps(tmp_path: Path) -> None:
    rows = "convA, 34, 34, 3, 3, 16, 32, 1, 8,\nconvB, 32, 32, 1, 1, 32, 64, 1, {},\n"
    network = read(tmp_path, f"{HEADER} Batch Size,\n{rows.format(8)}")
    assert network.macs == 32 * 32 * 9 * 16 * 32 + 32 * 32 * 32 * 64 == 6_815_744
    assert network.batch == 8
    assert read(tmp_path, f"{HEADER} Batch Size,\n{ROW} 1,\n").batch is None
    with pytest.raises(ShapeError, match="layers of different batches"):
        read(tmp_path, f"{HEADER} Batch Size,\n{rows.format(4)}")


def test_sparsity_is_counted_dense_and_said_so(tmp_path: Path) -> None:
    network = read(
        tmp_path,
        "Layer Name, M, N, K, Sparsity,\na, 3, 5, 16, 3:4,\nb, 1, 5, 16, 1:4,\nc, 1, 5, 16, 4:4,\nd, 1, 5, 16, 1,\n",
    )
    assert network.macs == (3 + 1 + 1 + 1) * 5 * 16
    assert network.cautions == (
        "sparsity 1:4, 3:4 of 2 layers is counted dense: the device has no units for N:M sparsity",
    )
    assert read(tmp_path, f"{HEADER}\n{ROW} 2:4,\n").macs == MACS
    assert read(tmp_path, f"{HEADER}\n{ROW} 1, 1:1,\n").cautions == ()


@pytest.mark.parametrize("ratio", [":", "0:0", "0:4", "5:4", "1:", ":4", "1:2:4", "a:b", "-1:4", "0"])
def test_a_ratio_that_is_none_is_refused(tmp_path: Path, ratio: str) -> None:
    with pytest.raises(ShapeError, match=r"row 2 'C1': sparsity is '.*'; give N:M"):
        read(tmp_path, f"{HEADER} Sparsity,\n{ROW} {ratio},\n")
