"""`simhw completion`: a script with which a shell completes simhw's commands, options, and the names of machines,
devices, traces, networks, workloads and files.
"""

import argparse
import re
from collections.abc import Iterator
from typing import Any

from simhw.errors import SimhwError, WorkloadError

SHELLS = ("bash", "zsh", "tcsh")
FILES = ("FILE", "FOLDER")
"""What the values are called that are completed as files."""
NAMED_OR_FILES = ("TRACE", "MACHINE", "DEVICE", "OTHER")
"""What the values are called that are a name or a file."""
NAMED = ("NETWORK", "WORKLOAD")
"""What the values are called that are a name."""


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in a shell",
        description="Print a script that completes simhw's commands and options in a shell, and the names of machines, "
        "devices, traces, networks, workloads and files.",
        epilog="Example: simhw completion bash > ~/.local/share/bash-completion/completions/simhw",
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.json:
        raise SimhwError("completion prints a script, --json a document: leave --json out")
    import shtab

    # Only when it runs: the top parser is made of this module too.
    top: argparse.ArgumentParser = arguments.parser()
    names = {kind: _names(kind) for kind in (*NAMED_OR_FILES, *NAMED)}
    how = dict.fromkeys(FILES, shtab.FILE) | {kind: _completer(kind, words) for kind, words in names.items()}
    for action in _actions(top):
        if action.metavar in how:
            # An attribute that shtab looks for.
            action.complete = how[action.metavar]  # type: ignore[attr-defined]
    shell: str = arguments.shell
    functions = [] if shell == "tcsh" else [_function(shell, *each) for each in names.items()]
    print(shtab.complete(top, shell=shell, preamble="\n".join(functions)))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options and arguments of a parser, and of those below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
        else:
            yield action


def _names(kind: str) -> list[str]:
    """The names of a kind that there are now, but for those that a shell would take for more than a word."""
    from simhw.machine.names import device_names, machine_names
    from simhw.roofline.networks.catalogue import network_names
    from simhw.trace.find import trace_folders, traces_in

    found = {
        "TRACE": lambda: [name for folder in trace_folders() for name in traces_in(folder)],
        "MACHINE": machine_names,
        "DEVICE": device_names,
        "OTHER": lambda: [*device_names(), *network_names()],
        "NETWORK": network_names,
        "WORKLOAD": _workload_names,
    }[kind]()
    return [name for name in found if re.fullmatch(r"[\w.+-]+", name, re.ASCII)]


def _workload_names() -> list[str]:
    """The workloads; none where what they need is not installed."""
    try:
        from simhw_workloads.table import WORKLOADS, brought_names
    except WorkloadError:
        return []
    return [*WORKLOADS, *brought_names()]


def _completer(kind: str, names: list[str]) -> dict[str, str]:
    """What each shell is to ask for a kind of names: a function of the script, but for tcsh, which has none."""
    # Bash's part of the script looks for `_files` in the name to know that folders are to be entered.
    function = f"_simhw_{kind.lower()}_or_files" if kind in NAMED_OR_FILES else f"_simhw_{kind.lower()}"
    return {"bash": function, "zsh": function, "tcsh": "f" if kind in NAMED_OR_FILES else f"({' '.join(names)})"}


def _function(shell: str, kind: str, names: list[str]) -> str:
    """The function that offers a kind of names, and files where they do as well."""
    files = kind in NAMED_OR_FILES
    words = " ".join(names)
    if shell == "bash":
        lines = [f'compgen -W "{words}" -- "$1"', *(['compgen -f -- "$1"'] if files else [])]
    else:
        lines = [f"_alternative 'names:{kind.lower()}:({words})'" + (" 'files:file:_files'" if files else "")]
    return "\n".join([f"{_completer(kind, names)[shell]}() {{", *(f"  {line}" for line in lines), "}"])
