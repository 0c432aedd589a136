"""The table of workloads: every technique and every uncompressed model, by name."""

from simhw.errors import WorkloadError
from workloads.techniques import dense, lowrank
from workloads.workload import Workload

ROWS: tuple[Workload, ...] = (*dense.WORKLOADS, *lowrank.WORKLOADS)
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
