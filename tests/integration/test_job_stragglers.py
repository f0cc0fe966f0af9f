"""A task that hangs on one node, on a real store of two: another node's copy of its input ends the job."""

from pathlib import Path

import pytest

from tests.support.store import running_store

OBJECTS = 12
HANGS = """
case "$MANTA_INPUT_OBJECT/$MANTA_ATTEMPT" in */07/1) sleep 600 ;; esac
cat
"""


@pytest.mark.slow
@pytest.mark.invariant("J1", "J2")
def test_a_straggler_is_tried_on_another_copy_and_the_first_to_end_wins(tmp_path: Path) -> None:
    with running_store(tmp_path, "--nodes", "2", "--copies", "2") as running, running.client() as store:
        store.make_bucket("slow")
        for number in range(OBJECTS):
            store.write(f"s3://slow/{number:02d}", f"{number}\n".encode())
        job = store.submit(
            [{"type": "map", "exec": HANGS}, {"type": "reduce", "exec": "sort -n"}], inputs=["s3://slow/"]
        )  # fmt: skip
        status = job.wait(timeout_s=60)
        assert (status.state, status.errors) == ("done", 0)
        (output,) = job.outputs()
        data = store.read(f"s3://{output['bucket']}/{output['key']}")
        assert data == "".join(f"{number}\n" for number in range(OBJECTS)).encode(), "each input once"
        (slow,) = [task for task in job.tasks() if task["earlier"]]
        (loser,) = slow["earlier"]
        assert (slow["attempt"], slow["state"], loser["attempt"], loser["why"]) == (2, "committed", 1, "Overtaken")
        assert {slow["node"], loser["node"]} == set(running.children()) - {"gateway"}
        assert loser["started"] < slow["started"], "the loser began long before"
        assert b"(attempt 1: lost: another attempt finished first)" in running.manta("job", "tasks", job.id).stdout
        assert b"attempt 1, lost: another attempt finished first" in running.manta("job", "share", job.id).stdout
