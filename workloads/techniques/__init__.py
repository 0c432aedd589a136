"""Techniques that compress a model or its training: per kind a few plain functions of a `Run` and their rows of the table."""

from importlib.util import find_spec

from simhw.errors import WorkloadError

for _needed in ("sklearn", "tensorly"):
    # Looked for here, so that what is missing is said once and plainly.
    if find_spec(_needed) is None:
        raise WorkloadError(f"the workloads need {_needed}, which is not installed: pip install 'simhw[workloads]'")
