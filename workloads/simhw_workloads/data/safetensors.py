"""Weights in the safetensors format: a header in JSON that says where each tensor lies, and the tensors' bytes."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from simhw.errors import WorkloadError, quoted
from simhw.files.reading import decoded, parse_json
from simhw_workloads.data.files import data_bytes

_LENGTH_BYTES = 8
_LONGEST_HEADER = 1 << 20


def read_safetensors(path: Path, names: Iterable[str]) -> dict[str, Tensor]:
    """The float32 tensors of those names.

    Raises
    ------
    WorkloadError
        The file cannot be read, is not of this format, or lacks a tensor; or one is not float32.
    """
    content = data_bytes(path, "weights in the safetensors format")
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    begin = _LENGTH_BYTES + length
    if len(content) < _LENGTH_BYTES or length > _LONGEST_HEADER or begin > len(content):
        raise WorkloadError(f"{path}: is no file of the safetensors format, or is cut off")
    header = parse_json(decoded(content[_LENGTH_BYTES:begin], str(path), WorkloadError), str(path), WorkloadError)
    if not isinstance(header, dict):
        raise WorkloadError(f"{path}: its header is not a mapping of names to tensors")
    return {name: _tensor(path, name, header.get(name), content, begin) for name in names}


def _tensor(path: Path, name: str, told: Any, content: bytes, begin: int) -> Tensor:
    if not isinstance(told, dict):
        raise WorkloadError(f"{path}: has no tensor {name}")
    if told.get("dtype") != "F32":
        raise WorkloadError(f"{path}: tensor {name} is of {quoted(told.get('dtype'))}, not F32")
    shape, place = told.get("shape"), told.get("data_offsets")
    if not (_counts(shape) and _counts(place) and len(place) == 2):
        raise WorkloadError(f"{path}: tensor {name} has shape {quoted(shape)} and place {quoted(place)}")
    first, end = place
    if end - first != 4 * math.prod(shape) or begin + end > len(content):
        raise WorkloadError(f"{path}: tensor {name} of shape {quoted(shape)} does not fit its place {quoted(place)}")
    values = np.frombuffer(content, "<f4", count=math.prod(shape), offset=begin + first)
    # A copy: the file's bytes cannot be written to, and need not stay in memory.
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 40 for each in value)
