"""Damaged traces: whatever is wrong with one gives one clear line, and `trace validate` finds what a run would refuse.

Archives are damaged byte by byte; members and metadata inside intact archives, so that the damage gets past the
checksums.
"""

import json
import random
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, load_trace, simulate
from simhw.errors import SimhwError
from simhw.lowering import lower
from simhw.lowering.validate import validate_trace
from simhw.trace.geometry import CONVOLUTIONS, KINDS, RECURRENT, TRANSPOSED_CONVOLUTIONS
from simhw.trace.layer import BLOCK_ROWS, OPERANDS, OPERATIONS, InMemory, Operation, ProductBlock, TensorStatistics
from simhw.trace.reader import trace_hash
from simhw.trace.statistics import layer_statistics
from tests.mutations import accepted, fuzz, generators, mutated_bytes, mutated_text, mutated_tree
from tests.trace_files import convolution, values
from tests.zip_files import members_of, zipped

ROOM_BYTES = 192 << 20
SECONDS = 20  # five where nothing else runs
SMALL_VALUES = 4096
METADATA = "metadata.json"


def whole_trace() -> Trace:
    grouped = Layer(
        "grouped",
        "conv1d",
        {"stride": 2, "padding": 1, "groups": 2},
        values(7, 2, 4, 5),
        values(8, 2, 2, 3),
        values(9, 2, 2, 3),
    )
    mirrored = Layer(
        "up", "conv_transpose1d", {"stride": 2}, values(10, 1, 2, 3), values(11, 2, 3, 2), values(12, 1, 3, 6)
    )
    product = Layer("scores", "matmul", None, values(13, 2, 2, 3, 4), values(14, 2, 2, 4, 5), values(15, 2, 2, 3, 5))
    gates = Layer("gates", "lstm", None, values(16, 3, 2, 4), values(17, 8, 4), values(18, 3, 2, 8))
    linear = Layer(
        "fc", "linear", None, values(4, 2, 5), values(5, 3, 5), values(6, 2, 3), operations=["forward", "weight_grad"]
    )
    return Trace([convolution(), grouped, mirrored, product, gates, linear])


def sampled() -> Trace:
    """Cells of a linear layer and of a matrix product."""
    fc = Layer("fc", "linear", a=values(1, 40, 20), w=values(2, 20, 20), g=values(3, 40, 20))
    scores = Layer("scores", "matmul", a=values(4, 2, 18, 8), w=values(5, 2, 8, 18), operations=["forward"])
    cells = {
        "fc": [
            ProductBlock(0, 0, 32, 16, InMemory(fc.a[32:]), InMemory(fc.w[16:])),
            ProductBlock(0, 0, 0, 0, InMemory(fc.a[:16]), InMemory(fc.w[:16])),
        ],
        "scores": [
            ProductBlock(0, 1, 0, 16, InMemory(scores.a[1, :16]), InMemory(np.ascontiguousarray(scores.w[1, :, 16:].T)))
        ],
    }
    layers = []
    for layer in (fc, scores):
        statistics = {tensor: layer_statistics(layer, tensor) for tensor in layer.shapes}
        blocks = {"forward": cells[layer.name]}
        layers.append(
            Layer(
                layer.name,
                layer.kind,
                shapes=layer.shapes,
                statistics=statistics,
                blocks=blocks,
                operations=["forward"],
            )
        )
    return Trace(layers)


def damaged_archive(rng: random.Random, path: Path) -> bytes:
    return mutated_bytes(rng, path.read_bytes())


