"""Who may do what with a bucket: the whole table."""

import pytest

from manta.auth.policy import Action, Principal, Resource, allows, check
from manta.core.errors import AccessDenied

OWNER, OTHER, ROOT = Principal("alice"), Principal("bob"), Principal("root", is_root=True)
STORE = Principal("alice", is_store=True)
USER_BUCKET, JOB_BUCKET = Resource("alice"), Resource("alice", is_job=True)


@pytest.mark.invariant("S1")
@pytest.mark.parametrize("action", Action)
def test_buckets_are_private(action: Action) -> None:
    assert allows(OWNER, action, USER_BUCKET)
    assert allows(ROOT, action, USER_BUCKET)
    assert not allows(OTHER, action, USER_BUCKET)
    with pytest.raises(AccessDenied):
        check(OTHER, action, USER_BUCKET)


@pytest.mark.parametrize("action", Action)
def test_a_jobs_bucket_is_written_by_the_store_alone(action: Action) -> None:
    reads = action in (Action.GET, Action.LIST, Action.READ)
    assert allows(OWNER, action, JOB_BUCKET) is reads
    assert allows(ROOT, action, JOB_BUCKET) is reads
    assert not allows(OTHER, action, JOB_BUCKET)
    check(STORE, action, JOB_BUCKET)


def test_the_owner_learns_why_a_jobs_bucket_is_closed() -> None:
    with pytest.raises(AccessDenied, match="written by the job alone"):
        check(OWNER, Action.WRITE, JOB_BUCKET)
    with pytest.raises(AccessDenied, match="Access denied"):
        check(OTHER, Action.WRITE, JOB_BUCKET)
