"""`simhw capture`: train a bundled recipe and write traces of chosen steps."""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.cli.trace import size_in_bytes
from simhw.errors import CaptureError

if TYPE_CHECKING:
    from workloads.recipes import Recipe


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "capture",
        help="train a recipe and write traces of chosen steps (needs PyTorch)",
        description="Train a recipe and write traces of chosen steps.  Your own training loop takes three lines: see the README.",
        epilog="Example: simhw capture small-cnn-digits --out small-{step}.npz --steps early,late",
    )
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="model and data set; without it the recipes are listed")
    parser.add_argument(
        "--out", metavar="FILE", default="trace-{step}.npz", help="the trace files; {step} is the step's number (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", metavar="LIST", default="early,late", help="numbers, `early` and `late`, with commas (default: %(default)s)"
    )
    parser.add_argument(
        "--max-bytes", metavar="SIZE", type=size_in_bytes, help="write samples of at most this size, such as 12MB, not whole tensors"
    )
    parser.add_argument("--data", metavar="FOLDER", help="where the data set's files lie, if not where its package puts them")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, order of images and samples (default: 0)")
    parser.add_argument("--threads", type=int, help="of PyTorch; results repeat exactly only on the same number (default: PyTorch's own)")
    parser.add_argument("--max-steps", metavar="N", type=int, help="stop training after this many steps; `late` is then the last of them")
    parser.add_argument("--capture-batch", metavar="N", type=int, help="take only the first N images of the batch in captured steps")
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="save the training here every 100 steps, and go on from it if it exists (.npz)"
    )
    parser.add_argument(
        "--nonfinite", choices=("error", "zero", "keep"), default="error", help="what becomes of NaN and infinity (default: error)"
    )
    parser.set_defaults(execute=execute)


def captured_steps(text: str, recipe: "Recipe", last: int) -> list[int]:
    """The step numbers that ``--steps`` asks for, in order.

    Raises
    ------
    CaptureError
        A part is no number, ``early`` or ``late``, or lies beyond the last step.
    """
    steps = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        named = {"early": recipe.early, "late": min(recipe.late, last)}
        if part not in named and not part.isdecimal():
            raise CaptureError(f"--steps {text}: {part!r} is neither a number, `early` nor `late`")
        step = named[part] if part in named else int(part)
        if not 1 <= step <= last:
            raise CaptureError(f"--steps {text}: there is no step {step}; this run has steps 1 to {last}")
        steps.add(step)
    if not steps:
        raise CaptureError("--steps: give at least one step")
    return sorted(steps)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    # First of all: it says what to do where PyTorch is missing.
    from simhw.capture import Capture

    # isort: split
    from pathlib import Path

    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from workloads.recipes import RECIPES, recipe
    from workloads.train import Run, StepContext

    if arguments.recipe is None:
        for row in RECIPES.values():
            print(f"{row.name:18} {row.summary}")
        return 0
    chosen = recipe(arguments.recipe)
    for option in ("threads", "max_steps", "capture_batch"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            raise CaptureError(f"--{option.replace('_', '-')} {getattr(arguments, option)}: give a number of at least 1")
    last = min(arguments.max_steps or chosen.steps, chosen.steps)
    steps = captured_steps(arguments.steps, chosen, last)
    batch = min(arguments.capture_batch or chosen.batch, chosen.batch)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    written: list[Path] = []

    def observe(model: torch.nn.Module) -> StepContext:
        capture = Capture(
            model,
            arguments.out,
            steps,
            model_name=chosen.model,
            dataset=chosen.dataset,
            technique=chosen.technique,
            command=arguments.command_line,
            batch=batch,
            seed=arguments.seed,
            nonfinite=arguments.nonfinite,
            max_bytes=arguments.max_bytes,
        )
        written.extend(capture.path(step) for step in steps)
        return capture.step

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(chosen.name, total=last, loss=float("nan"))
        outcome = chosen.train(
            Run(
                seed=arguments.seed,
                max_steps=arguments.max_steps,
                data=Path(arguments.data) if arguments.data else None,
                checkpoint=Path(arguments.checkpoint) if arguments.checkpoint else None,
                batch_at=dict.fromkeys(steps, batch),
                observe=observe,
                progress=lambda step, _, loss: bar.update(task, completed=step, loss=loss),
            )
        )
    for step, path in zip(steps, written, strict=True):
        print(f"step {step:>5}  training loss {outcome.losses[step - 1]:.3f}  {path}  {path.stat().st_size / 1e6:.1f} MB")
    tail = outcome.losses[-50:]
    learnt = f"training loss {outcome.losses[0]:.3f} to {sum(tail) / len(tail):.3f} (mean of the last {len(tail)})"
    print(f"{len(outcome.losses)} steps: {learnt}; {outcome.test_accuracy:.1%} of {outcome.tested} held-out images right")
    return 0
