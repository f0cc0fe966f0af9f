"""A job's tasks in lines for people: the last attempt of each, its others below, and how each ended."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manta.cli.job_tasks import task_lines
from manta.cli.job_timeline import timeline
from manta.cli.plain import plain

_MOMENTS = [f"2026-11-30T12:00:{second:02d}.000Z" for second in range(60)]


def _attempt(number: int, node: str, began: int, ended: int | None, why: str | None = None) -> dict[str, Any]:
    end = None if ended is None else _MOMENTS[ended]
    return {"attempt": number, "node": node, "started": _MOMENTS[began], "ended": end, "why": why}


def _task(state: str, last: dict[str, Any], *earlier: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = {"task": 7, "phase": 0, "state": state, "input": "books/moby.txt", "leased": last["started"]}
    return {**given, **last, "earlier": list(earlier), **more}


def _told(task: dict[str, Any]) -> list[str]:
    return [" ".join(line.split()) for line in task_lines(task)]


def test_a_task_that_was_done_at_once_is_one_line() -> None:
    assert _told(_task("committed", _attempt(1, "n1", 0, 2))) == ["7 committed n1 2.000s 0 books/moby.txt"]


def test_each_attempt_has_its_node_its_time_and_its_end() -> None:
    lost = _attempt(1, "n1", 0, 15, "NodeLost")
    stopped = _attempt(2, "n2", 16, 20, "NodeStopped")
    failed = _attempt(3, "n1", 21, 22, "UserTaskError")
    overtaken = _attempt(4, "n1", 23, 40, "Overtaken")
    assert _told(_task("committed", _attempt(5, "n2", 35, 40), lost, stopped, failed, overtaken)) == [
        "7 committed n2 5.000s 0 books/moby.txt (attempt 5)",
        "n1 15.000s (attempt 1: lost: node stopped answering)",
        "n2 4.000s (attempt 2: lost: node was stopped)",
        "n1 1.000s (attempt 3: failed UserTaskError)",
        "n1 17.000s (attempt 4: lost: another attempt finished first)",
    ]


def test_the_winner_of_two_may_be_the_first() -> None:
    second = _attempt(2, "n2", 10, 12, "Overtaken")
    told = _told(_task("committed", _attempt(1, "n1", 0, 12), second))
    assert told[0].endswith("(attempt 1)"), "so that nobody wonders about the other"


def test_an_end_that_is_no_commit_is_told_of_the_last_attempt_too() -> None:
    assert _told(_task("failed", _attempt(1, "n1", 0, 1, "UserTaskError"))) == [
        "7 failed n1 1.000s 0 books/moby.txt (failed UserTaskError)"
    ]
    assert _told(_task("cancelled", _attempt(1, "n1", 0, 1, "JobCancelled"))) == [
        "7 cancelled n1 1.000s 0 books/moby.txt"
    ]
    assert _told(_task("failed", _attempt(2, "n1", 0, 1, "NodeLost")))[0].endswith(
        "(attempt 2: lost: node stopped answering)"
    )


def test_two_attempts_that_run_are_both_there() -> None:
    task = _task("running", _attempt(2, "n2", 10, None) | {"started": None}, _attempt(1, "n1", 0, None))
    assert _told(task) == ["7 running n2 - 0 books/moby.txt (attempt 2)", "n1 - (attempt 1: running)"]
    page = timeline([task], 1_796_040_000, 1_796_040_030)
    assert page.count('class="p0 now"') == 2
    assert "attempt 1, running" in page


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_a_job_is_called_moves_no_cursor(name: str, why: str) -> None:
    lines = list(task_lines(_task("failed", _attempt(1, name, 0, 1, why), _attempt(1, name, 0, 1, why), input=name)))
    assert len(lines) == 2
    assert all(plain(line) == line for line in lines)
