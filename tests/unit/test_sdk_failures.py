"""How a job's first failure is told by the SDK: in one piece, under the name of its input."""

from collections.abc import Iterator
from typing import Any

import pytest

from manta.sdk.failures import JobFailedError, ended
from manta.sdk.jobs import Job, JobStatus


class Failed(Job):
    """A job that has ended with one error."""

    def __init__(self, **line: object) -> None:
        self.id = "j"
        self.line = {"phase": 0, "task": 1, "code": "UserTaskError", "message": "No.", "stderr": ""} | line

    def wait(self, *, timeout_s: float | None = None) -> JobStatus:
        return JobStatus(id=self.id, state="done", errors=1)

    def errors(self, **_: object) -> Iterator[dict[str, Any]]:
        yield self.line


def _told(job: Job) -> str:
    with pytest.raises(JobFailedError) as caught:
        ended(job)
    return caught.value.message


def test_an_input_is_told_as_the_object_it_is() -> None:
    assert _told(Failed(input="books/moby.txt")) == "s3://books/moby.txt: UserTaskError: No."


def test_an_input_that_names_nothing_is_told_as_it_was_written() -> None:
    line = {"input": "moby.txt", "code": "InvalidInput", "message": "'moby.txt' names no object."}
    assert _told(Failed(**line)) == "moby.txt: InvalidInput: 'moby.txt' names no object."
