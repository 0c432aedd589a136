"""Measure kernels and training steps of a GPU in PyTorch, in the files that `simhw roofline score` reads.

Needs PyTorch alone: copy this one file to the machine with the GPU.  docs/measuring.md says what to do with the files.

python measure_device.py NAME --out FOLDER          # minutes to hours; run it again to go on where it ended
python measure_device.py NAME --out FOLDER --quick  # a few of each, to see that it works
"""

import argparse
import csv
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
except ImportError:
    sys.exit("measure_device.py: no PyTorch; install it for the GPU to be measured (pytorch.org)")

Call = Callable[[], object]
COLUMNS = {
    "gemm": "kind,b,m,n,k,precision,ms,eager_us",
    "conv": "source,n,c,h,w,k,r,s,stride,pad,groups,precision,layout,operation,ms",
    "streaming": "kind,rows,width,precision,operation,ms,eager_us",
    "other": "kind,batch,size,steps,precision,operation,ms",
    "steps": "model,variant,batch,mode,precision,layout,optimiser,parameters,"
    "step_ms,step_ms_min,steps,peak_mb,power_w,energy_j,graph_ms",
    "step_kernels": "model,variant,batch,mode,precision,layout,order,kernel,us",
}
"""Files, and their columns; `step_kernels` is written with `steps`."""
MEASURED = {"ms", "eager_us", "parameters", "step_ms", "step_ms_min", "steps", "peak_mb", "power_w", "energy_j"}
MEASURED |= {"graph_ms", "kernel", "us"}
"""Columns that are found, where all others say what is measured.  (`steps` of NAME_other.csv says it, too.)"""
REPLAYS = 3
GRAPH_S = 0.002
"""Time that a graph of calls should take at least, within `GRAPH_CALLS`."""
GRAPH_CALLS = (3, 64)
FEW_CALLS, MANY_CALLS = 4, 16
LOOP_CALLS = 20
EAGER_BELOW_S = 1e-4
"""Calls of products that take longer are not timed from Python: the device decides."""
STEPS = 9
ENERGY_S = 2.0
"""How long a step is repeated to read power and energy."""
VOCABULARY = 30522
CLASSES = 1000


class Rows:
    """A file of measurements that grows row by row; what stands there is not measured again.

    A row that was cut off when the script was stopped goes.
    """

    def __init__(self, path: Path, columns: str) -> None:
        self.path, self.columns = path, columns.split(",")
        self.known = [name for name in self.columns if name not in MEASURED]
        if path.name.endswith("_other.csv"):
            self.known.insert(3, "steps")
        self.done: set[tuple[str, ...]] = set()
        if path.is_file() and path.stat().st_size:
            self._resume()
        else:
            path.write_text(columns + "\n", encoding="utf-8")

    def _resume(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.DictReader(whole.splitlines()))
        if not whole or whole.splitlines()[0] != ",".join(self.columns):
            sys.exit(f"measure_device.py: {self.path} has other columns than are measured; give another name or --out")
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        self.done = {tuple(row[name] for name in self.known) for row in rows}

    def lacks(self, what: dict[str, Any]) -> bool:
        """Whether something is still to be measured."""
        return tuple(str(what[name]) for name in self.known) not in self.done

    def add(self, what: dict[str, Any], *found: dict[str, Any]) -> None:
        """Write rows of one measurement at once."""
        self.done.add(tuple(str(what[name]) for name in self.known))
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
            writer.writerows(what | each for each in found)


