"""What a task's ended attempt said last is found, whatever became of the task since."""

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.model.questions import StderrTail
from jobs.model.states import TaskState
from manta.gateway.ops import job_stderr
from manta.gateway.ops.job_stderr import Place


@pytest.mark.parametrize("state", [TaskState.READY, TaskState.CANCELLED])
async def test_the_end_of_an_attempt_that_was_taken_back_is_told(
    monkeypatch: pytest.MonkeyPatch, state: TaskState
) -> None:
    """No further attempt has begun: the row names none, and still its number."""
    row: Any = SimpleNamespace(
        job_id="j", task_id=1, state=int(state), attempt=1, node_id="", earlier='[[1,"n1",1,2,"UserTaskError"]]'
    )

    async def read(_context: object, node_id: str, _job: str, _task: int, attempt: int = 0) -> StderrTail:
        assert (node_id, attempt) == ("n1", 1)
        return StderrTail(1, 10, b"begun\nwhy\n")

    monkeypatch.setattr(job_stderr, "read_stderr", read)
    context: Any = None
    assert await job_stderr._rest_of_attempt(context, row, Place(1, 6)) == (b"why\n", Place(1, 10))
    assert await job_stderr._rest_of_attempt(context, row, Place(1, 10)) == (b"", Place(1, 10))
