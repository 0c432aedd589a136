"""The pictures of docs/how-it-works.md, drawn from what the simulator's tiles do: ``python docs/figures/draw.py``.

Each takes a few values, lets a tile of one PE run, and shows what its replay writes down cycle by cycle.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from simhw import load_machine
from simhw.bfloat16 import BF16Array, as_bfloat16
from simhw.machine.machine import Machine
from simhw.pe.passes import ParallelRows
from simhw.pe.signals import Signals

HERE = Path(__file__).parent
USEFUL, WAITING, NOTHING = "#009E73", "#E69F00", "#D8D8D8"
STEPS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's palette."""
FPRAKER = ("fpraker-literal", {"tile.rows": 1, "tile.cols": 1, "tile.exponent_sharing": 1})
TENSORDASH = ("tensordash", {"tile.rows": 1, "tile.cols": 1})
SERIAL = [1.0, -1.875, 0.0, 0.625, 1.3125, 0.75, 2.0**-15, -0.09375]
"""A set of FPRaker: values of one term and of several, a zero, and one that is too small to count."""
STEPS_SHOWN, ZEROS_SEED = 6, 3


def _signals(machine: Machine, x: BF16Array) -> tuple[dict[str, Signals], int]:
    """What the pass of a row of X and a row of ones shows, by name, and its cycles."""
    rows = ParallelRows(as_bfloat16(np.ones(x.shape, np.float32)), np.ones(1, bool))
    cycles = machine.tile.run(x, machine.tile.prepare(rows), outputs=False).cycles
    return {each.paths[0][0][-1]: each for each in machine.pe.signals(x, rows, cycles)}, cycles


def _cell(axes: Axes, column: int, row: int, colour: str, text: str) -> None:
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.5))
    axes.text(
        column + 0.5,
        row + 0.5,
        text,
        ha="center",
        va="center",
        fontsize=8,
        color="white" if colour == STEPS[0] else "black",
    )


def _frame(axes: Axes, columns: int, rows: int, title: str, below: str) -> None:
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_aspect("auto")
    axes.set_xticks(np.arange(columns) + 0.5, [str(number) for number in range(1, columns + 1)])
    axes.set_title(title, fontsize=9.5, loc="left")
    axes.set_xlabel(below, fontsize=9)
    axes.tick_params(length=0, labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _key(figure: Figure, entries: dict[str, str]) -> None:
    marks = [Rectangle((0, 0), 1, 1, facecolor=colour, edgecolor="#999999") for colour in entries.values()]
    figure.legend(marks, list(entries), loc="lower center", ncols=3, fontsize=8, frameon=False)


def draw_fpraker() -> Figure:
    """One set of eight products in FPRaker's PE: which lane fires which term in which cycle."""
    x = as_bfloat16(np.array([SERIAL], np.float32))
    signals, cycles = _signals(load_machine(FPRAKER[0], **FPRAKER[1]), x)
    state, term = signals["state"], signals["term"]
    figure = Figure(figsize=(7.2, 3.9), facecolor="white")
    axes = figure.subplots(1, 2, width_ratios=[1, cycles], sharey=True)
    _frame(axes[0], 1, len(SERIAL), "Bit-parallel", "cycle")
    _frame(axes[1], cycles, len(SERIAL), "FPRaker", "cycle")
    axes[0].set_yticks(np.arange(len(SERIAL)) + 0.5, [f"lane {lane}" for lane in range(len(SERIAL))])
    for lane, value in enumerate(SERIAL):
        small = f"$2^{{{int(np.log2(value))}}}$" if 0 < abs(value) < 1e-3 else f"{value:g}"
        _cell(axes[0], 0, lane, USEFUL if value else NOTHING, small)
        for cycle in range(cycles):
            colour = {"useful": USEFUL, "shift_range": WAITING}.get(state.texts[state.values[cycle, lane]], NOTHING)
            sign, _, power = term.texts[term.values[cycle, lane]].partition("2^")
            # The signal counts from the value's own leading bit.
            fired = f"${sign}2^{{{int(power) + int(np.floor(np.log2(abs(value))))}}}$" if power else ""
            _cell(axes[1], cycle, lane, colour, fired)
    _key(figure, {"multiplies": USEFUL, "its term must wait": WAITING, "has no term (left)": NOTHING})
    figure.set_layout_engine("constrained", rect=(0, 0.08, 1, 0.92))
    return figure


def draw_tensordash() -> Figure:
    """Six steps of sixteen values, three fifths of them zero: dense hardware and TensorDash."""
    rng = np.random.default_rng(ZEROS_SEED)
    values = np.where(rng.random(STEPS_SHOWN * 16) < 0.4, 1.0, 0.0).astype(np.float32)
    signals, cycles = _signals(load_machine(TENSORDASH[0], **TENSORDASH[1]), as_bfloat16(values[None]))
    position, steps, sources = (signals[name].values for name in ("position", "step", "source"))
    figure = Figure(figsize=(7.2, 4.9), facecolor="white")
    axes = figure.subplots(1, 2, width_ratios=[STEPS_SHOWN, cycles], sharey=True)
    _frame(axes[0], STEPS_SHOWN, 16, "Dense: a step each cycle", "cycle = step")
    _frame(axes[1], cycles, 16, f"TensorDash: {cycles} cycles", "cycle")
    axes[0].set_yticks(np.arange(16) + 0.5, [f"lane {lane}" for lane in range(16)])
    for lane in range(16):
        for step in range(STEPS_SHOWN):
            there = values[step * 16 + lane] != 0
            _cell(axes[0], step, lane, STEPS[step] if there else NOTHING, f"{step + 1}.{lane}" if there else "0")
        for cycle in range(cycles):
            if steps[cycle, lane] < 0:
                _cell(axes[1], cycle, lane, NOTHING, "")
            else:
                step = int(position[cycle, 0] + steps[cycle, lane])
                _cell(axes[1], cycle, lane, STEPS[step], f"{step + 1}.{sources[cycle, lane]}")
    _key(figure, {f"step {step + 1}": STEPS[step] for step in range(STEPS_SHOWN)})
    figure.set_layout_engine("constrained", rect=(0, 0.1, 1, 0.9))
    return figure


def main(folder: Path = HERE) -> None:
    """Draw all into a folder, in few colours, which keeps the files small."""
    for name, draw in (("fpraker-set", draw_fpraker), ("tensordash-steps", draw_tensordash)):
        drawn = BytesIO()
        draw().savefig(drawn, dpi=150)
        picture = Image.open(drawn).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
        picture.save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
