"""What tasks said on stderr outlives its store's restarts, and goes from its node with its job."""

from pathlib import Path

import pytest

from tests.support.store import running_store
from tests.support.store_jobs import await_done, fill_bucket, map_phase
from tests.support.waiting import await_condition


@pytest.mark.invariant("O2")
def test_a_node_that_was_away_forgets_the_jobs_that_went_meanwhile(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_store(tmp_path, "--nodes", "1", data=data) as running, running.client() as store:
        fill_bucket(store, "talk", {"a": b"1"})
        removed, kept = (
            await_done(store.submit([map_phase("echo said >&2")], inputs=["s3://talk/a"])) for _ in range(2)
        )
        folder = data / "nodes" / "node-1" / "stderr"
        assert {path.name for path in folder.iterdir()} == {removed.id, kept.id}
        removed.delete()
    with running_store(tmp_path, "--nodes", "1", data=data) as running, running.client() as store:
        await_condition(lambda: not (folder / removed.id).exists(), "the node's first question")
        (task,) = store.job(kept.id).tasks()
        assert store.job(kept.id).stderr(task["task"]) == b"said\n"
