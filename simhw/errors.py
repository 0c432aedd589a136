"""What simhw tells a user who can do something about it: one line, no traceback, exit code 2 from the CLI."""


class SimhwError(Exception):
    """Base of every error that a user's input can cause; its text is one line that says what, where and what to do."""


class TraceError(SimhwError):
    """A trace file or its contents cannot be used."""


class ShapeError(SimhwError, ValueError):
    """Arrays whose shapes or types do not fit each other or the geometry of their layer."""


class MachineError(SimhwError):
    """A machine file, an override or a combination of switches cannot be used."""


class CaptureError(SimhwError):
    """A training step cannot be captured faithfully."""


class WorkloadError(SimhwError):
    """A workload's data or options cannot be used."""


class CheckError(SimhwError):
    """A result differs from its replay, so one of the two is wrong: a bug of simhw, not of the input."""
