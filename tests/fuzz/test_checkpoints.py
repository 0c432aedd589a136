"""Checkpoints damaged at random: a training goes on from one, or is refused in one line with model and optimizer as
they were.

200 cases take about 2 s.
"""

import copy
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.checkpoint import load_checkpoint, save_checkpoint
from simhw_workloads.schedule import Schedule
from tests.mutations import ODD_VALUES, accepted, fuzz, generators, mutated_bytes, mutated_tree
from tests.zip_files import members_of, npy, zipped

LOSSES = [1.5, 1.0]
KINDS = ("sgd", "adamw")


def training(kind: Any, steps: int = 0, width: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model with a buffer, and its optimizer after some steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
    optimizer = Schedule(10, 0.1, kind=kind).optimizer(model.parameters())
    for _ in range(steps):
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def saved(path: Path, kind: str) -> Path:
    save_checkpoint(path, *training(kind, steps=2), 0, LOSSES, {"phase": "only", "batch": 8})
    return path


def state(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    kept = [value for each in optimizer.state_dict()["state"].values() for value in each.values()]
    return [tensor.clone() for tensor in (*model.state_dict().values(), *kept)]


def rewritten(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    path.write_bytes(zipped(contents, method))
    return path


def about_of(contents: dict[str, bytes]) -> Any:
    return json.loads(np.load(io.BytesIO(contents["about.npy"])).tobytes())


def with_about(contents: dict[str, bytes], about: Any) -> dict[str, bytes]:
    return contents | {"about.npy": npy(np.frombuffer(json.dumps(about).encode(), np.uint8))}


def goes_on_or_is_refused(path: Path, kind: str, what: str) -> None:
    model, optimizer = training(kind)
    before = state(model, optimizer)
    if accepted(lambda: load_checkpoint(path, model, optimizer, 0, {"phase": "only", "batch": 8}), what):
        # What loads must also train; weights of 1e38 may diverge, which the training itself says.
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
    else:
        after = state(model, optimizer)
        assert len(after) == len(before), what
        assert all(map(torch.equal, after, before)), f"{what}: it was put back in part"


def damaged_deep(rng: random.Random, contents: dict[str, bytes]) -> dict[str, bytes]:
    """Members that are damaged inside, left out, renamed, exchanged or made of something else; the text among them by
    its values.
    """
    contents = dict(contents)
    name, other = rng.choice(list(contents)), rng.choice(list(contents))
    match rng.randrange(7):
        case 0:
            contents[name] = mutated_bytes(rng, contents[name])
        case 1:
            del contents[name]
        case 2:
            contents[rng.choice((name + "x", "optimizer/9/step.npy", "optimizer/x/momentum_buffer.npy", "é" * 300))] = (
                contents.pop(name)
            )
        case 3:
            contents[name] = contents[other]
        case 4:
            shape = rng.choice(((), (1,), (3, 4), (4, 3), (2, 3), (0,), (3,)))
            kind = rng.choice((np.float32, np.float64, np.int64, np.uint8, np.bool_))
            contents[name] = npy(np.full(shape, rng.choice((0, 1, 2, 100)), kind))
        case 5:
            array = np.load(io.BytesIO(contents[name])).copy()
            if array.size and array.dtype.kind == "f":
                array.reshape(-1)[rng.randrange(array.size)] = rng.choice((float("nan"), float("inf"), -1.0, 1e38, 0.5))
            contents[name] = npy(array)
        case _:
            contents = with_about(contents, mutated_tree(rng, about_of(contents)))
    return contents


@pytest.mark.parametrize("kind", KINDS)
@fuzz(100)
def test_a_damaged_checkpoint_goes_on_or_is_refused_whole(kind: str, seeds: range, tmp_path: Path):
    good = saved(tmp_path / "good.npz", kind)
    contents, path = members_of(good), tmp_path / "bad.npz"
    goes_on_or_is_refused(good, kind, "the good one")
    for seed, rng in generators(seeds):
        if rng.random() < 0.25:
            path.write_bytes(mutated_bytes(rng, good.read_bytes()))
        else:
            method = rng.choice((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
            rewritten(path, damaged_deep(rng, contents), method)
        goes_on_or_is_refused(path, kind, f"seed {seed}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_good_one_goes_on_bit_by_bit(kind: str, tmp_path: Path):
    model, optimizer = training(kind)
    assert (
        load_checkpoint(saved(tmp_path / "run.npz", kind), model, optimizer, 0, {"phase": "only", "batch": 8}) == LOSSES
    )
    assert all(map(torch.equal, state(model, optimizer), state(*training(kind, steps=2))))


GIANT = (
    b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 1048576), }".ljust(117)
    + b"\n"
)
PICKLED = (
    b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 4), }".ljust(117) + b"\n"
)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model/0.weight.npy": GIANT}, "no float32 array of shape"),
        ({"model/0.weight.npy": PICKLED}, "no float32 array of shape"),
        ({"model/0.weight.npy": None}, "is missing"),
        ({"optimizer/0/momentum_buffer.npy": None}, "other arrays"),
        ({"optimizer/zero/momentum_buffer.npy": npy(np.zeros((3, 4), np.float32))}, "other arrays"),
        ({"optimizer/0/momentum_buffer.npy": npy(np.zeros((4, 3), np.float32))}, "no float32 array of shape"),
        ({"optimizer/0/momentum_buffer.npy": npy(np.zeros((3, 4)))}, "no float32 array of shape"),
        ({"optimizer/0/momentum_buffer.npy": npy(np.full((3, 4), np.inf, np.float32))}, "not finite"),
        ({"about.npy": npy(np.frombuffer(b"[" * 100_000, np.uint8))}, "nested too deeply"),
        ({"about.npy": npy(np.frombuffer(b"\xff\xfe", np.uint8))}, "not UTF-8"),
        ({"about.npy": npy(np.zeros(40))}, "no text"),
    ],
)
def test_what_is_wrong_with_a_member_is_said(changes: dict[str, bytes | None], what: str, tmp_path: Path):
    contents = members_of(saved(tmp_path / "good.npz", "sgd"))
    changed = {name: content for name, content in (contents | changes).items() if content is not None}
    model, optimizer = training("sgd")
    before = state(model, optimizer)
    with pytest.raises(WorkloadError, match=what):
        load_checkpoint(rewritten(tmp_path / "bad.npz", changed), model, optimizer, 0, {"phase": "only", "batch": 8})
    assert all(map(torch.equal, state(model, optimizer), before))


