"""Where a trace lies: a path, a folder of ``$SIMHW_TRACES``, or among the traces that come with simhw."""

import os
from pathlib import Path

from simhw.errors import TraceError, listed, quoted, reason

SUFFIX = ".npz"
ENVIRONMENT = "SIMHW_TRACES"


def bundled_folder() -> Path | None:
    """The folder of bundled traces: inside an installed package, beside the package in a checkout, or None."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "bundled_traces"
    if installed.is_dir():
        return installed
    checkout = package.parent
    # Only a checkout has a project file here: an unrelated `traces` folder in site-packages is not ours.
    if (checkout / "pyproject.toml").is_file() and (checkout / "traces").is_dir():
        return checkout / "traces"
    return None


def trace_folders() -> list[Path]:
    """Where traces are looked up by name: the folders of ``$SIMHW_TRACES``, then that of the bundled ones."""
    given = [Path(folder) for folder in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if folder]
    bundled = bundled_folder()
    return given + ([bundled] if bundled else [])


def traces_in(folder: Path) -> list[str]:
    """Names of the traces in a folder, none where it cannot be read."""
    try:
        return sorted(file.stem for file in folder.iterdir() if file.suffix == SUFFIX)
    except OSError:
        return []


def find_trace(name: str | os.PathLike[str]) -> Path:
    """Find a trace file by path or name.

    Parameters
    ----------
    name : str or path
        Looked up as a path (relative to the current folder), then in the folders of ``$SIMHW_TRACES``, then among the
        bundled traces; the suffix ``.npz`` may be left out.

    Raises
    ------
    TraceError
        There is no such file; the message says where it was looked for and which traces there are.
    """
    try:
        wanted = Path(os.fsdecode(name))
    except TypeError:
        raise TraceError(f"{quoted(name)} is no trace; give a path or a name, or a Trace where one is taken") from None
    # Joining an absolute path to a folder gives the path itself, so it is looked up as it is.
    names = (
        [wanted] if wanted.suffix == SUFFIX else [wanted, wanted.with_name(wanted.name + SUFFIX)] if wanted.name else []
    )
    folders = trace_folders()
    problem: OSError | None = None
    for place in [Path(), *folders]:
        for candidate in names:
            try:
                if (place / candidate).is_file():
                    return place / candidate
            # A name that no file can have, or a folder that this user may not look into.
            except OSError as error:
                problem = problem or error
    shown = quoted(str(wanted))[1:-1]
    if problem is not None:
        raise TraceError(
            f"{shown}: cannot be looked up: {reason(problem)}; give the path of a trace that can be read"
        ) from None
    if wanted.is_dir():
        raise TraceError(f"{shown}: is a folder, not a trace file")
    if wanted.is_absolute():
        raise TraceError(f"{shown}: no such file")
    looked = ", ".join(["the current folder", *map(str, folders)])
    known = sorted({name for folder in [Path(), *folders] for name in traces_in(folder)})
    hint = "" if os.environ.get(ENVIRONMENT) else f"; ${ENVIRONMENT} may name more folders"
    raise TraceError(f"{shown}: no such trace; looked in {looked}; traces found: {listed(known, 20) or 'none'}{hint}")
