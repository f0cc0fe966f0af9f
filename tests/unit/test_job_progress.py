"""What a job's progress says: totals once known, rates once measured, nothing that moves a cursor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.cli.job_progress import Rate, duration, failure_lines, moved, note, plain
from manta.sdk.jobs import JobStatus, PhaseStatus, TaskCounts


def test_a_total_that_may_grow_is_marked_and_gives_no_time_left() -> None:
    counts = TaskCounts(ready=1000, running=2, committed=500, failed=1)
    assert note(PhaseStatus("map", "wc", counts), 50.0) == "501 of 1,503+, 2 running, 1 failed, 50/s"
    assert note(PhaseStatus("map", "wc", counts, True), 50.0).endswith("50/s, 20s left")


def test_an_ended_phase_has_no_rate() -> None:
    assert note(PhaseStatus("map", "wc", TaskCounts(committed=3, cancelled=1), True), 5.0) == "4 of 4, 1 cancelled"


def test_a_rate_is_told_once_it_was_measured() -> None:
    rate = Rate()
    rate.add(0.0, 0)
    rate.add(0.5, 10)
    assert rate.per_s() is None
    rate.add(2.0, 20)
    assert rate.per_s() == 10.0


def test_a_rate_forgets_what_was_long_ago_and_what_was_taken_back() -> None:
    rate = Rate()
    for second in range(60):
        rate.add(float(second), second if second < 30 else 30)
    assert rate.per_s() == 0.0
    rate.add(60.0, 5)
    assert rate.per_s() is None, "a retry takes counts back"


@given(st.integers(0, 10**7))
def test_a_duration_is_read_back(seconds: int) -> None:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    words = duration(seconds).split()
    value = sum(int(word[:-1]) * units[word[-1]] for word in words)
    smallest = units[words[-1][-1]]
    assert value <= seconds < value + smallest


@given(st.text())
def test_no_text_moves_the_cursor(text: str) -> None:
    assert all(char.isprintable() or char == "\t" for char in plain(text))


def test_a_failure_comes_with_the_end_of_its_stderr() -> None:
    said = "".join(f"line {number}\n" for number in range(40)) + "\x1b[2Jend"
    lines = failure_lines({"code": "UserTaskError", "message": "It failed.", "input": "b/k", "stderr": said})
    assert lines[0] == "UserTaskError: It failed.  (b/k)"
    assert (len(lines), lines[-1]) == (13, "    \\x1b[2Jend")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (JobStatus("j", "running"), "its input is open"),
        (JobStatus("j", "running", input_ended=True, phases=(PhaseStatus("map"),)), "inputs are still being looked up"),
    ],
)
def test_what_is_not_known_yet_is_said(status: JobStatus, told: str) -> None:
    assert moved(status) == f"0 B read in place, 0 B moved, {told}"
