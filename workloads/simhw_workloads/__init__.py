"""Trainings to capture: models, data sets, and techniques that compress a model or its training.

Nothing here knows of capture: whoever wants to see a step gives a `Run` an observer.
"""

from importlib.util import find_spec

from simhw.errors import WorkloadError

for _needed in ("torch", "sklearn", "tensorly"):
    # Looked for here, so that what is missing is said once and plainly.
    if find_spec(_needed) is None:
        raise WorkloadError(f"the workloads need {_needed}, which is not installed: pip install 'simhw[workloads]'")