class GpuClock:
    """Times calls on a GPU."""

    device = "cuda"

    def __init__(self) -> None:
        # Absent from some versions; a spin that is too long does no harm.
        self.cycles_per_s = getattr(torch.cuda.get_device_properties(0), "clock_rate", 2_000_000) * 1e3

    def graph_s(self, call: Call) -> float:
        """A call on the same buffers again and again, as one graph: no launch counts, small operands stay in the L2."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(side)
        once = self._seconds(call)
        calls = min(max(math.ceil(GRAPH_S / once), GRAPH_CALLS[0]), GRAPH_CALLS[1])

        def several() -> None:
            for _ in range(calls):
                call()

        return self.replay_s(several) / calls

    def replay_s(self, call: Call) -> float:
        """A call captured as a graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        graph.replay()
        return median(self._seconds(graph.replay) for _ in range(REPLAYS))

    def stream_s(self, call: Call) -> float:
        """A call among others in a stream, all of them queued behind a kernel that spins until they are."""
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(MANY_CALLS):
            call()
        spin = int(self.cycles_per_s * (2e-3 + 2 * (time.perf_counter() - start)))
        found = []
        for _ in range(REPLAYS):
            few, many = (self._queued_s(call, calls, spin) for calls in (FEW_CALLS, MANY_CALLS))
            found.append((many - few) / (MANY_CALLS - FEW_CALLS))
        return median(found)

    def loop_s(self, call: Call) -> float:
        """A call in a loop from Python."""
        return _looped_s(call, torch.cuda.synchronize)

    def _queued_s(self, call: Call, calls: int, spin: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(spin)
        start.record()
        for _ in range(calls):
            call()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def _seconds(self, call: Call) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return max(float(start.elapsed_time(end)) * 1e-3, 1e-7)


class HostClock:
    """Times calls on a processor, where there is no graph and no stream: to try this script, not to measure."""

    device = "cpu"

    def graph_s(self, call: Call) -> float:
        """A call, called."""
        return _looped_s(call, lambda: None)

    stream_s = loop_s = graph_s

    def replay_s(self, call: Call) -> float:
        """There are no graphs."""
        del call
        raise RuntimeError("no graphs on a processor")


Clock = GpuClock | HostClock


def _looped_s(call: Call, wait: Call) -> float:
    call()
    wait()
    found = []
    for _ in range(REPLAYS):
        start = time.perf_counter()
        for _ in range(LOOP_CALLS):
            call()
        wait()
        found.append((time.perf_counter() - start) / LOOP_CALLS)
    return median(found)


@dataclass
class Plan:
    """What one file takes.

    Attributes
    ----------
    rows : Rows
    clock : Clock
    numbers : list of str
        Kinds of numbers that the device multiplies fast.
    draw : random.Random
    count : int
        Random shapes.
    quick : bool
        Whether all sizes are small.
    """

    rows: Rows
    clock: Clock
    numbers: Sequence[str]
    draw: random.Random
    count: int
    quick: bool

    def measured(self, what: dict[str, Any], find: Callable[[], dict[str, Any]]) -> Iterator[str]:
        """Measure and write what the file lacks; what the device cannot do, memory that it has not, is told."""
        if not self.rows.lacks(what):
            return
        words = " ".join(str(each) for each in what.values() if each != "")
        try:
            found = find()
        except RuntimeError as error:  # PyTorch's own, out of memory too
            yield f"{words}: left out: {(str(error).splitlines() or ['?'])[0][:200]}"
            if self.clock.device == "cuda":
                torch.cuda.empty_cache()
            return
        self.rows.add(what, found)
        yield f"{words}: {found.get('ms') or found['step_ms']} ms"


def dtype_of(precision: str) -> torch.dtype:
    """Of operands; tf32 is a way to multiply fp32."""
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    half = precision.removesuffix("-amp")
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "amp": torch.float16}.get(half, torch.float32)


def wide(draw: random.Random, low: int, high: int, multiple: int = 1) -> int:
    """A size between two others, each factor as likely as the next."""
    size = math.exp(draw.uniform(math.log(low), math.log(high)))
    return max(multiple, round(size / multiple) * multiple)


