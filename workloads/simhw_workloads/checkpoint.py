"""A training's state on disk: weights, optimizer and loss curve as plain arrays (an ``.npz``, no pickle).

The model and its optimizer say which arrays a checkpoint must hold: their names, shapes and types.  A member of another
name or size is refused unread.  Nothing is put back before everything has been read.
"""

import copy
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from simhw.errors import TraceError, WorkloadError, quoted
from simhw.files.reading import decoded, parse_json
from simhw.files.writing import replacing
from simhw.trace.archive import Archive, Limits

Options = Mapping[str, str | int | float]
# Members are read only where they have the size of an array of the model: no limit of traces is needed.
_UNLIMITED = Limits(1 << 62, 1 << 62, 1 << 62)
# numpy pads the header of an array of so few axes to this length.
_HEADER_BYTES = 128


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    seed: int,
    losses: list[float],
    of: Options | None = None,
) -> None:
    """Write weights, optimizer state and loss curve as plain arrays (an ``.npz``, no pickle), atomically.

    Parameters
    ----------
    path : Path
    model, optimizer
    seed : int
    losses : list of float
        Of the steps done, finite.
    of : mapping, optional
        What else shapes the training: a checkpoint goes on only where these are the same.
    """
    arrays = {f"model/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        arrays |= {
            f"optimizer/{index}/{key}": value.numpy() for key, value in state.items() if isinstance(value, Tensor)
        }
    about = {"seed": seed, "losses": losses, "of": dict(of or {}), "arrays": sorted(arrays)}
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    # Through an open file: given a name, numpy would append a suffix to one that has none.
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, about=np.frombuffer(json.dumps(about, allow_nan=False).encode(), np.uint8), **arrays)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, seed: int, of: Options | None = None
) -> list[float]:
    """Put weights and optimizer state back; give the losses of the steps done.

    Raises
    ------
    WorkloadError
        Not a checkpoint, or one of another model, optimizer, seed or training; model and optimizer are then as they
        were.
    """
    try:
        archive = Archive(path, _UNLIMITED)
        losses, arrays = _about(path, archive, seed, of or {})
        weights = {name: _read(path, archive, f"model/{name}", tensor) for name, tensor in model.state_dict().items()}
        state = _optimizer_state(path, archive, optimizer, len(losses))
    except TraceError as error:
        raise _unusable(path, str(error)) from None
    read = [f"model/{name}" for name in weights] + [
        f"optimizer/{index}/{key}" for index, keys in state.items() for key in keys
    ]
    if sorted(read) != arrays or archive.members.keys() != {f"{name}.npy" for name in (*read, "about")}:
        raise _of_another_model(path, "it holds other arrays than the model and its optimizer")
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return losses


def _unusable(path: Path, problem: str) -> WorkloadError:
    return WorkloadError(f"{path}: not a checkpoint of simhw ({problem}); remove it to start anew")


def _of_another_model(path: Path, problem: str) -> WorkloadError:
    return WorkloadError(f"{path}: a checkpoint of another model ({problem}); remove it to start anew")


def _about(path: Path, archive: Archive, seed: int, of: Options) -> tuple[list[float], list[str]]:
    """The losses, and the names of all arrays, of a checkpoint of this seed and training."""
    length = archive.member("about.npy", "about").bytes - _HEADER_BYTES
    content = _content(path, archive, "about", np.dtype(np.uint8), (length,))
    if content is None:
        raise _unusable(path, "member 'about' is no text")
    told = parse_json(decoded(content.tobytes(), str(path), WorkloadError), str(path), WorkloadError)
    match told:
        case {"seed": int(found_seed), "losses": [*losses], "of": dict(made), "arrays": [*arrays]}:
            pass
        case _:
            raise _unusable(path, "it does not say what it is of, or is of an older version")
    if found_seed != seed:
        raise WorkloadError(
            f"{path}: a checkpoint of seed {quoted(found_seed)}, not {seed}; remove it or give the --seed that it is of"
        )
    for name, wanted in of.items():
        if made.get(name) != wanted:
            raise WorkloadError(
                f"{path}: a checkpoint of a training with {name} {quoted(made.get(name))}, not {quoted(wanted)}; "
                "remove it to start anew"
            )
    if not losses or not all(isinstance(loss, float) and math.isfinite(loss) for loss in losses):
        raise _unusable(path, "its losses are not finite numbers")
    if not all(isinstance(name, str) for name in arrays):
        raise _unusable(path, "the names of its arrays are no text")
    return losses, arrays


def _optimizer_state(
    path: Path, archive: Archive, optimizer: torch.optim.Optimizer, steps: int
) -> dict[int, dict[str, Tensor]]:
    """What the optimizer keeps of each parameter that it has updated."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = _kept_by(optimizer)
    found: dict[int, dict[str, Tensor]] = {}
    for index, parameter in enumerate(parameters):
        held = [key for key in kept if f"optimizer/{index}/{key}.npy" in archive.members]
        if held and len(held) < len(kept):
            raise _of_another_model(path, f"parameter {index} lacks some of its optimizer's {', '.join(kept)}")
        if held:
            found[index] = {
                key: _read(path, archive, f"optimizer/{index}/{key}", like if like.ndim == 0 else parameter)
                for key, like in kept.items()
            }
    for index, state in found.items():
        if "step" in state and not (1 <= (step := state["step"].item()) <= steps and step == int(step)):
            raise _unusable(path, f"parameter {index} is at step {step:g} of {steps}")
        if "exp_avg_sq" in state and bool((state["exp_avg_sq"] < 0).any()):
            raise _unusable(path, f"parameter {index} has a negative mean of squares")
    return found


def _kept_by(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimizer keeps of a parameter, by name.

    A step on a parameter of two values shows it.  What has axes here has the shape of the parameter in general.
    """
    scratch, parameter = copy.copy(optimizer), nn.Parameter(torch.zeros(2))
    parameter.grad = torch.zeros(2)
    scratch.state = defaultdict(dict)
    scratch.param_groups = [{**optimizer.param_groups[0], "params": [parameter]}]
    scratch.step()
    return {key: value for key, value in scratch.state[parameter].items() if isinstance(value, Tensor)}


def _read(path: Path, archive: Archive, name: str, like: Tensor) -> Tensor:
    """An array of the shape and type of a tensor; a copy."""
    expected = like.detach().numpy()
    content = _content(path, archive, name, expected.dtype, expected.shape)
    if content is None:
        raise _of_another_model(path, f"{quoted(name)} is no {expected.dtype} array of shape {expected.shape}")
    if np.issubdtype(content.dtype, np.floating) and not np.isfinite(content).all():
        raise _unusable(path, f"{quoted(name)} holds values that are not finite")
    return torch.from_numpy(content.copy())


def _content(
    path: Path, archive: Archive, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any] | None:
    """An array of this type and shape; None where its size or its header is that of another."""
    member = archive.members.get(f"{name}.npy")
    if member is None:
        raise _of_another_model(path, f"{quoted(name)} is missing")
    if member.deflated:
        raise _unusable(path, f"{quoted(name)} is compressed")
    header = BytesIO()
    # The very bytes that numpy writes before such an array: what begins with them needs no parser.
    np.lib.format.write_array_header_1_0(header, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    begin = header.tell()
    if member.bytes != begin + math.prod(shape) * dtype.itemsize:
        return None
    content = archive.read(member.name, quoted(name))
    if not content.startswith(header.getvalue()):
        return None
    return np.frombuffer(content, dtype, offset=begin).reshape(shape)
