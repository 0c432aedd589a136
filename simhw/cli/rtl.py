"""`simhw rtl`: a machine's hardware in Verilog, with a testbench that compares it with simhw's own model."""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.cli import rtl_area
from simhw.errors import SimhwError, TraceError, quoted

if TYPE_CHECKING:
    from simhw.trace.layer import Operation
    from simhw.trace.trace import Trace

DEFAULT_TRACE, DEFAULT_SETS = "small_cnn", 100
MOST_SETS = 1_000_000


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "rtl",
        help="write a machine's hardware in Verilog, with a testbench",
        description="Write a machine's hardware in Verilog, and a testbench: operands of a trace go in, and what comes "
        "out must be what simhw's own model says, in every cycle and bit.  Icarus Verilog and Verilator run it.",
        epilog="Example: simhw rtl --pe fpraker:pe.shift_window=4 --out verilog",
    )
    parser.add_argument(
        "--pe", metavar="MACHINE", help="a name, a .yaml file, or either with overrides: fpraker:pe.shift_window=4"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where the files are written: empty, or not there yet")
    parser.add_argument(
        "--trace", metavar="TRACE", default=DEFAULT_TRACE, help="whose operands go in (default: %(default)s)"
    )
    parser.add_argument("--layer", metavar="NAME", help="of the trace (default: the one with the most products)")
    parser.add_argument(
        "--operation",
        choices=("forward", "input_grad", "weight_grad"),
        default="forward",
        help="of the layer (default: %(default)s)",
    )
    parser.add_argument(
        "--sets",
        metavar="N",
        type=int,
        default=DEFAULT_SETS,
        help="sets of operands that go in one after the other, or steps of TensorDash (default: %(default)s)",
    )
    parser.set_defaults(execute=execute)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="other actions")
    rtl_area.add_parser(actions)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.pe is None or arguments.out is None:
        raise SimhwError("simhw rtl: give the machine with --pe and a folder with --out")
    if not 1 <= arguments.sets <= MOST_SETS:
        raise SimhwError(f"--sets {quoted(arguments.sets)}: give from 1 to {MOST_SETS:,}")

    from simhw.cli.terminal import facts, show
    from simhw.files.writing import new_folder
    from simhw.machine.machine import MachineFile
    from simhw.machine.overrides import split_machine
    from simhw.progress import working
    from simhw.report.waveform import tile_passes
    from simhw.rtl.synthesis.yosys import require_yosys
    from simhw.rtl.testbench.benches import bench_of
    from simhw.rtl.testbench.folder import write_bench
    from simhw.rtl.twins import twin_of
    from simhw.trace.reader import load_trace

    require_yosys()
    name, overrides = split_machine(arguments.pe)
    machine = MachineFile(name).machine(overrides)
    twin = twin_of(machine.values)
    with new_folder(arguments.out) as folder:
        trace = load_trace(arguments.trace)
        layer = arguments.layer or _largest_layer(trace, arguments.operation)
        passes = tile_passes(trace, layer, arguments.operation, machine)
        with working(f"simulating {arguments.sets:,} sets or steps of layer {layer}"):
            bench = bench_of(twin.component, passes, arguments.sets)
        operands = f"layer {layer}, {arguments.operation}, of {arguments.trace}"
        with working(f"writing {twin.told} in Verilog"):
            write_bench(folder, twin, bench, f"Operands: {operands}.  Machine: {machine.label}.")
    lines = [
        ("machine", f"{machine.label}: {machine.values.description}"),
        ("hardware", f"{twin.name}, {twin.told}"),
        ("operands", operands),
        ("compared", f"{bench.sets:,} {bench.unit}"),
    ]
    show(*facts(lines), f"written to {arguments.out}: README.txt there says how to run it")
    return 0


def _largest_layer(trace: "Trace", operation: "Operation") -> str:
    """The layer with the most products in an operation."""
    from simhw.lowering import multiply_accumulates

    layers = [layer for layer in trace.layers if operation in layer.operations]
    if not layers:
        raise TraceError(f"{trace.path}: training ran no {operation}; give another --operation")
    return max(layers, key=lambda layer: multiply_accumulates(layer, operation)).name
