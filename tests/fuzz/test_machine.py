"""Damaged machine files, device files and overrides: they load, are shown and run in bounded time, or are refused in
one short line.

90 cases by default in about 3 s, 900 others under `-m slow`.
"""

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from simhw import Layer, load_machine, simulate
from simhw.cli import main
from simhw.errors import SimhwError
from simhw.machine.dotted import leaf, leaf_names
from simhw.machine.files import machine_text
from simhw.machine.names import device_names, machine_names
from simhw.machine.overrides import parse_overrides
from simhw.roofline.device import device_source, load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.lists import parse_layer_list
from simhw.roofline.step.run import Run
from simhw.trace.trace import Trace
from tests.mutations import ODD_TEXT, ODD_VALUES, accepted, fuzz, generators, mutated_text, mutated_tree
from tests.slow_engine import tensor

LONGEST_S = 5.0
NETWORK = parse_layer_list(
    "name: tiny\ninput: [3, 8, 8]\nlayers:\n  - conv: {name: c, out: 8, kernel: 3, padding: 1}\n  - batchnorm: "
    "{name: b}\n"
    "  - relu: {name: r}\n  - linear: {name: l, out: 4}\n",
    "tiny",
)


def tiny() -> Trace:
    rng = np.random.default_rng(5)
    return Trace(
        [
            Layer(
                "conv",
                "conv",
                {"padding": 1},
                a=tensor(rng, 1, 16, 4, 4),
                w=tensor(rng, 8, 16, 3, 3),
                g=tensor(rng, 1, 8, 4, 4),
            )
        ]
    )


def run_machine(path: str, **overrides: object) -> None:
    """Load, and simulate a layer in all its operations."""
    simulate(tiny(), load_machine(path, **overrides), progress=False).total  # noqa: B018  # the sums are what may fail


def run_device(path: str, **overrides: object) -> None:
    """Load, and predict a step of training and one of inference."""
    device = load_device(path, **overrides)
    for mode in ("training", "inference"):
        try:
            estimate(NETWORK, device, Run(2, mode, "fp16", "fused", "sgd")).frame  # type: ignore[arg-type]  # noqa: B018
        except SimhwError:
            if mode == "inference":
                raise


def in_time(action: Callable[..., object], what: str, *arguments: object, **overrides: object) -> bool:
    """Whether the action is accepted; where it takes long it is run again, since kernels may have been compiled the
    first time.
    """
    for _ in range(2):
        start = time.perf_counter()
        good = accepted(lambda: action(*arguments, **overrides), what)
        took = time.perf_counter() - start
        if took < LONGEST_S:
            return good
    raise AssertionError(f"{what}: took {took:.1f} s")


def whole(name: str) -> dict[str, object]:
    """All that a machine or device states, in one tree."""
    loaded = load_machine(name) if name in machine_names() else load_device(name)
    return loaded.values.model_dump(mode="json")


def damaged_file(rng: random.Random, folder: Path) -> tuple[str, str]:
    """A damaged file of a machine or device, and which it was."""
    name = rng.choice([*machine_names(), *device_names()])
    path = folder / "damaged.yaml"
    if rng.random() < 0.5:
        text = mutated_text(rng, machine_text(name if name in machine_names() else device_source(name)))
    else:
        text = yaml.safe_dump(mutated_tree(rng, whole(name)), allow_unicode=True)
    path.write_text(text, encoding="utf-8", errors="replace")
    return str(path), name


@fuzz(40)
def test_damaged_files_load_and_run_or_are_refused(seeds: range, tmp_path: Path) -> None:
    good = 0
    for seed, rng in generators(seeds):
        path, name = damaged_file(rng, tmp_path)
        good += in_time(run_machine if name in machine_names() else run_device, f"seed {seed}, {name}", path)
    assert 0 < good < len(seeds)


@fuzz(10)
def test_damaged_files_are_shown_or_refused(seeds: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, rng in generators(seeds):
        path, name = damaged_file(rng, tmp_path)
        what = f"seed {seed}, {name}"
        for command in (
            ["machine", "show", path],
            ["machine", "iso-area", "--pe", path, "--baseline", "bf16", "--area", "chip"],
        ):
            assert in_time(main, what, command)
            assert all(len(line) <= 400 for line in capsys.readouterr().err.splitlines()), f"{what}: a long line"


def odd_override(rng: random.Random, name: str) -> dict[str, object]:
    """A value of a machine or device, or one called much like it, as something odd or as something else of its kind."""
    values = whole(name)
    key = rng.choice(leaf_names(values))
    value = leaf(values, key)
    match rng.randrange(4):
        case 0 if isinstance(value, int | float):
            return {key: type(value)(value * 2.0 ** rng.randint(-40, 40))}
        case 0 | 1:
            return parse_overrides([f"{key}={rng.choice(ODD_TEXT)}"])
        case 2:
            return {mutated_text(rng, key): value}
        case _:
            return {key: rng.choice(ODD_VALUES)}


@fuzz(50)
def test_overrides_run_or_are_refused(seeds: range) -> None:
    good = 0
    for seed, rng in generators(seeds):
        name = rng.choice([*machine_names(), *device_names()])
        what = f"seed {seed}, {name}"
        given: dict[str, object] = {}
        if accepted(partial(lambda rng, name, given: given.update(odd_override(rng, name)), rng, name, given), what):
            good += in_time(
                run_machine if name in machine_names() else run_device, f"{what}: {str(given)[:100]}", name, **given
            )
    assert 0 < good < len(seeds)
