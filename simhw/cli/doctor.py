"""`simhw doctor`: what simhw finds on this machine, what is missing, and how to get it."""

import argparse
import json
from typing import Any

NO_FOLDER = "none can be written: kernels compile anew in each run; set $NUMBA_CACHE_DIR to a folder of yours"


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "doctor",
        help="versions, processor, caches, data and plug-ins: what is there, what is missing, how to get it",
        description="Say what simhw finds on this machine, what is missing, and how to get it.",
        epilog="Example: simhw doctor --json > machine.json",
    )
    # What it finds is a document of its own, more than the lines that it prints.
    parser.set_defaults(execute=execute, own_document=True)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.cli.terminal import facts, show

    found = findings()
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(*facts(_lines(found)))
    return 0


def findings() -> dict[str, Any]:
    """All that is printed, as JSON has it."""
    import os
    import platform
    from dataclasses import asdict

    from simhw.installation.data_sets import data_sets
    from simhw.installation.kernels import kernel_cache
    from simhw.installation.libraries import asked_for, installed_version
    from simhw.installation.processor import processor
    from simhw.installation.verilog import verilog_simulators
    from simhw.plugins import GROUPS, entries, package, problem, problems
    from simhw.trace.find import ENVIRONMENT, bundled_folder, trace_folders, traces_in
    from simhw.version import __version__

    asked = asked_for()
    bundled = bundled_folder()
    libraries = {library.name: library for extra in asked.values() for library in extra}
    found: dict[str, Any] = {
        "simhw": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: asdict(library) for name, library in sorted(libraries.items())},
        "llvmlite": installed_version("llvmlite"),
        "extras": {
            extra: [library.name for library in needed if not library.fits] for extra, needed in asked.items() if extra
        },
        "processor": asdict(processor()),
        "kernel_cache": asdict(kernel_cache()),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("NUMBA_", "SIMHW_")) or name in ("OMP_NUM_THREADS", "XDG_CACHE_HOME")
        },
        "bundled_traces": traces_in(bundled) if bundled else [],
        "trace_folders": {str(folder): len(traces_in(folder)) for folder in trace_folders() if folder != bundled},
        "data_sets": data_sets(),
        "verilog_simulators": verilog_simulators(),
        "plugins": [
            {"group": group, "name": entry.name, "package": package(entry), "problem": problem(entry)}
            for group in GROUPS
            for entry in entries(group)
        ],
    }
    needed = [library.name for library in asked.get("", [])]
    return found | {"problems": _problems(found, needed, ENVIRONMENT) + problems(*GROUPS)}


def _problems(found: dict[str, Any], needed: list[str], traces: str) -> list[str]:
    """What does not work here, a line each with what to do; an extra that nobody installed is none."""
    problems = []
    for name, library in found["libraries"].items():
        if library["installed"] is None and name in needed:
            problems.append(f"{name} is missing: pip install '{name}{library['wanted']}'")
        elif library["installed"] is not None and not library["fits"]:
            problems.append(
                f"{name} {library['installed']} is not {library['wanted']}: pip install '{name}{library['wanted']}'"
            )
    if not found["libraries"]:
        problems.append("simhw is not installed by pip, so what it needs is not known: pip install .")
    if found["kernel_cache"]["folder"] is None:
        problems.append(f"kernel cache: {NO_FOLDER}")
    if found["environment"].get("NUMBA_DISABLE_JIT", "0") not in ("0", ""):
        problems.append("NUMBA_DISABLE_JIT is set, but simhw's kernels run compiled only; unset it")
    if not found["bundled_traces"]:
        problems.append("no bundled traces: install simhw anew")
    problems += [f"${traces}: {folder} has no traces" for folder, count in found["trace_folders"].items() if not count]
    return problems


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The findings as names and values, one screen of them."""
    cache, chip = found["kernel_cache"], found["processor"]
    versions = {name: library["installed"] for name, library in found["libraries"].items() if library["installed"]}
    shown = [
        f"{name} {versions[name]}"
        for name in ("numpy", "scipy", "numba", "pandas", "pyarrow", "torch")
        if name in versions
    ]
    shown.insert(min(3, len(shown)), f"llvmlite {found['llvmlite']}")
    lines = [
        ("simhw", f"{found['simhw']}, Python {found['python']}, {found['system']}"),
        ("libraries", ", ".join(shown)),
    ]
    lines += [
        (f"extra {name}", f"missing {', '.join(lacks)}: pip install 'simhw[{name}]'" if lacks else "complete")
        for name, lacks in sorted(found["extras"].items())
    ]
    registers = -(-chip["pes_per_vector"] * 16 // (chip["simd_bits"] or 16))  # a PE takes a word of 16 bits
    simd = (
        f"{chip['simd_bits']} bits: kernels of PEs work on {chip['pes_per_vector']} PEs at a time, in "
        f"{registers} register{'s' if registers > 1 else ''}"
        if chip["simd_bits"]
        else "width of this processor's registers is not known"
    )
    lines += [
        ("processor", f"{chip['name']}, {chip['cores']} cores; {chip['threads']} threads are used"),
        ("SIMD in use", simd),
        (
            "kernel cache",
            f"{cache['folder']}: {cache['files']} files, {cache['size_bytes'] / 1e6:.1f} MB; writable"
            if cache["folder"]
            else NO_FOLDER,
        ),
    ]
    if cache["stale_bytes"]:
        lines.append(("", f"{cache['stale_bytes'] / 1e6:.1f} MB of other versions lie beside it; they may be deleted"))
    lines.append(("bundled traces", ", ".join(found["bundled_traces"]) or "none"))
    lines += [("more traces", f"{folder}: {count}") for folder, count in found["trace_folders"].items()]
    there = [name for name, how in found["data_sets"].items() if how is None]
    lines.append(("data sets", ", ".join(there) or "none"))
    lines += [("", f"no {name}: {how}") for name, how in found["data_sets"].items() if how is not None]
    simulators = [told or f"no {name}: apt install {name}" for name, told in found["verilog_simulators"].items()]
    lines.append(("Verilog", "; ".join(simulators)))
    working = [
        f"{plugin['name']} ({plugin['group']}, of {plugin['package']})"
        for plugin in found["plugins"]
        if not plugin["problem"]
    ]
    lines.append(("plug-ins", ", ".join(working) or "none"))
    lines += [("problem", problem) for problem in found["problems"]] or [("problems", "none")]
    return lines