@pytest.mark.parametrize(
    "losses", [[], [1.0, float("inf")], [1.0, "x"], [1.0, None], "abc", [10**400], *([value] for value in ODD_VALUES)]
)
def test_losses_that_are_not_finite_numbers_are_refused(losses: Any, tmp_path: Path):
    contents = members_of(saved(tmp_path / "good.npz", "sgd"))
    about = about_of(contents) | {"losses": losses}
    path = rewritten(tmp_path / "bad.npz", with_about(contents, about))
    fine = isinstance(losses, list) and losses in ([0.5], [1e308])
    assert accepted(lambda: load_checkpoint(path, *training("sgd"), 0), "losses") == fine


def test_a_checkpoint_of_another_training_of_the_same_model_is_refused(tmp_path: Path):
    path = saved(tmp_path / "run.npz", "sgd")
    with pytest.raises(WorkloadError, match="a training with batch 8, not 16"):
        load_checkpoint(path, *training("sgd"), 0, {"phase": "only", "batch": 16})
    with pytest.raises(WorkloadError, match="another model"):
        load_checkpoint(path, *training("adamw"), 0)
    with pytest.raises(WorkloadError, match="another model"):
        load_checkpoint(path, *training("sgd", width=4), 0)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_checkpoints_are_refused(method: int, tmp_path: Path):
    path = rewritten(tmp_path / "bad.npz", members_of(saved(tmp_path / "good.npz", "sgd")), method)
    with pytest.raises(WorkloadError, match="compress"):
        load_checkpoint(path, *training("sgd"), 0)


def test_the_state_that_an_optimizer_keeps_is_asked_of_it_without_a_trace():
    from simhw_workloads.checkpoint import _kept_by

    for kind, keys in (("sgd", {"momentum_buffer"}), ("adamw", {"step", "exp_avg", "exp_avg_sq"})):
        optimizer = training(kind)[1]
        before = copy.deepcopy(optimizer.state_dict())
        assert _kept_by(optimizer).keys() == keys
        assert optimizer.state_dict() == before
