"""A training's state on disk: weights, optimizer and loss curve as plain arrays (an ``.npz``, no pickle)."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.output import replacing


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, seed: int, losses: list[float]) -> None:
    """Write weights, optimizer state and loss curve as plain arrays (an ``.npz``, no pickle), atomically."""
    arrays = {f"model/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{key}": value.numpy() for key, value in state.items() if isinstance(value, Tensor)}
    about = json.dumps({"seed": seed, "losses": losses})
    # Through an open file: given a name, numpy would append a suffix to one that has none.
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, about=np.frombuffer(about.encode(), np.uint8), **arrays)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> list[float]:
    """Put weights and optimizer state back; give the losses of the steps done.

    Raises
    ------
    WorkloadError
        Not a checkpoint, or one of another model or seed.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files if name != "about"}
        found_seed, losses = int(about["seed"]), [float(loss) for loss in about["losses"]]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise WorkloadError(f"{path}: not a checkpoint of simhw ({error}); remove it to start anew") from error
    if found_seed != seed:
        raise WorkloadError(f"{path}: a checkpoint of seed {found_seed}, not {seed}; remove it or give --seed {found_seed}")
    state: dict[int, dict[str, Any]] = {}
    for name, array in arrays.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/", 2)
            state.setdefault(int(index), {})[key] = array
    try:
        model.load_state_dict({name.removeprefix("model/"): array for name, array in arrays.items() if name.startswith("model/")})
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (RuntimeError, ValueError, KeyError) as error:
        raise WorkloadError(f"{path}: a checkpoint of another model ({str(error).splitlines()[0]}); remove it to start anew") from error
    return losses