def products(draw: random.Random, count: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Sizes of networks, and random ones; a third has odd sizes."""
    for width in () if quick else (384, 768, 1024, 4096):
        for rows in (128, 4096, 16384):
            for n, k in ((width, width), (4 * width, width), (width, 4 * width)):
                yield {"kind": "linear", "b": 1, "m": rows, "n": n, "k": k}
    top, batches = (256, 4) if quick else (8192, 256)
    for index in range(count):
        multiple = (64, 8, 1)[index % 3]
        sizes = {name: wide(draw, 16, top, multiple) for name in "mnk"}
        yield {"kind": "linear", "b": 1, **sizes}
        small = {name: wide(draw, 16, min(top, 1024), multiple) for name in "mnk"}
        yield {"kind": "bmm", "b": wide(draw, 2, batches), **small}


def measure_products(plan: Plan) -> Iterator[str]:
    """`functional.linear` with a bias, and `torch.bmm`."""
    for shape in products(plan.draw, plan.count, plan.quick):
        for precision in plan.numbers:
            what = shape | {"precision": precision}
            yield from plan.measured(what, lambda what=what: _timed_product(what, plan.clock))


def _timed_product(what: dict[str, Any], clock: Clock) -> dict[str, str]:
    call = _product_call(what, clock)
    seconds = clock.graph_s(call)
    eager = f"{clock.loop_s(call) * 1e6:.6g}" if seconds < EAGER_BELOW_S else ""
    return {"ms": milli(seconds), "eager_us": eager}


def _product_call(what: dict[str, Any], clock: Clock) -> Call:
    make = {"dtype": dtype_of(what["precision"]), "device": clock.device}
    b, m, n, k = (what[name] for name in "bmnk")
    if what["kind"] == "linear":
        rows, weights, bias = torch.randn(m, k, **make), torch.randn(n, k, **make), torch.randn(n, **make)
        return lambda: functional.linear(rows, weights, bias)
    first, second = torch.randn(b, m, k, **make), torch.randn(b, k, n, **make)
    return lambda: torch.bmm(first, second)


RESNET = [(64, 56), (128, 28), (256, 14), (512, 7)]
"""Channels and size of ResNet's stages."""


def convolved(draw: random.Random, count: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Layers of ResNet and MobileNet, and random ones."""
    # Source, channels, size, outputs, kernel, stride and groups.
    usual: list[tuple[str, int, int, int, int, int, int]] = [("resnet", 3, 224, 64, 7, 2, 1)]
    for channels, size in RESNET:
        wide_channels = 4 * channels
        usual += [("resnet", channels, size, channels, 3, 1, 1), ("resnet", channels, size, wide_channels, 1, 1, 1)]
        usual.append(("resnet", wide_channels, size, channels, 1, 1, 1))
        usual.append(("mobile", channels, size, channels, 3, 1, channels))
    for source, channels, size, outputs, kernel, stride, groups in [] if quick else usual:
        for images in (8, 64):
            yield _convolution(source, images, channels, size, outputs, kernel, stride, groups)
    for index in range(count):
        kernel, multiple = draw.choice((1, 3, 3, 5)), (16, 8, 1)[index % 3]
        channels, outputs = (wide(draw, 8, 16 if quick else 512, multiple) for _ in range(2))
        images, size = wide(draw, 1, 2 if quick else 64), wide(draw, 7, 14 if quick else 112)
        yield _convolution("random", images, channels, size, outputs, kernel, draw.choice((1, 1, 2)), 1)


def _convolution(
    source: str, images: int, channels: int, size: int, outputs: int, kernel: int, stride: int, groups: int
) -> dict[str, Any]:
    found = {"source": source, "n": images, "c": channels, "h": size, "w": size, "k": outputs, "r": kernel, "s": kernel}
    return found | {"stride": stride, "pad": kernel // 2, "groups": groups}


def measure_convolutions(plan: Plan) -> Iterator[str]:
    """A convolution, and its backward pass with one output at a time."""
    for shape in convolved(plan.draw, plan.count, plan.quick):
        for precision in plan.numbers:
            # Tensor cores like channels last: half precision is measured in both layouts.
            for layout in ("nchw", "nhwc") if precision in ("bf16", "fp16") else ("nchw",):
                for operation in ("forward", "input_grad", "weight_grad"):
                    what = shape | {"precision": precision, "layout": layout, "operation": operation}
                    yield from plan.measured(what, lambda what=what: _timed_convolution(what, plan.clock))


def _timed_convolution(what: dict[str, Any], clock: Clock) -> dict[str, str]:
    return {"ms": milli(clock.graph_s(_convolution_call(what, clock)))}


def _convolution_call(what: dict[str, Any], clock: Clock) -> Call:
    make = {"dtype": dtype_of(what["precision"]), "device": clock.device}
    order = torch.channels_last if what["layout"] == "nhwc" else torch.contiguous_format
    operation = what["operation"]
    n, c, h, w, k, r, s = (what[name] for name in ("n", "c", "h", "w", "k", "r", "s"))
    stride, pad, groups = what["stride"], what["pad"], what["groups"]
    x = torch.randn(n, c, h, w, **make).to(memory_format=order)
    weight = torch.randn(k, c // groups, r, s, **make).to(memory_format=order)
    y = functional.conv2d(x, weight, None, stride, pad, 1, groups)
    if operation == "forward":
        return lambda: functional.conv2d(x, weight, None, stride, pad, 1, groups)
    gradient, mask = torch.randn_like(y), [operation == "input_grad", operation == "weight_grad", False]
    return lambda: torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, mask
    )


ON_ROWS = ("copy", "add", "mul", "relu", "gelu", "softmax", "layer_norm", "sum", "cross_entropy", "embedding")
ON_IMAGES = ("batch_norm", "max_pool")
BACKWARD = ("relu", "gelu", "softmax", "layer_norm", "batch_norm", "max_pool")


def streamed(draw: random.Random, count: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Functions over rows of values, and over images."""
    most_rows, most_width = (64, 64) if quick else (16384, 8192)
    for _ in range(max(count // len(ON_ROWS), 1)):
        for kind in ON_ROWS:
            yield {"kind": kind, "rows": wide(draw, 16, most_rows), "width": wide(draw, 16, most_width)}
        for kind in ON_IMAGES:
            channels, size = wide(draw, 16, 32 if quick else 512, 16), wide(draw, 7, 8 if quick else 112)
            yield {"kind": kind, "rows": wide(draw, 1, 2 if quick else 64), "width": f"{channels}x{size}x{size}"}


def measure_functions(plan: Plan) -> Iterator[str]:
    """What streams through memory, forward and back."""
    for shape in streamed(plan.draw, plan.count, plan.quick):
        for precision in (each for each in plan.numbers if each != "tf32"):  # of which only products know
            for operation in ("forward", "backward") if shape["kind"] in BACKWARD else ("forward",):
                what = shape | {"precision": precision, "operation": operation}
                yield from plan.measured(what, lambda what=what: _timed_function(what, plan.clock))


def _timed_function(what: dict[str, Any], clock: Clock) -> dict[str, str]:
    call = _function_call(what, clock)
    return {"ms": milli(clock.stream_s(call)), "eager_us": f"{clock.loop_s(call) * 1e6:.6g}"}


def _function_call(what: dict[str, Any], clock: Clock) -> Call:
    kind, count, backward = what["kind"], what["rows"], what["operation"] == "backward"
    size = [int(each) for each in str(what["width"]).split("x")]
    make = {"dtype": dtype_of(what["precision"]), "device": clock.device}
    x, other = (torch.randn(count, *size, **make, requires_grad=backward) for _ in range(2))
    scale, shift = (torch.randn(size[0], **make, requires_grad=backward) for _ in range(2))
    functions: dict[str, Callable[[], Tensor]] = {
        "copy": lambda: x.clone(),
        "add": lambda: x + other,
        "mul": lambda: x * other,
        "relu": lambda: functional.relu(x),
        "gelu": lambda: functional.gelu(x),
        "softmax": lambda: functional.softmax(x, -1),
        "layer_norm": lambda: functional.layer_norm(x, size, scale, shift),
        "sum": lambda: x.sum(0),
        "batch_norm": lambda: functional.batch_norm(x, None, None, scale, shift, True),
        "max_pool": lambda: functional.max_pool2d(x, 3, 2, 1),
    }
    if kind == "cross_entropy":
        labels = torch.randint(size[0], (count,), device=clock.device)
        return lambda: functional.cross_entropy(x, labels)
    if kind == "embedding":
        table = torch.randn(VOCABULARY, size[0], **make)
        tokens = torch.randint(VOCABULARY, (count,), device=clock.device)
        return lambda: functional.embedding(tokens, table)
    if not backward:
        return functions[kind]
    y = functions[kind]()
    gradient = torch.randn_like(y)
    inputs = [x, scale, shift] if kind in ("layer_norm", "batch_norm") else [x]
    return lambda: torch.autograd.grad(y, inputs, gradient, retain_graph=True)


TENSORS = 50


def others(quick: bool, numbers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Attention, LSTM, optimizers and copies."""
    own = [each for each in numbers if each != "tf32"]
    heads = ((2, "2x16x16"),) if quick else ((8, "6x197x64"), (64, "6x197x64"), (32, "12x128x64"), (8, "12x512x64"))
    for batch, size in (*heads, *(() if quick else ((4, "16x1024x64"), (2, "32x2048x128"), (1, "32x4096x128")))):
        for precision in own:
            for operation in ("forward", "backward"):
                yield _other("sdpa", batch, size, 1, precision, operation)
    for batch, size in ((2, 32),) if quick else ((16, 256), (32, 512), (64, 512), (64, 1024), (128, 1024)):
        for steps in (5,) if quick else (25, 50):
            for precision in own:
                for operation in ("forward", "backward"):
                    yield _other("lstm", batch, size, steps, precision, operation)
    for kind in ("sgd", "adamw", "adamw_fused"):
        for size in (5000,) if quick else (1_000_000, 5_000_000, 25_000_000, 110_000_000):
            yield _other(kind, 1, size, TENSORS, "fp32", "update")
    for size in (1 << 16,) if quick else (1 << 24, 1 << 28, 1 << 30):
        yield _other("bandwidth", 1, size, 1, "fp32", "copy")


def _other(kind: str, batch: int, size: object, steps: int, precision: str, operation: str) -> dict[str, Any]:
    found = {"kind": kind, "batch": batch, "size": size, "steps": steps}
    return found | {"precision": precision, "operation": operation}


def measure_others(plan: Plan) -> Iterator[str]:
    """What is neither a product nor a function."""
    for what in others(plan.quick, plan.numbers):
        yield from plan.measured(what, lambda what=what: _timed_other(what, plan.clock))


def _timed_other(what: dict[str, Any], clock: Clock) -> dict[str, str]:
    return {"ms": milli(clock.stream_s(_other_call(what, clock)))}


def _other_call(what: dict[str, Any], clock: Clock) -> Call:
    kind, batch, size = what["kind"], what["batch"], what["size"]
    backward = what["operation"] == "backward"
    make = {"dtype": dtype_of(what["precision"]), "device": clock.device}
    if kind == "bandwidth":
        x, y = (torch.randn(size // 4, **make) for _ in range(2))
        return lambda: y.copy_(x)
    if kind == "sdpa":
        operands = [torch.randn(batch, *map(int, size.split("x")), **make, requires_grad=backward) for _ in range(3)]
        return _there_or_back(lambda: functional.scaled_dot_product_attention(*operands), operands, backward)
    if kind == "lstm":
        layer = nn.LSTM(size, size).to(**make)
        x = torch.randn(what["steps"], batch, size, **make, requires_grad=backward)
        if backward:
            return _there_or_back(lambda: layer(x)[0], [x, *layer.parameters()], True)
        layer.requires_grad_(False)
        return lambda: layer(x)[0]
    parameters = [nn.Parameter(torch.randn(size // TENSORS, **make)) for _ in range(TENSORS)]
    for each in parameters:
        each.grad = torch.randn_like(each)
    return optimizer_of(kind.partition("_")[0], parameters, fused=kind.endswith("fused")).step


def _there_or_back(forward: Callable[[], Tensor], inputs: Sequence[Tensor], backward: bool) -> Call:
    if not backward:
        return forward
    y = forward()
    gradient = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, inputs, gradient, retain_graph=True)


def optimizer_of(name: str, parameters: Sequence[nn.Parameter], fused: bool = False, graph: bool = False) -> Any:
    """SGD with momentum or AdamW, of all tensors at once."""
    how = {"fused": True} if fused else {"foreach": True}
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, **how)
    return torch.optim.AdamW(parameters, lr=1e-4, capturable=graph, **how)


class Residual(nn.Module):
    """A block of ResNet: two convolutions, or three where `expansion` is 4."""

    def __init__(self, channels: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = width * expansion
        sizes = [(channels, width, 3, stride), (width, wide, 3, 1)]
        if expansion > 1:
            sizes = [(channels, width, 1, 1), (width, width, 3, stride), (width, wide, 1, 1)]
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, step in sizes:
            layers += [nn.Conv2d(inputs, outputs, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
            layers.append(nn.ReLU(inplace=True))
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != wide:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        """Image to image."""
        return functional.relu(self.body(x) + self.shortcut(x), inplace=True)


def resnet(blocks: Sequence[int], expansion: int) -> nn.Module:
    """ResNet v1.5 for 1000 classes."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels = 64
    for stage, count in enumerate(blocks):
        for block in range(count):
            layers.append(Residual(channels, 64 << stage, expansion, 2 if stage and not block else 1))
            channels = (64 << stage) * expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Block(nn.Module):
    """A block of a transformer, normalised before its parts (ViT) or after them (BERT)."""

    def __init__(self, width: int, heads: int, first: bool) -> None:
        super().__init__()
        self.heads, self.first = heads, first
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def attend(self, x: Tensor) -> Tensor:
        """Tokens to tokens."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens to tokens."""
        if self.first:
            x = x + self.attend(self.norms[0](x))
            return x + self.down(functional.gelu(self.up(self.norms[1](x))))
        x = self.norms[0](x + self.attend(x))
        return self.norms[1](x + self.down(functional.gelu(self.up(x))))


class VisionTransformer(nn.Module):
    """ViT-S: patches of 16 x 16 of an image of 224 x 224."""

    def __init__(self, width: int = 384, depth: int = 12, heads: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 197, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Bert(nn.Module):
    """BERT-base that classifies, without dropout."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(512, width)
        self.kinds, self.norm = nn.Embedding(2, width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, heads, False) for _ in range(depth)))
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens to logits."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.words(tokens) + self.positions(places) + self.kinds(torch.zeros_like(tokens)))
        return self.classifier(torch.tanh(self.pooler(self.blocks(x)[:, 0])))


MODELS: dict[tuple[str, str], tuple[Callable[[], nn.Module], str, int]] = {
    ("resnet18", "dense"): (lambda: resnet((2, 2, 2, 2), 1), "sgd", 64),
    ("resnet50", "dense"): (lambda: resnet((3, 4, 6, 3), 4), "sgd", 64),
    ("vit-s", "MHA"): (VisionTransformer, "adamw", 64),
    ("bert-base", "128 tokens"): (Bert, "adamw", 32),
}
"""Networks, with optimizer and batch; add your own (docs/measuring.md says how its name becomes a layer list)."""


def runs(numbers: Sequence[str], quick: bool) -> Iterator[dict[str, Any]]:
    """Whole steps: training in mixed precision, inference in half."""
    for (model, variant), (_, optimizer, batch) in list(MODELS.items())[: 1 if quick else None]:
        for mode in ("training", "inference"):
            for precision in numbers[:1] if quick else numbers:
                mixed = {"bf16": "bf16-amp", "fp16": "amp"}.get(precision, precision)
                images = "resnet" in model and precision in ("bf16", "fp16")
                for layout in ("nchw", "nhwc") if images else ("nchw",):
                    yield {
                        "model": model,
                        "variant": variant,
                        "batch": 1 if quick else batch,
                        "mode": mode,
                        "precision": mixed if mode == "training" else precision,
                        "layout": layout,
                        "optimiser": optimizer if mode == "training" else "",
                    }


def measure_steps(plan: Plan) -> Iterator[str]:
    """Whole steps, eager and as one graph, their power and energy, and the kernels of one."""
    for what in runs(plan.numbers, plan.quick):
        yield from plan.measured(what, lambda what=what: _timed_step(what, plan))


def _timed_step(what: dict[str, Any], plan: Plan) -> dict[str, Any]:
    clock = plan.clock
    gpu = clock.device == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    step, parameters = step_of(what, clock, graph=False)
    for _ in range(1 if plan.quick else 3):
        step()
    times = [_step_s(step, clock) for _ in range(2 if plan.quick else STEPS)]
    found: dict[str, Any] = {"parameters": parameters, "steps": len(times)}
    found |= {"step_ms": milli(median(times)), "step_ms_min": milli(min(times))}
    if gpu:
        found |= {"peak_mb": torch.cuda.max_memory_allocated() >> 20, **powered(step, median(times))}
        path = plan.rows.path
        _profile(
            step, what, Rows(path.with_name(path.name.replace("_steps", "_step_kernels")), COLUMNS["step_kernels"])
        )
        del step
        found["graph_ms"] = _graph_ms(what, clock)
    return found


def step_of(what: dict[str, Any], clock: Clock, graph: bool) -> tuple[Call, int]:
    """A step to be called, and the parameters of its model."""
    build, _, _ = MODELS[what["model"], what["variant"]]
    training, precision = what["mode"] == "training", what["precision"]
    mixed = precision.endswith("amp")
    order = torch.channels_last if what["layout"] == "nhwc" else torch.contiguous_format
    number = dtype_of(precision)
    kept = torch.float32 if mixed else number
    model = build().to(clock.device, kept).train(training)
    if what["layout"] == "nhwc":
        model = model.to(memory_format=order)
    parameters = sum(each.numel() for each in model.parameters())
    if what["variant"].endswith(" tokens"):
        x = torch.randint(VOCABULARY, (what["batch"], int(what["variant"].split()[0])), device=clock.device)
    else:
        x = torch.randn(what["batch"], 3, 224, 224, device=clock.device, dtype=kept).to(memory_format=order)
    cast = torch.autocast(clock.device, number, enabled=mixed, cache_enabled=not graph)
    if not training:
        model.requires_grad_(False)

        def infer() -> None:
            with torch.no_grad(), cast:
                model(x)

        return infer, parameters
    labels = torch.randint(CLASSES, (what["batch"],), device=clock.device)
    optimizer = optimizer_of(what["optimiser"], list(model.parameters()), graph=graph)
    scaler = torch.amp.GradScaler(clock.device, enabled=precision == "amp")

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with cast:
            loss = functional.cross_entropy(model(x), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return train, parameters


def _step_s(step: Call, clock: Clock) -> float:
    start = time.perf_counter()
    step()
    if clock.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _graph_ms(what: dict[str, Any], clock: Clock) -> str:
    """The step as one graph; empty where it cannot be one: scaling a loss asks the host."""
    if what["precision"] == "amp":
        return ""
    step, _ = step_of(what, clock, graph=True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    return milli(clock.replay_s(step))


def _profile(step: Call, what: dict[str, Any], rows: Rows) -> None:
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    run = {name: what[name] for name in rows.known if name != "order"}
    if not rows.lacks(run | {"order": 0}):  # written before the script was stopped
        return
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        step()
        torch.cuda.synchronize()
    events = sorted(
        (each for each in seen.events() if each.device_type == DeviceType.CUDA), key=lambda each: each.time_range.start
    )
    for order, each in enumerate(events):
        microseconds = max(each.time_range.elapsed_us(), 1e-3)
        rows.add(run | {"order": order}, {"kernel": each.name[:110], "us": f"{microseconds:.6g}"})


def powered(step: Call, seconds: float) -> dict[str, str]:
    """Median of the board's power, and energy of a step, by NVML, else nvidia-smi; nothing without either."""
    meter = _meter()
    if meter is None:
        return {}
    read_w, read_j = meter
    steps, watts, over = max(math.ceil(ENERGY_S / seconds), 3), [], threading.Event()

    def watch() -> None:
        while not over.is_set():
            watts.append(read_w())
            over.wait(0.05)

    step()
    torch.cuda.synchronize()
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    before, start = read_j() if read_j else 0.0, time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize()
    spent, after = time.perf_counter() - start, read_j() if read_j else 0.0
    over.set()
    watching.join()
    energy_j = after - before if read_j else fmean(watts) * spent
    return {"power_w": f"{median(watts):.4g}", "energy_j": f"{energy_j / steps:.5g}"}


def _meter() -> tuple[Callable[[], float], Callable[[], float] | None] | None:
    """Readings of power [W] and energy [J] of the first GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
        board = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(board)
        return (
            lambda: pynvml.nvmlDeviceGetPowerUsage(board) * 1e-3,
            lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(board) * 1e-3,
        )
    except Exception:  # no such package, or a board that does not tell: the other way is tried
        query = ["nvidia-smi", "-i", "0", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]

        def read_w() -> float:
            return float(subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout)

        try:
            read_w()
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
        return read_w, None


def milli(seconds: float) -> str:
    """Seconds as milliseconds, six digits; a difference of times may not fall below what a clock tells."""
    return f"{max(seconds * 1e3, 1e-6):.6g}"


MEASURES = {
    "gemm": (measure_products, 80),
    "conv": (measure_convolutions, 60),
    "streaming": (measure_functions, 300),
    "other": (measure_others, 100),
    "steps": (measure_steps, 100),
}
"""What each file takes, and how many random shapes it has."""
QUICK = 3


def available(device: str) -> list[str]:
    """Kinds of numbers that the device multiplies fast, fp32 first."""
    if device == "cpu":
        return ["fp32", "bf16"]
    major, _ = torch.cuda.get_device_capability(0)
    return ["fp32", "tf32", "bf16"] if major >= 8 else ["fp32", "fp16"]


def measure(name: str, folder: Path, device: str, files: Sequence[str], quick: bool, seed: int) -> None:
    """Measure what the files lack, a line for each measurement."""
    clock: Clock = GpuClock() if device == "cuda" else HostClock()
    numbers = available(device)
    _tell_machine(folder / f"{name}_machine.json", device)
    if device == "cpu":
        print("timed on the processor by its clock, in a loop: this tries the script, and measures no GPU")
    for file in files:
        rows = Rows(folder / f"{name}_{file}.csv", COLUMNS[file])
        run, count = MEASURES[file]
        # A new generator for each file: leaving one out leaves the shapes of the others as they are.
        draw = random.Random(f"{seed} {file}")
        torch.manual_seed(seed)
        for line in run(Plan(rows, clock, numbers, draw, QUICK if quick else count, quick)):
            print(f"{file}: {line}", flush=True)


def _tell_machine(path: Path, device: str) -> None:
    told = {"torch": torch.__version__, "device": device, "measured": time.strftime("%Y-%m-%d")}
    if device == "cuda":
        board = torch.cuda.get_device_properties(0)
        told |= {"board": board.name, "sms": board.multi_processor_count, "memory_bytes": board.total_memory}
        told |= {"l2_bytes": getattr(board, "L2_cache_size", None), "clock_khz": getattr(board, "clock_rate", None)}
        told |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the device, with which the files' names begin")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the files (default: here)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the script without a GPU")
    parser.add_argument("--only", choices=tuple(MEASURES), nargs="+", help="files to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="a few small shapes of each, to see that it works")
    parser.add_argument("--seed", type=int, default=0, help="of the random shapes (default: 0)")
    given = parser.parse_args(arguments)
    if not given.name or any(each in given.name for each in "/\\,") or not given.out.is_dir():
        print(
            f"measure_device.py: {given.name!r} in {given.out}: give a plain name, and a folder that is there",
            file=sys.stderr,
        )
        return 2
    if given.device == "cuda" and not torch.cuda.is_available():
        print(
            "measure_device.py: no GPU that PyTorch can use; --device cpu --quick tries the script without one",
            file=sys.stderr,
        )
        return 2
    measure(given.name, given.out, given.device, given.only or list(MEASURES), given.quick, given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
