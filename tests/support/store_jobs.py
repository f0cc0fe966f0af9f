"""Jobs on a running store: what they are made of, their end, and what came out of them."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from manta.core.errors import MantaError
from manta.sdk import Job, Store

Phase = dict[str, object]
PATIENCE_S = 120.0
T = TypeVar("T")


def map_phase(command: str, **properties: object) -> Phase:
    return {"type": "map", "exec": command, **properties}


def reduce_phase(command: str, **properties: object) -> Phase:
    return {"type": "reduce", "exec": command, **properties}


def fill_bucket(store: Store, name: str, objects: dict[str, bytes]) -> None:
    """A new one."""
    store.make_bucket(name)
    for key, data in objects.items():
        store.write(f"s3://{name}/{key}", data)


def await_done(job: Job) -> Job:
    """Once it is, whether or not inputs failed."""
    status = job.wait(timeout_s=100)
    assert status.state == "done", status
    return job


def outputs_of(store: Store, job: Job) -> list[bytes]:
    return [store.read(f"s3://{line['bucket']}/{line['key']}") for line in job.outputs()]


def patiently(call: Callable[[], T], give_up: float = PATIENCE_S) -> T:
    """What a retrying client gets: the gateway may be on its way back."""
    deadline = time.monotonic() + give_up
    while True:
        try:
            return call()
        except MantaError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def await_finished(jobs: Sequence[Job], *, phases: slice, goal: int) -> int:
    """Once that many tasks of these phases have ended: how many have. For PATIENCE_S at most."""
    deadline = time.monotonic() + PATIENCE_S
    while (done := _finished(jobs, phases)) < goal:
        assert time.monotonic() < deadline, f"no progress: {done} of {goal}"
        time.sleep(0.02)
    return done


def _finished(jobs: Sequence[Job], phases: slice) -> int:
    return sum(phase.tasks.finished for job in jobs for phase in patiently(job.status).phases[phases])
