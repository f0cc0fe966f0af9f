"""What a job's progress says: totals once known, rates once measured, nothing that moves a cursor."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.cli.job_progress import failure_lines
from manta.cli.job_rows import Rate, counted, duration, facts, fitted, moved, note, rows
from manta.cli.plain import plain
from manta.sdk.jobs import JobStatus, PhaseStatus, TaskCounts


def said(phase: PhaseStatus, rate_per_s: float | None) -> str:
    return fitted(note(phase, rate_per_s), 200)


def test_a_total_that_may_grow_is_marked_and_gives_no_time_left() -> None:
    counts = TaskCounts(ready=1000, running=2, committed=500, failed=1)
    assert said(PhaseStatus("map", "wc", counts), 50.0) == "501 of 1,503+, 2 running, 1 failed, 50/s"
    assert said(PhaseStatus("map", "wc", counts, True), 50.0).endswith("50/s, 20s left")


def test_an_ended_phase_has_no_rate() -> None:
    assert said(PhaseStatus("map", "wc", TaskCounts(committed=3, cancelled=1), True), 5.0) == "4 of 4, 1 cancelled"


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
    assert all(char.isprintable() or unicodedata.category(char) == "Zs" or char == "\t" for char in plain(text))


def test_a_name_with_wide_spaces_is_shown_as_it_is() -> None:
    assert plain("白鯨　上巻\u00a0.txt") == "白鯨　上巻\u00a0.txt"


def test_a_failure_comes_with_the_end_of_its_stderr() -> None:
    said = "".join(f"line {number}\n" for number in range(40)) + "\x1b[2Jend"
    failure = {"code": "UserTaskError", "message": "It failed.", "input": "b/k", "task": 7, "stderr": said}
    lines = failure_lines(failure)
    assert lines[0] == "UserTaskError: It failed.  (b/k, task 7)"
    assert failure_lines({**failure, "input": ""})[0].endswith("  (task 7)")
    assert (len(lines), lines[-1]) == (13, "    \\x1b[2Jend")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (JobStatus("j", "running"), "its input is open"),
        (JobStatus("j", "running", input_ended=True, phases=(PhaseStatus("map"),)), "inputs are still being looked up"),
    ],
)
def test_what_is_not_known_yet_is_said(status: JobStatus, told: str) -> None:
    assert fitted(moved(status), 200) == f"0 B read in place, 0 B moved, {told}"


def test_what_a_job_waits_for_is_a_row_of_its_own() -> None:
    status = JobStatus("j", "running", waits_for="1 of the 2 nodes that copies need answers: no task starts.")
    assert rows(status, [], 30)[0] == [("1 of the 2 nodes that copies n", "yellow")]


_COUNTS = st.builds(TaskCounts, *[st.integers(0, 10**7)] * 6)
_PHASES = st.builds(PhaseStatus, st.sampled_from(["map", "reduce"]), st.just("wc"), _COUNTS, st.booleans())


@given(st.lists(_PHASES, max_size=12), st.integers(10, 250), st.floats(0.01, 10**5))
def test_no_row_is_wider_than_the_terminal_and_every_count_is_told(
    phases: list[PhaseStatus], width: int, rate_per_s: float
) -> None:
    status = JobStatus("j", "running", phases=tuple(phases), input_bytes_in_place=10**9, shuffle_bytes_moved=10**9)
    shown = ["".join(text for text, _ in row) for row in rows(status, [rate_per_s] * len(phases), width)]
    assert len(shown) == len(phases) + 1
    assert all(len(row) <= width for row in shown)
    if width >= 40:
        for row, phase in zip(shown, phases, strict=False):
            assert f" {phase.tasks.finished:,} of {phase.tasks.total:,}" in row


@pytest.mark.parametrize(
    ("width", "row"),
    [
        (200, "0 map " + "━" * 15 + "·" * 15 + " 500 of 1,000, 4 running, 1 failed, 50/s, 10s left"),
        (80, "0 map " + "━" * 12 + "·" * 12 + " 500 of 1,000, 4 running, 1 failed, 50/s, 10s left"),
        (60, "0 map 500 of 1,000, 4 running, 1 failed, 50/s, 10s left"),
        (40, "0 map 500 of 1,000, 1 failed, 10s left"),
        (30, "0 map 500 of 1,000, 1 failed"),
    ],
)
def test_a_row_says_what_fits(width: int, row: str) -> None:
    phase = PhaseStatus("map", "wc", TaskCounts(running=4, ready=496, committed=499, failed=1), True)
    shown = rows(JobStatus("j", "running", phases=(phase,)), [50.0], width)
    assert "".join(text for text, _ in shown[0]) == row


def test_a_bar_is_full_at_the_end_only_and_empty_without_a_total() -> None:
    def bar(counts: TaskCounts, complete: bool) -> str:
        phase = PhaseStatus("map", "wc", counts, complete)
        return "".join(text for text, _ in rows(JobStatus("j", "running", phases=(phase,)), [None], 120)[0])

    assert "·" in bar(TaskCounts(committed=10**6 - 1, ready=1), True)
    assert "·" not in bar(TaskCounts(committed=10**6), True)
    assert "━" not in bar(TaskCounts(committed=10**6), False)
    assert "━" not in bar(TaskCounts(), True)
    phase = PhaseStatus("map", "wc", TaskCounts(committed=999, failed=1), True)
    assert ("━", "red") in rows(JobStatus("j", "done", phases=(phase,)), [None], 120)[0], "one failure is seen"


def test_one_is_not_many() -> None:
    assert (counted(0, "input"), counted(1, "input"), counted(2000, "input")) == ("0 inputs", "1 input", "2,000 inputs")
    status = JobStatus("j", "done", inputs=1, outputs=2, errors=0, input_ended=True, task_seconds=1.25)
    assert facts(status).startswith("1 input, 2 outputs, 0 errors; 0 B read in place, 0 B moved; 1.2 task seconds")
