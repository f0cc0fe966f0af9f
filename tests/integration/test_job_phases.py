"""What goes from phase to phase and from job to job: other jobs' outputs, chosen reducers, and a zone's `init`."""

import pytest

from manta.sdk import Job, Store
from tests.support.shared_store import shared_store, store
from tests.support.store import RunningStore
from tests.support.store_jobs import await_done, fill_bucket, map_phase, outputs_of, reduce_phase

__all__ = ["store"]

running = shared_store("--nodes", "2", "--copies", "2")
WORDS = {"a": b"pear\n", "b": b"apple\nfig\n", "c": b""}


@pytest.fixture(scope="module")
def first(store: Store) -> Job:
    """A job with three outputs: the words in capitals."""
    fill_bucket(store, "fruit", WORDS)
    job = await_done(store.submit([map_phase("tr a-z A-Z")], inputs=["s3://fruit/"]))
    assert list(job.errors()) == []
    return job


def test_a_job_over_another_jobs_outputs(store: Store, first: Job) -> None:
    second = store.submit([map_phase("cat"), reduce_phase("sort")], inputs=[f"s3://job-{first.id}/"])
    assert outputs_of(store, await_done(second)) == [b"APPLE\nFIG\nPEAR\n"]
    status = second.status()
    assert (status.inputs, status.errors, status.input_bytes_in_place) == (3, 0, sum(map(len, WORDS.values())))
    made = sorted((line["bucket"], line["key"]) for line in first.outputs())
    assert sorted((line["bucket"], line["key"]) for line in second.inputs()) == made
    (one, *_) = made
    by_name = store.submit([map_phase('echo "$MANTA_INPUT_OBJECT"')], inputs=["s3://{}/{}".format(*one)])
    assert outputs_of(store, await_done(by_name)) == ["{}/{}\n".format(*one).encode()]


@pytest.mark.invariant("S4")
def test_another_accounts_job_is_no_input(running: RunningStore, first: Job) -> None:
    (line, *_) = first.outputs()
    with running.new_account("mallory") as mallory:
        written = [f"s3://job-{first.id}/", f"s3://{line['bucket']}/{line['key']}"]
        job = await_done(mallory.submit([map_phase("cat")], inputs=written))
        assert sorted((error["code"], error["input"]) for error in job.errors()) == [
            ("AccessDenied", f"job-{first.id}/"),
            ("AccessDenied", f"{line['bucket']}/{line['key']}"),
        ]
        assert list(job.outputs()) == []


def test_the_outputs_of_a_job_that_was_removed_meanwhile_are_not_found(store: Store) -> None:
    gone = await_done(store.submit([map_phase("cat")], inputs=["s3://fruit/a"]))
    (line,) = gone.outputs()
    later = store.job(store.api("POST", "/jobs", body={"phases": [map_phase("cat")], "end": False})["id"])
    gone.delete()
    later.add([f"s3://job-{gone.id}/", f"s3://{line['bucket']}/{line['key']}", "s3://fruit/a"])
    later.end()
    assert outputs_of(store, await_done(later)) == [WORDS["a"]]
    errors = {error["input"]: error for error in later.errors()}
    assert {name: error["code"] for name, error in errors.items()} == {
        f"job-{gone.id}/": "ResourceNotFound",
        f"{line['bucket']}/{line['key']}": "ResourceNotFound",
    }
    assert all(gone.id in error["message"] for error in errors.values())


def test_mpipe_chooses_the_reducer(store: Store) -> None:
    """Each input's name says which."""
    fill_bucket(store, "chosen", {f"{reducer}/{number}": b"" for reducer in range(4) for number in range(5)})
    command = 'name=${MANTA_INPUT_OBJECT#chosen/}; echo "$name" | mpipe -r "${name%/*}"'
    gather = 'echo "$MANTA_REDUCER of $MANTA_REDUCERS:" $(sort)'
    job = await_done(store.submit([map_phase(command), reduce_phase(gather, count=4)], inputs=["s3://chosen/**"]))
    assert list(job.errors()) == []
    expected = [f"{one} of 4: " + " ".join(f"{one}/{number}" for number in range(5)) + "\n" for one in range(4)]
    assert sorted(outputs_of(store, job)) == [line.encode() for line in expected]


def test_a_reducers_number_wraps_around(store: Store) -> None:
    phases = [map_phase("echo x | mpipe -r 6"), reduce_phase("echo $MANTA_REDUCER; cat", count=4)]
    job = await_done(store.submit(phases, inputs=["s3://fruit/a"]))
    assert sorted(outputs_of(store, job)) == [b"0\n", b"1\n", b"2\nx\n", b"3\n"]


def test_init_runs_once_for_each_zone(store: Store) -> None:
    """It leaves a mark of its own in the zone: every task there finds that one, and more tasks than zones are run."""
    fill_bucket(store, "inits", {f"{number:02d}": b"" for number in range(40)})
    init = "head -c 8 /dev/urandom | od -An -tx1 >> /zone/marks"
    job = await_done(store.submit([map_phase("cat /zone/marks", init=init)], inputs=["s3://inits/"]))
    assert list(job.errors()) == []
    marks = outputs_of(store, job)
    assert len(marks) == 40
    assert {len(mark.splitlines()) for mark in marks} == {1}
    assert len(set(marks)) < 40
