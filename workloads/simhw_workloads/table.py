"""The table of workloads: every technique and every uncompressed model, by name.

A new technique is one file in `simhw_workloads.techniques` and one word in `TECHNIQUES`.  A package brings one by an
entry point of the group ``simhw.workloads``, whose name is the workload's and whose value is its row.
"""

from collections.abc import Iterator
from importlib import import_module

from simhw.errors import WorkloadError
from simhw.plugins import WORKLOADS as GROUP
from simhw.plugins import brought, entries
from simhw_workloads.workload import FAMILIES, Workload

TECHNIQUES = (
    "dense",
    "lowrank",
    "decompose_train",
    "transformers",
    "monarch",
    "resnet18",
    "maestro",
    "funnel",
    "basis",
    "text",
    "resnet9",
    "video",
    "ssd",
    "sign_autoencoder",
    "npc_lv",
    "tensor_factors",
    "weak_regression",
    "cnns",
    "pact",
    "sparse_resnet50",
    "gated_convolution",
    "detector",
    "minilm",
    "fine_tuning",
    "welore",
    "minilm_gqa",
    "minilm_antman",
    "antman",
    "ncf",
    "sentence_pairs",
    "captions",
    "digits",
    "admm",
    "atmc",
    "reweighted",
    "collaborative",
    "structured_dropout",
    "scratch",
    "wire",
    "error_prune",
    "early_filter",
    "dynamic_resolution",
)
"""Modules of `simhw_workloads.techniques`.  Each has its rows in ``WORKLOADS``."""


def _rows() -> Iterator[Workload]:
    for name in TECHNIQUES:
        yield from import_module(f"simhw_workloads.techniques.{name}").WORKLOADS


ROWS: tuple[Workload, ...] = tuple(sorted(_rows(), key=lambda row: FAMILIES.index(row.family)))
"""By family; in a family in the order of their modules."""
WORKLOADS: dict[str, Workload] = {row.name: row for row in ROWS}


def workload(name: str) -> Workload:
    """The workload of that name.

    Raises
    ------
    WorkloadError
        There is none (the message lists those there are), or its package does not give what it says.
    """
    if name in WORKLOADS:
        return WORKLOADS[name]
    found = brought(GROUP, name, f"workload {name}", WorkloadError)
    if found is None:
        raise WorkloadError(f"no workload {name!r}; there are {', '.join([*WORKLOADS, *brought_names()])}")
    row, place = found
    if not isinstance(row, Workload) or row.name != name or row.family not in FAMILIES:
        raise WorkloadError(
            f"workload {name}: {place} is no Workload of this name, of one of the families {', '.join(FAMILIES)}"
        )
    return row


def brought_names() -> list[str]:
    """Names of the workloads that installed packages bring; none of them is loaded."""
    return sorted({entry.name for entry in entries(GROUP)} - set(WORKLOADS))
