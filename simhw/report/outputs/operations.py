"""Options that choose a layer and an operation of the step for a file, and their check before anything is simulated."""

import argparse
from typing import TYPE_CHECKING

from simhw.errors import TraceError
from simhw.trace.operation import OPERATIONS, Operation

if TYPE_CHECKING:
    from simhw.results.operation import OperationResult
    from simhw.results.step import Results
    from simhw.trace.trace import Trace


def add_choice(parser: argparse.ArgumentParser, option: str, layer_default: str, operation_default: str) -> None:
    """Add ``OPTION-layer`` and ``OPTION-operation``."""
    parser.add_argument(f"{option}-layer", metavar="NAME", help=f"which layer (default: {layer_default})")
    parser.add_argument(
        f"{option}-operation", choices=OPERATIONS, help=f"which operation (default: {operation_default})"
    )


def choice(arguments: argparse.Namespace, option: str) -> tuple[str | None, Operation | None]:
    """The layer and the operation that were given, None for either that was not."""
    name = option.removeprefix("--").replace("-", "_")
    return getattr(arguments, f"{name}_layer"), getattr(arguments, f"{name}_operation")


def check_choice(arguments: argparse.Namespace, option: str, trace: "Trace") -> None:
    """Raise `TraceError` where training ran no such operation of such a layer."""
    layer, operation = choice(arguments, option)
    where = trace.path or "the trace"
    layers = trace.layers
    if layer is not None:
        from simhw.trace.named import layers_named

        try:
            layers = layers_named(trace, layer)
        except TraceError as error:
            raise TraceError(f"{option}-layer: {error}") from None
    of_layer = f" of layer {layer!r}" if layer is not None else ""
    ran = [name for name in OPERATIONS if any(name in each.operations for each in layers)]
    if not ran:
        raise TraceError(f"{option}-layer: {where}: training ran no operation{of_layer}")
    if operation not in (None, *ran):
        raise TraceError(f"{option}-operation: {where}: training ran no {operation}{of_layer}; it ran {', '.join(ran)}")


def chosen(arguments: argparse.Namespace, option: str, results: "Results") -> "list[OperationResult]":
    """The operations that the options leave, in the order of the step."""
    layer, operation = choice(arguments, option)
    return [each for each in results.operations if layer in (None, each.layer) and operation in (None, each.operation)]
