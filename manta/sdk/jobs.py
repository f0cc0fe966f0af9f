"""A job from the client's side: create, feed, watch, read what it made."""

import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from manta.core.errors import ServiceUnavailable, TooManyStreams
from manta.core.limits import JOB_PAGE_LINES, JOB_PAGE_LINES_MAX
from manta.sdk.following import Following, Line
from manta.sdk.transport import AWAY_S, PATIENCE_S, Transport, once

_POLL_S = 10
_ADD_LINES = 5000
_CROWDED_S = 1.0
_NEXT_HEADER = "X-Manta-Next"


class TaskCounts(msgspec.Struct, frozen=True):
    waiting: int = 0
    ready: int = 0
    running: int = 0
    committed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def finished(self) -> int:
        return self.committed + self.failed + self.cancelled

    @property
    def total(self) -> int:
        return self.finished + self.waiting + self.ready + self.running


class PhaseStatus(msgspec.Struct, frozen=True):
    type: str
    exec: str = ""
    tasks: TaskCounts = TaskCounts()
    complete: bool = False
    """No more tasks will be added: the total is known."""
    program: str = ""
    """The name of a Python function, where the phase runs no command."""

    @property
    def work(self) -> str:
        """What it runs, for people."""
        return work_of(self.exec, self.program)


class JobStatus(msgspec.Struct, frozen=True):
    """What the store says of a job. Times are RFC 3339, bytes are bytes."""

    id: str
    state: str
    owner: str = ""
    name: str | None = None
    created: str | None = None
    ended: str | None = None
    input_ended: bool = False
    cancel_reason: str | None = None
    waits_for: str | None = None
    """Why none of its tasks can start just now, in a sentence."""
    phases: tuple[PhaseStatus, ...] = ()
    inputs: int = 0
    outputs: int = 0
    errors: int = 0
    input_bytes_in_place: int = 0
    input_bytes_moved: int = 0
    shuffle_bytes_moved: int = 0
    output_bytes_copied: int = 0
    task_seconds: float = 0.0
    byte_seconds: int = 0

    @property
    def finished(self) -> bool:
        return self.state in ("done", "cancelled")


class WaitTimedOutError(ServiceUnavailable):
    """The job goes on; only the waiting ended."""

    code = "WaitTimedOut"


