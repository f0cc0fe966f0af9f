"""A task's stderr, read and followed on a real store."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.errors import NoSuchJob
from manta.gateway.ops.job_stderr import fresh
from manta.sdk import Store
from tests.support.store import RunningStore, running_store


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("logs"), "--nodes", "1") as store:
        yield store


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("things")
        client.write("s3://things/one", b"1")
        yield client


def test_stderr_is_followed_from_before_the_task_runs_to_its_end(running: RunningStore, store: Store) -> None:
    command = "for n in 1 2 3 4 5; do echo line $n >&2; sleep 0.3; done; exit 3"
    job = store.submit([{"type": "map", "exec": command}], inputs=["s3://things/one"])
    for status in job.watch(interval_s=0.2):
        if status.phases[0].tasks.total:
            break
    pieces = list(job.follow_stderr(1))
    said = b"".join(f"line {number}\n".encode() for number in range(1, 6))
    assert b"".join(pieces) == said
    assert len(pieces) > 1, "it came while the task ran"
    shown = running.manta("job", "logs", job.id, "1")
    assert (shown.returncode, shown.stdout) == (0, said)
    assert running.manta("job", "logs", "-f", job.id, "1").stdout == said
    failures = running.manta("job", "logs", job.id).stdout.decode()
    assert failures.startswith("UserTaskError: ")
    assert "    line 5\n" in failures
    assert running.manta("job", "logs", "-f", job.id).returncode != 0


def test_a_task_that_does_not_exist_is_named(store: Store) -> None:
    job = store.submit([{"type": "map", "exec": "true"}], inputs=["s3://things/one"])
    job.wait(timeout_s=60)
    with pytest.raises(NoSuchJob, match="no task 99"):
        list(job.follow_stderr(99))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_what_was_appended_is_fresh(before: bytes, more: bytes) -> None:
    assert fresh(before, before + more) == more


def test_a_tail_that_moved_on_is_joined_where_it_was_left() -> None:
    lines = b"".join(b"%06d\n" % number for number in range(20_000))
    assert fresh(lines[:70_000][-65_536:], lines[:80_000][-65_536:]) == lines[70_000:80_000]
    assert fresh(b"gone for good", lines[:100]) == lines[:100]
