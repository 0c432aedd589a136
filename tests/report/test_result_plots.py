"""The pictures of results: what is drawn, bar by bar and marker by marker."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from simhw import Layer, Trace, load_machine, simulate
from simhw.machine.energy import COMPONENTS
from simhw.machine.names import machine_names
from simhw.memory.model import SHARES
from simhw.report.memory_plots import COMPONENT_COLORS, SHARE_COLORS
from simhw.report.result_plots import comparison_figure, results_figure
from simhw.results.operation import OperationResult
from simhw.results.step import Results
from simhw.trace.metadata import Metadata
from tests.trace_files import values

LAYERS = 5


@pytest.fixture(scope="module")
def trace() -> Trace:
    layers = [
        Layer(
            f"$block_{index}$",
            "linear",
            a=values(index, 160, 32),
            w=values(index + 10, 24, 32),
            g=values(index + 20, 160, 24),
        )
        for index in range(LAYERS)
    ]
    return Trace(layers, Metadata("net", step=3))


@pytest.fixture(scope="module")
def exact(trace: Trace) -> list[Results]:
    return [simulate(trace, load_machine(name), progress=False) for name in ("fpraker", "tensordash")]


@pytest.fixture(scope="module")
def sampled(trace: Trace) -> Results:
    return simulate(trace, load_machine("fpraker"), sample=0.1, progress=False)


def panels(figure: Figure) -> list[Axes]:
    figure.canvas.draw()  # raises where a label cannot be typeset
    return figure.axes


def widths(container: BarContainer) -> list[float]:
    return [bar.get_width() for bar in container]


def bars(axes: Axes) -> list[BarContainer]:
    return [container for container in axes.containers if isinstance(container, BarContainer)]


def test_lane_cycles_are_stacked_to_one(exact: list[Results]) -> None:
    classes = panels(results_figure(exact[:1]))[0]
    stacked = np.array([widths(container) for container in bars(classes)])
    assert [container.get_label() for container in bars(classes)] == list(exact[0].classes)
    np.testing.assert_allclose(stacked.sum(axis=0), 1)
    np.testing.assert_allclose(stacked[:, -1], list(exact[0].total.class_shares.values()))
    assert [label.get_text() for label in classes.get_yticklabels()] == [
        "forward",
        "input_grad",
        "weight_grad",
        "total",
    ]


def test_speedups_have_their_lengths_and_a_line_at_the_baseline(exact: list[Results]) -> None:
    speedups = panels(results_figure(exact[:1]))[1]
    container, overall = bars(speedups)
    summaries = [*exact[0].by_operation().values(), exact[0].total]
    assert widths(container) == [summary.speedup for summary in summaries]
    assert widths(overall) == [summary.overall_speedup for summary in summaries]
    legend = speedups.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["compute only", "with memories"]
    # Bars of a row lie one below the other.
    assert all(
        upper.get_y() + upper.get_height() <= lower.get_y() + 1e-9
        for upper, lower in zip(container, overall, strict=True)
    )
    assert list(speedups.lines[0].get_xdata()) == [1, 1]
    assert container.errorbar is None
    assert overall.errorbar is None


def test_samples_have_error_bars(sampled: Results) -> None:
    _, speedups, _, _, layers = panels(results_figure([sampled]))
    total = sampled.total
    intervals = [(total.speedup, total.speedup_half_width), (total.overall_speedup, total.overall_speedup_half_width)]
    for container, (value, half_width) in zip(bars(speedups), intervals, strict=True):
        assert container.errorbar is not None
        (segments,) = container.errorbar.lines[2]
        np.testing.assert_allclose(segments.get_segments()[-1][:, 0], [value - half_width, value + half_width])
    assert any(isinstance(each, ErrorbarContainer) for each in layers.containers)


def test_every_layer_and_operation_has_a_marker_and_every_layer_a_name(exact: list[Results]) -> None:
    layers = panels(results_figure(exact[:1]))[-1]
    points = np.concatenate([each.get_offsets() for each in layers.collections])
    assert len(points) == 3 * LAYERS
    assert sorted(points[:, 1]) == sorted(item.speedup for item in exact[0].operations)
    assert [label.get_text() for label in layers.get_xticklabels()] == [
        rf"\$block_{index}\$" for index in range(LAYERS)
    ]
    low, high = layers.get_ylim()
    assert low == 0
    assert high > max(points[:, 1])


def test_intervals_too_wide_to_draw_leave_a_hollow_marker(exact: list[Results]) -> None:
    def uncertain(item: OperationResult, relative: float) -> OperationResult:
        cycles = replace(item.cost.cycles, variance=(relative / 1.96 * item.cycles) ** 2)
        return replace(item, cost=replace(item.cost, cycles=cycles))

    forward = [item for item in exact[0].operations if item.operation == "forward"]
    some = replace(exact[0], operations=[uncertain(forward[0], 0.1), uncertain(forward[1], 0.9), *forward[2:]])
    layers = panels(results_figure([some]))[-1]
    assert "hollow" in layers.get_title(loc="right")
    assert "hollow" not in panels(results_figure(exact[:1]))[-1].get_title(loc="right")
    (markers,) = [each for each in layers.collections if len(each.get_offsets()) == LAYERS]
    assert [face[3] for face in markers.get_facecolors()] == [1, 0, 1, 1, 1]
    (container,) = [each for each in layers.containers if isinstance(each, ErrorbarContainer)]
    (segments,) = container.lines[2]
    lengths = [np.ptp(segment[:, 1]) for segment in segments.get_segments() if len(segment)]
    assert max(lengths) == pytest.approx(2 * 0.1 * forward[0].speedup, rel=1e-3)


def test_a_block_per_machine(exact: list[Results]) -> None:
    figure = results_figure(exact)
    assert len(panels(figure)) == 10
    titles = [block.get_suptitle() for block in figure.subfigs]
    assert titles == ["fpraker, against bitparallel:memory.compression=none", "tensordash, against tensordash-dense"]


def test_a_grown_step_is_named_as_such(trace: Trace) -> None:
    grown = [simulate(trace, load_machine("tensordash"), progress=False, batch=320)]
    for draw in (results_figure, comparison_figure):
        assert draw(grown).get_suptitle().endswith("net, step 3, grown to 320 images")


def test_a_single_layer_needs_no_strip(trace: Trace) -> None:
    alone = Trace(trace.layers[:1])
    assert len(panels(results_figure([simulate(alone, "tensordash", progress=False)]))) == 4


def test_machines_without_a_baseline_are_drawn_without_speedups(trace: Trace) -> None:
    _, speedups, *_ = panels(results_figure([simulate(trace, "bitparallel", progress=False)]))
    assert speedups.get_xlabel() == "no baseline to compare with"
    assert [text.get_text() for text in speedups.texts] == ["-"] * 8


def test_comparison_groups_bars_by_operation(exact: list[Results]) -> None:
    groups, classes, energy, overall, *_ = panels(comparison_figure(exact))
    assert [label.get_text() for label in groups.get_xticklabels()] == ["forward", "input_grad", "weight_grad", "total"]
    for container, each in zip(bars(groups), exact, strict=True):
        assert [bar.get_height() for bar in container] == [
            summary.speedup for summary in [*each.by_operation().values(), each.total]
        ]
    for container, each in zip(bars(overall), exact, strict=True):
        summaries = [*each.by_operation().values(), each.total]
        assert [bar.get_height() for bar in container] == [summary.overall_speedup for summary in summaries]
    # Bars of a group stand side by side: no two overlap.
    starts = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for container in bars(groups) for bar in container)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(starts))
    np.testing.assert_allclose(np.array([widths(container) for container in bars(classes)]).sum(axis=0), 1)
    alone, with_memories = bars(energy)
    assert widths(alone) == [each.total.energy_efficiency for each in exact]
    assert widths(with_memories) == [each.total.overall_energy_efficiency for each in exact]
    legend = groups.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "fpraker (against bitparallel:memory.compression=none)",
        "tensordash (against tensordash-dense)",
    ]


def test_time_and_energy_bars_are_the_causes_and_components_of_machine_and_baseline(exact: list[Results]) -> None:
    time, energy = panels(results_figure(exact[:1]))[2:4]
    total = exact[0].total
    sides = (total.overall, total.baseline_overall)
    stacked = np.array([widths(container) for container in bars(time)])
    np.testing.assert_allclose(stacked.sum(axis=0), [side.time_s * 1e3 for side in sides])
    np.testing.assert_allclose(
        stacked[:, 0], [cycles / exact[0].machine.values.clock_hz * 1e3 for cycles in total.overall.shares.values()]
    )
    parts = np.array([widths(container) for container in bars(energy)])
    np.testing.assert_allclose(parts.sum(axis=0), [side.energy_j.mid * 1e3 for side in sides])
    assert [label.get_text() for label in energy.get_yticklabels()] == ["fpraker", "bitparallel"]
    (whiskers,) = [each for each in energy.containers if isinstance(each, ErrorbarContainer)]
    ends = whiskers.lines[2][0].get_segments()
    np.testing.assert_allclose(
        [segment[:, 0] for segment in ends], [[side.energy_j.low * 1e3, side.energy_j.high * 1e3] for side in sides]
    )


def test_comparison_has_bars_with_memories_of_machines_that_have_them(trace: Trace, exact: list[Results]) -> None:
    ideal = simulate(trace, load_machine("fpraker", **{"memory.model": "ideal"}), progress=False)
    groups, _, efficiency, overall, time, energy = panels(comparison_figure([ideal, exact[1]]))
    np.testing.assert_equal(widths(bars(efficiency)[1]), [np.nan, exact[1].total.overall_energy_efficiency])
    assert len(bars(groups)) == 2
    (container,) = bars(overall)
    assert container[-1].get_height() == exact[1].total.overall_speedup
    # In its own place and colour, so that both panels can be read alike.
    assert container[0].get_x() == bars(groups)[1][0].get_x()
    assert container[0].get_facecolor() == bars(groups)[1][0].get_facecolor()
    assert [label.get_text() for label in time.get_yticklabels()] == ["tensordash"]
    assert [len(container) for container in bars(time)] == [1] * len(SHARES)
    assert [len(container) for container in bars(energy)] == [1] * len(COMPONENTS)


def test_ideal_memories_have_no_bars(trace: Trace) -> None:
    ideal = simulate(trace, load_machine("fpraker", **{"memory.model": "ideal"}), progress=False)
    assert len(panels(results_figure([ideal]))) == 3
    assert len(panels(comparison_figure([ideal]))) == 3


def test_every_cause_and_component_has_a_colour() -> None:
    assert set(SHARE_COLORS) == set(SHARES)
    assert set(COMPONENT_COLORS) == set(COMPONENTS)


def test_classes_of_one_name_have_one_colour_and_others_differ() -> None:
    colors: dict[str, str] = {}
    for name in machine_names():
        lanes = load_machine(name).pe.lane_classes
        assert len({lane.color for lane in lanes}) == len(lanes)
        for lane in lanes:
            assert colors.setdefault(lane.name, lane.color) == lane.color