class Job:
    """A job of the store, by id. Every method asks the store; nothing is cached."""

    def __init__(self, transport: Transport, job_id: str) -> None:
        self._transport = transport
        self.id = job_id

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self, *, wait_s: float | None = None, for_end: bool = False) -> JobStatus:
        """With `wait_s` answered when the job ends or that time has passed; unless `for_end`, when it progresses."""
        query = {"wait": None if wait_s is None else f"{wait_s:.3f}", "for": "end" if for_end else None}
        patience_s = PATIENCE_S if wait_s is None else AWAY_S
        content = self._transport.call("GET", f"/jobs/{self.id}", query=query, patience_s=patience_s)
        return msgspec.json.decode(content, type=JobStatus)

    def watch(self, *, timeout_s: float | None = None, interval_s: float = _POLL_S) -> Iterator[JobStatus]:
        """The status now and at least every `interval_s`, until the job has ended. WaitTimedOutError."""
        status = self.status()
        yield status
        if not status.finished:
            yield from self._statuses(timeout_s, interval_s, for_end=False)

    def wait(self, *, timeout_s: float | None = None) -> JobStatus:
        """The status once it is done or cancelled. WaitTimedOutError."""
        *_, last = self._statuses(timeout_s, _POLL_S, for_end=True)
        return last

    def _statuses(self, timeout_s: float | None, interval_s: float, *, for_end: bool) -> Iterator[JobStatus]:
        """To the last one, as the store tells them."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = interval_s if deadline is None else min(interval_s, deadline - time.monotonic())
            status = self.status(wait_s=max(left, 0.0), for_end=for_end)
            yield status
            if status.finished:
                return
            if left <= 0:
                raise WaitTimedOutError(f"Job {self.id} has not ended within {timeout_s:g} s; it goes on.")

    def add(self, inputs: Iterable[str | Mapping[str, object]]) -> int:
        """Add inputs (`s3://…` or objects with bucket and key, prefix or glob); how many lines were sent."""
        batch: list[object] = []
        count = 0
        for item in inputs:
            batch.append(item)
            count += 1
            if len(batch) == _ADD_LINES:
                self._send(batch)
                batch = []
        if batch:
            self._send(batch)
        return count

    def _send(self, batch: list[object]) -> None:
        self._transport.call("POST", f"/jobs/{self.id}/inputs", lines=batch, headers=once())

    def end(self) -> None:
        """No more inputs will come."""
        self._transport.call("POST", f"/jobs/{self.id}/end", headers=once())

    def cancel(self) -> None:
        self._transport.call("POST", f"/jobs/{self.id}/cancel", headers=once())

    def retry(self) -> JobStatus:
        """Open the finished job again for its failed inputs only."""
        return msgspec.json.decode(self._transport.call("POST", f"/jobs/{self.id}/retry"), type=JobStatus)

    def clone(self) -> "Job":
        """A new job of the same document, with the inputs as they were written."""
        return Job(self._transport, self._transport.json("POST", f"/jobs/{self.id}/clone", headers=once())["id"])

    def delete(self) -> None:
        """Remove the job with the outputs in its own bucket; one that still runs is cancelled."""
        self._transport.call("DELETE", f"/jobs/{self.id}")

    def document(self) -> Line:
        """`document`: what the job was asked to do, with its first inputs; `more_inputs`: whether there are others."""
        found: Line = self._transport.json("GET", f"/jobs/{self.id}/document")
        return found

    def inputs(self) -> Iterator[Line]:
        return self._lines("inputs")

    def outputs(self) -> Iterator[Line]:
        return self._lines("outputs")

    def errors(self, *, after: int = 0) -> Iterator[Line]:
        """Each failed input so far, from the one with the number behind `after`."""
        return self._lines("errors", after)

    def tasks(self, *, state: str | None = None) -> Iterator[Line]:
        """Each task so far, where and when it ran. `state`: only those in it (ready, running, committed, failed …)."""
        return self._lines("tasks", limit=JOB_PAGE_LINES_MAX, state=state)

    def stderr(self, task: int) -> bytes:
        """What the task wrote to stderr: its last 64 KiB."""
        return self._transport.call("GET", f"/jobs/{self.id}/tasks/{task}/stderr")

    def follow_stderr(self, task: int) -> Iterator[bytes]:
        """What the task says on stderr as it says it, until it has ended; a further attempt begins anew.

        A store that is restarted meanwhile is waited for.
        """
        path = f"/jobs/{self.id}/tasks/{task}/stderr"
        place: str | None = ""
        while place is not None:
            try:
                query = {"wait": str(_POLL_S), "after": place}
                said, told = self._transport.ask("GET", path, query=query, patience_s=AWAY_S)
            except TooManyStreams:
                if not place:
                    raise
                time.sleep(_CROWDED_S)  # another took the place between two calls
                continue
            place = told.get(_NEXT_HEADER)
            if said:
                yield said

    def follow_all_stderr(self) -> Iterator[Line]:
        """What tasks say on stderr as they say it, until the job has ended: `task`, `text`, `ended`.

        It begins with what runs, and a few that ended lately. A line of its own, `missing`, tells that it fell behind;
        `refused`, with a `message`, that too many jobs are followed on a node. A store that is restarted meanwhile is
        waited for.
        """
        path = f"/jobs/{self.id}/stderr"
        return iter(Following(lambda after: self._transport.stream(path, {"follow": "1", "after": after})))

    def _lines(self, what: str, after: int = 0, *, limit: int = JOB_PAGE_LINES, **more: str | None) -> Iterator[Line]:
        while True:
            query = {"after": after, "limit": limit, **more}
            content = self._transport.call("GET", f"/jobs/{self.id}/{what}", query=query)
            lines = [msgspec.json.decode(line) for line in content.splitlines() if line]
            yield from lines
            if len(lines) < limit:
                return
            after = lines[-1]["seq"]


def work_of(command: str, program: str) -> str:
    return f"{program} (Python)" if program else command


def phase(kind: str, command: str, **properties: object) -> dict[str, object]:
    """One phase of a job document; properties that are None are left out."""
    given = {name: value for name, value in properties.items() if value is not None}
    return {"type": kind, "exec": command, **given}
