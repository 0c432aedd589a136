"""The table of workloads: every technique and every uncompressed model, by name."""

from simhw.errors import WorkloadError
from simhw_workloads.techniques import decompose_train, dense, lowrank, resnet9, ssd, text, transformers, video
from simhw_workloads.workload import FAMILIES, Workload

_MODULES = (dense, lowrank, decompose_train, transformers, text, resnet9, video, ssd)
ROWS: tuple[Workload, ...] = tuple(
    sorted((row for module in _MODULES for row in module.WORKLOADS), key=lambda row: FAMILIES.index(row.family))
)
"""By family; in a family in the order of their modules."""
WORKLOADS: dict[str, Workload] = {row.name: row for row in ROWS}


def workload(name: str) -> Workload:
    """The workload of that name.

    Raises
    ------
    WorkloadError
        There is none; the message lists those there are.
    """
    if name not in WORKLOADS:
        raise WorkloadError(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
    return WORKLOADS[name]
