"""`simhw workloads`: the table of trainings, each with its technique; train one, capture it, set all beside all
machines.
"""

import argparse
from typing import Any

from simhw.cli import matrix, training
from simhw.cli.terminal import facts, show


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "workloads",
        help="techniques that compress training: list them, train one for real, compare all on all machines (needs "
        "PyTorch)",
        description="Techniques that compress a model or its training, each trained for real on a small model and "
        "captured.",
        epilog="Example: simhw workloads run lrd --capture lrd.npz",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all workloads, a line each")
    listing.set_defaults(execute=_list)
    showing = actions.add_parser(
        "show", help="one workload: its paper, what was published, its phases, what its trace looks like"
    )
    showing.add_argument("workload", metavar="WORKLOAD")
    showing.set_defaults(execute=_show)
    running = actions.add_parser(
        "run",
        help="train one",
        epilog="Example: simhw workloads run lrd --capture lrd-{phase}.npz --steps dense:late,finetune:late",
    )
    running.add_argument("workload", metavar="WORKLOAD", help="a name of `simhw workloads list`")
    running.add_argument(
        "--capture", metavar="FILE", help="write traces of the steps of --steps; {phase} and {step} are the step's"
    )
    training.add_options(running, steps="late")
    running.set_defaults(execute=training.execute)
    matrix.add_parser(actions)


def _list(arguments: argparse.Namespace) -> int:  # noqa: ARG001  # all commands take them
    return training.list_workloads()


def _show(arguments: argparse.Namespace) -> int:
    from simhw_workloads.table import workload

    row = workload(arguments.workload)
    pairs = [
        ("workload", row.name),
        ("what", row.summary),
        ("family", row.family),
        ("model", row.model),
        ("data", row.dataset),
        ("technique", row.technique),
        ("beside", row.baseline or ("nothing" if row.technique != "dense" else "nothing: it is uncompressed itself")),
        ("paper", row.paper or "none"),
        ("published", row.headline or "nothing"),
        (
            "phases",
            ", ".join(
                f"{phase} (stands for the technique)" if phase == row.captured else phase for phase in row.phases
            ),
        ),
        ("time", f"at most {row.budget_s} s of processor time at full scale"),
    ]
    for name, bounds in row.signature.bounds.items():
        pairs.append((f"trace: {name}", f"{bounds.low:g} to {bounds.high:g}"))
    for name, kinds in (("has", row.signature.kinds), ("lacks", row.signature.absent)):
        if kinds:
            pairs.append((f"trace {name}", ", ".join(sorted(kinds))))
    show(*facts(pairs))
    return 0
