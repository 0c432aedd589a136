"""Work that takes minutes says so before it does: what is said, how times are told, and from when on."""

from statistics import mean, median

import pytest

from simhw import progress
from simhw.progress import LONG_SECONDS, Pace, announce, duration, track


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (45, "45 seconds"),
        (89, "89 seconds"),
        (90, "1.5 minutes"),
        (150, "2.5 minutes"),
        (3600, "60 minutes"),
        (9000, "2.5 hours"),
        (1e7, "2,778 hours"),
    ],
)
def test_times_are_told_in_the_unit_that_people_would_use(seconds: float, told: str):
    assert duration(seconds) == told


def test_only_long_work_is_announced_and_on_standard_error(capsys: pytest.CaptureFixture[str]):
    announce("short work", LONG_SECONDS - 1)
    announce("long work", 3 * LONG_SECONDS, "at most")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "simhw: long work will take at most 6 minutes\n")


@pytest.mark.parametrize(("seconds_a_step", "told"), [(0.5, "simhw: it will take about 8.3 minutes\n"), (0.05, "")])
def test_a_pace_is_that_of_the_steps_behind_the_first_and_is_told_once(
    seconds_a_step: float, told: str, capsys: pytest.CaptureFixture[str]
):
    now = 100.0  # what comes before the first step's end is not counted
    pace = Pace("it", 1000, mean, clock=lambda: now)
    for _ in range(200):
        pace.step()
        now += seconds_a_step
    assert capsys.readouterr().err == told


def test_a_step_that_is_captured_does_not_set_the_pace(capsys: pytest.CaptureFixture[str]):
    now = 0.0
    pace = Pace("it", 60, median, clock=lambda: now)
    for seconds in (0, 0.1, 0.1, 25, 0.1, 0.1, 0.1):  # by the mean of these 60 steps would take four minutes
        now += seconds
        pace.step()
    assert capsys.readouterr().err == ""


def test_a_few_steps_are_enough_where_they_are_long(capsys: pytest.CaptureFixture[str]):
    now = 0.0
    pace = Pace("it", 60, median, clock=lambda: now)
    for seconds in (3, 31):
        now += seconds
        pace.step()
    assert capsys.readouterr().err == "simhw: it will take about 31 minutes\n"


@pytest.mark.parametrize(
    ("announced", "told"), [(False, "simhw: fitting (9 parts) will take about 3 minutes\n"), (True, "")]
)
def test_a_row_of_parts_is_announced_by_its_first_ones(
    announced: bool, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = 0.0
    monkeypatch.setattr(progress.Pace.__init__, "__defaults__", (lambda: now,))
    given = []
    for part in track(range(9), "fitting", 9, announced):
        given.append(part)
        now += 20
    assert given == list(range(9))
    assert capsys.readouterr().err == told
