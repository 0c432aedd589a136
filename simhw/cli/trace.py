"""`simhw trace`: look into a trace file, check it, measure its values, take a sample of it, import one."""

import argparse
import re
from typing import TYPE_CHECKING, Any

from simhw.cli import trace_import
from simhw.cli.parser import Parser
from simhw.errors import SimhwError

if TYPE_CHECKING:
    import pandas as pd

    from simhw.report.sheet import Sheet
    from simhw.trace.geometry import Geometry
    from simhw.trace.layer import Layer
    from simhw.trace.trace import Trace

SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
STATISTICS_LEGEND = (
    "terms: signed powers of two per value (NAF; zeros count 0).  BDC, mask: size after exponent base-delta or "
    "zero-mask "
    "compression.  e: exponents of the finite non-zero values (power of two)."
)


def size_in_bytes(text: str) -> int:
    """A size such as ``12MB`` (decimal), ``12MiB`` (binary) or ``12000000``, in bytes; raises ArgumentTypeError for
    others.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if not match or match[2].upper() not in SIZE_UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 12MB, 12MiB or a number of bytes")
    size = int(float(match[1]) * SIZE_UNITS[match[2].upper()])
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is less than a byte")
    return size


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "trace", help="look into, check, measure, sample or import a trace", description=__doc__
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    common = Parser(add_help=False)
    common.add_argument(
        "trace", metavar="TRACE", help="path or name; looked up here, in $SIMHW_TRACES, then among the bundled traces"
    )
    common.add_argument(
        "--nonfinite",
        choices=("error", "zero"),
        default="error",
        help="what reading does with NaN and infinity (default: error)",
    )

    info = actions.add_parser("info", parents=[common], help="where the trace comes from, and its layers")
    info.set_defaults(execute=_info)

    validate = actions.add_parser("validate", parents=[common], help="read everything and check it")
    validate.set_defaults(execute=_validate)

    stats = actions.add_parser(
        "stats", parents=[common], help="zeros, terms, exponents and compressed sizes of every tensor"
    )
    stats.add_argument("--out", metavar="FILE", help="write the table to a .csv, .json or .parquet file")
    stats.add_argument("--plot", metavar="FILE", help="draw it to a .png, .svg or .pdf file")
    stats.set_defaults(execute=_stats)

    sample = actions.add_parser(
        "sample", parents=[common], help="write a small trace of random blocks of each operation's product"
    )
    sample.add_argument("--out", metavar="FILE", required=True, help="the .npz file to write, compressed")
    sample.add_argument(
        "--max-bytes",
        metavar="SIZE",
        type=size_in_bytes,
        default="12MB",
        help="largest size of the sample (default: 12MB)",
    )
    sample.add_argument("--seed", type=int, default=0, help="which random sample (default: 0)")
    sample.set_defaults(execute=_sample)

    trace_import.add_parser(actions)


def _load(arguments: argparse.Namespace) -> "Trace":
    from simhw.trace.reader import load_trace

    return load_trace(arguments.trace, nonfinite=arguments.nonfinite)


def _size(number_of_bytes: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number_of_bytes >= factor:
            return f"{number_of_bytes / factor:.1f} {unit}"
    return f"{number_of_bytes:.0f} B"


def _info(arguments: argparse.Namespace) -> int:
    """Print the metadata and one line per layer."""
    from dataclasses import fields
    from pathlib import Path

    from simhw.cli.terminal import facts, show
    from simhw.lowering import multiply_accumulates
    from simhw.report.sheet import Sheet
    from simhw.trace.layer import OPERATIONS
    from simhw.trace.reader import trace_hash
    from simhw.trace.recomputation import RECORD, recomputed_share

    trace = _load(arguments)
    values = {
        field.name: getattr(trace.metadata, field.name) for field in fields(trace.metadata) if field.name != "extra"
    }
    told: dict[str, object] = {
        "file": trace.path,
        "size": _size(Path(trace.path).stat().st_size),
        "hash": trace_hash(trace.path),
    }
    told |= {name.replace("_", " "): value for name, value in values.items() if value not in ("", None)}
    told |= trace.metadata.extra
    if RECORD in told:
        macs: dict[tuple[str, str], int] = {
            (each.name, ran): multiply_accumulates(each, ran) for each in trace.layers for ran in each.operations
        }
        told[RECORD] = recomputed_share(trace, macs) or told[RECORD]
    told["layers"] = f"{len(trace.layers)}, {'sampled' if trace.sampled else 'whole tensors'}"
    rows = []
    for layer in trace.layers:
        operations = "all three" if layer.operations == OPERATIONS else ", ".join(layer.operations)
        rows.append([layer.name, layer.kind, _geometry(layer.geometry), *_shapes(layer), operations, _held(layer)])
    headings = ["layer", "kind", "geometry", "A", "W", "G", "operations", "held"]
    if any(layer.scales for layer in trace.layers):
        headings.append("scales")
        for row, layer in zip(rows, trace.layers, strict=True):
            row.append(", ".join(f"{tensor.upper()} {scale:.4g}" for tensor, scale in layer.scales.items()))
    show(
        *facts([(name, str(value)) for name, value in told.items()]),
        Sheet([(heading, False) for heading in headings], rows, name="layers"),
    )
    return 0


def _geometry(geometry: "Geometry") -> str:
    """What differs from the plain case: stride 1, no padding, dilation 1, one group."""
    told = [
        f"{name} {'x'.join(map(str, values))}"
        for name, values, plain in (
            ("stride", geometry.stride, 1),
            ("padding", geometry.padding, 0),
            ("dilation", geometry.dilation, 1),
            ("output padding", geometry.output_padding, 0),
        )
        if any(value != plain for value in values)
    ]
    return ", ".join(told + ([f"groups {geometry.groups}"] if geometry.groups > 1 else []))


def _shapes(layer: "Layer") -> list[str]:
    from simhw.trace.layer import TENSORS

    return ["x".join(map(str, layer.shapes[tensor])) if tensor in layer.shapes else "-" for tensor in TENSORS]


def _held(layer: "Layer") -> str:
    if layer.sampled:
        return f"{sum(map(len, layer.blocks.values()))} blocks"
    held = "".join(tensor.upper() for tensor in layer.shapes if layer.holds(tensor))
    return held or "shapes only"


def _validate(arguments: argparse.Namespace) -> int:
    """Read every tensor and compare whole tensors with their recorded statistics."""
    from simhw.cli.terminal import show
    from simhw.lowering.validate import validate_trace

    trace = _load(arguments)
    # Zeroed values no longer have the statistics that capture recorded of them.
    values = validate_trace(trace, check_statistics=arguments.nonfinite == "error")
    show(f"{trace.path}: OK: {len(trace.layers)} layers, {values} values read")
    return 0


def _stats(arguments: argparse.Namespace) -> int:
    """Write, draw and print the statistics of every tensor."""
    from simhw.cli.terminal import show
    from simhw.files.writing import PICTURE_SUFFIXES, TABLE_SUFFIXES, check_targets, write_frame
    from simhw.report.trace_tables import statistics_frame

    check_targets((arguments.out, TABLE_SUFFIXES), (arguments.plot, PICTURE_SUFFIXES))
    trace = _load(arguments)
    frame = statistics_frame(trace)
    if frame.empty:
        raise SimhwError(f"{trace.path}: has neither statistics nor whole tensors")
    # Files first: the reader of a pipe may leave early.
    written = []
    if arguments.out is not None:
        write_frame(frame, arguments.out)
        written.append(f"table written to {arguments.out}")
    if arguments.plot is not None:
        from simhw.report.trace_plots import plot_trace_statistics

        plot_trace_statistics(trace, arguments.plot)
        written.append(f"plot written to {arguments.plot}")
    show(_statistics_sheet(frame), STATISTICS_LEGEND, *written)
    return 0


def _statistics_sheet(frame: "pd.DataFrame") -> "Sheet":
    import pandas as pd

    from simhw.report.sheet import Sheet

    compressed = {"BDC": "bdc_bytes", "mask": "zero_bytes"}
    exponents = {
        f"e {name}": f"exponent_{column}"
        for name, column in (("min", "min"), ("1%", "p01"), ("50%", "p50"), ("99%", "p99"), ("max", "max"))
    }
    rows = []
    for row in frame.to_dict("records"):
        sizes = ["-" if pd.isna(row[key]) else f"{row[key] / row['bytes']:.1%}" for key in compressed.values()]
        percentiles = ["-" if pd.isna(row[key]) else str(row[key]) for key in exponents.values()]
        numbers = [
            f"{row['zero_fraction']:.1%}",
            f"{row['terms_per_value']:.2f}",
            *sizes,
            *percentiles,
            str(row["nonfinite"]),
        ]
        rows.append([row["layer"], row["tensor"], row["shape"], *numbers])
    columns = [("layer", False), ("", True), ("shape", False)]
    columns += [(heading, True) for heading in ("zeros", "terms", *compressed, *exponents, "NaN/Inf")]
    return Sheet(columns, rows, name="statistics")


def _sample(arguments: argparse.Namespace) -> int:
    """Take a sample and write it compressed."""
    from pathlib import Path

    from simhw.cli.terminal import show
    from simhw.files.writing import check_target
    from simhw.lowering.sample import sample_trace

    check_target(arguments.out, (".npz",))
    trace = _load(arguments)
    sample = sample_trace(trace, arguments.max_bytes, arguments.seed)
    sample.save(arguments.out, compress=True)
    blocks = sum(len(cells) for layer in sample.layers for cells in layer.blocks.values())
    what = (
        f"{blocks} blocks of {len(sample.layers)} layers"
        if sample.sampled
        else "the whole trace, which is small enough"
    )
    show(f"{arguments.out}: {_size(Path(arguments.out).stat().st_size)}, {what}")
    return 0