def damaged_directory(rng: random.Random, path: Path) -> bytes:
    """The end of the file is directory alone, and so are the headers before the members' values."""
    content = path.read_bytes()
    at = rng.choice(
        (
            content.index(b"PK\x01\x02"),
            len(content) - 22,
            content.index(b"PK\x03\x04", rng.randrange(len(content) // 2)),
        )
    )
    reach = min(len(content), at + rng.choice((22, 46, 400)))
    return content[:at] + mutated_bytes(rng, content[at:reach]) + content[reach:]


def damaged_member(rng: random.Random, path: Path) -> bytes:
    members = members_of(path)
    name = rng.choice([name for name in members if name != METADATA])
    header = members[name][:128]
    members[name] = (
        mutated_bytes(rng, header) + members[name][128:] if rng.random() < 0.7 else mutated_bytes(rng, members[name])
    )
    return zipped(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def damaged_text(rng: random.Random, path: Path) -> bytes:
    members = members_of(path)
    text = json.dumps(json.loads(members[METADATA]), indent=1)
    members[METADATA] = mutated_text(rng, text).encode("utf-8", "surrogatepass")
    return zipped(members, zipfile.ZIP_DEFLATED)


def damaged_record(rng: random.Random, path: Path) -> bytes:
    members = members_of(path)
    record = json.loads(members[METADATA])
    # Statistics are most of the places, and only a few kinds of them.
    measured = [entry for layer in record["layers"] for entry in layer["tensors"].values()]
    kept = [entry["statistics"] for entry in measured]
    if rng.random() < 0.8:
        for entry in measured:
            entry["statistics"] = None
    record = mutated_tree(rng, record)
    if rng.random() < 0.7:
        for entry, statistics in zip(measured, kept, strict=True):
            entry["statistics"] = statistics
    members[METADATA] = json.dumps(record).encode("utf-8", "surrogatepass")
    return zipped(members, zipfile.ZIP_DEFLATED)


def odd_size(rng: random.Random, largest_power: int) -> int:
    return rng.choice(
        (1, 1, 2, 3, 5, 16, 17, 33, 1 << rng.randint(0, largest_power), (1 << rng.randint(0, largest_power)) + 1)
    )


def forged_layer(rng: random.Random) -> Layer:
    """A layer of odd sizes that fit each other: held where they are small, else claimed, with a cell of each product
    sampled.
    """
    power, kind = rng.choice((3, 12, 24, 34)), rng.choice(sorted(KINDS))
    geometry: dict[str, list[int] | int] = {}

    def size(largest: int = 3) -> int:
        return odd_size(rng, power) if rng.random() < 0.3 else rng.randint(1, largest)

    if dims := CONVOLUTIONS.get(kind, 0):
        for name in ("stride", "padding", "dilation"):
            geometry[name] = [size() if rng.random() < 0.6 else 1 for _ in range(dims)]
        geometry["groups"] = groups = size() if rng.random() < 0.3 else 1
        first, second = groups * size(), size()
        channels = first if kind in TRANSPOSED_CONVOLUTIONS else second * groups
        a, w = (size(), channels, *(size(12) for _ in range(dims))), (first, second, *(size() for _ in range(dims)))
        out = Layer("forged", kind, geometry, shapes={"a": a, "w": w}).output_spatial
        shapes = {"a": a, "w": w, "g": (a[0], second * groups if kind in TRANSPOSED_CONVOLUTIONS else first, *out)}
    else:
        lead = (size(), size()) if kind in RECURRENT else tuple(size() for _ in range(rng.randint(1, 3)))
        inputs, outputs, batch = size(), size(), lead[:-1] if kind == "matmul" else ()
        shapes = {
            "a": (*lead, inputs),
            "w": (*batch, inputs, outputs) if batch or kind == "matmul" else (outputs, inputs),
            "g": (*lead, outputs),
        }
    held = {t: values(1, *shape) for t, shape in shapes.items() if prod(shape) <= SMALL_VALUES and rng.random() < 0.9}
    claimed = Layer("forged", kind, geometry, shapes=shapes)
    operations = [o for o in OPERATIONS if rng.random() < 0.7] or ["forward"]
    blocks = {
        o: cells for o in operations if not all(t in held for t in OPERANDS[o]) and (cells := forged_blocks(claimed, o))
    }
    statistics = (
        {t: layer_statistics(Layer("forged", kind, geometry, **{t: v}), t) for t, v in held.items()}
        if rng.random() < 0.5
        else {}
    )
    for tensor, shape in shapes.items():
        if tensor not in held:
            n, none = prod(shape), np.zeros(256, np.int64)
            first = np.array([n], np.int64)
            statistics[tensor] = TensorStatistics(
                n, n, np.r_[first, none[1:]], none[:128], first, none[:1], {"bdc": n, "zero": n}
            )
    return Layer(
        "forged", kind, geometry, operations=operations, shapes=shapes, statistics=statistics, blocks=blocks, **held
    )


def forged_blocks(layer: Layer, operation: Operation) -> list[ProductBlock]:
    """The first cell of each of an operation's families, where their rows are short enough to be written."""
    families = lower(layer, operation, 1)
    if len(families) > 16 or any(family.k() > SMALL_VALUES for family in families):
        return []
    rows = [
        (InMemory(values(2, min(BLOCK_ROWS, f.m), f.k())), InMemory(values(3, min(BLOCK_ROWS, f.n), f.k())))
        for f in families
    ]
    return [ProductBlock(number, 0, 0, 0, x, y) for number, (x, y) in enumerate(rows)]


def forged_trace(rng: random.Random, path: Path) -> bool:
    """Write a trace of one forged layer; False where its sizes fit no layer or no file."""
    try:
        Trace([forged_layer(rng)]).save(path, compress=rng.random() < 0.5)
    except (SimhwError, OverflowError):  # a size beyond int64, in the statistics made here
        return False
    return True


DAMAGES = (damaged_archive, damaged_directory, damaged_member, damaged_text, damaged_record)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("good")
    traces = {"whole": whole_trace(), "sample": sampled()}
    for name, trace in traces.items():
        trace.save(folder / f"{name}.npz")
        trace.save(folder / f"{name}-packed.npz", compress=True)
    return sorted(folder.iterdir())


@pytest.fixture
def little_room() -> Iterator[None]:
    """At most so much more memory than the process has now."""
    used = (
        int(
            next(
                line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")
            ).split()[1]
        )
        * 1024
    )
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + ROOM_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def machines() -> list[Callable[[Trace], object]]:
    ideal = load_machine("tensordash", **{"memory.model": "ideal"})
    return [
        lambda trace, machine=machine: simulate(trace, machine, progress=False, workers=1, sample=1.0)
        for machine in (ideal, load_machine("fpraker"))
    ]


def test_good_traces_pass(good: list[Path]) -> None:
    for path in good:
        trace = load_trace(path)
        validate_trace(trace)
        for run in machines():
            run(trace)


def check(path: Path, again: Path, runs: list[Callable[[Trace], object]], what: str) -> None:
    """Load, validate, run and write a trace: each succeeds or is refused in one line, and a valid one runs and can be
    written.
    """
    began = time.perf_counter()
    if not accepted(lambda: (load_trace(path), trace_hash(path)), what):
        return
    trace = load_trace(path)
    valid = accepted(lambda: validate_trace(trace), f"{what}, validated")
    ran = [accepted(lambda run=run: run(trace), f"{what}, run") for run in runs]  # type: ignore[misc]
    assert not valid or all(ran), f"{what}: valid, but cannot be run"
    if valid:
        assert accepted(lambda: trace.save(again), f"{what}, written"), f"{what}: loads, but cannot be written"
    assert time.perf_counter() - began < SECONDS, f"{what}: took {time.perf_counter() - began:.0f} s"


@fuzz(40)
@pytest.mark.usefixtures("little_room")
def test_damaged_traces_are_refused_in_one_line(good: list[Path], tmp_path: Path, seeds: range) -> None:
    runs, path = machines(), tmp_path / "damaged.npz"
    for seed, rng in generators(seeds):
        damage, source = rng.choice(DAMAGES), rng.choice(good)
        path.write_bytes(damage(rng, source))
        check(path, tmp_path / "again.npz", runs, f"seed {seed}, {damage.__name__} of {source.name}")


@fuzz(6)
@pytest.mark.usefixtures("little_room")
def test_odd_sizes_that_fit_each_other_run_or_are_refused(tmp_path: Path, seeds: range) -> None:
    runs, path = machines(), tmp_path / "forged.npz"
    for seed, rng in generators(seeds):
        if forged_trace(rng, path):
            check(path, tmp_path / "again.npz", runs, f"seed {seed}")
