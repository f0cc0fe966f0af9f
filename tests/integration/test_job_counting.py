"""What a job's figures say, exactly: bytes read in place, moved, and sent to further nodes for copies of outputs."""

import os

from manta.core.limits import SMALL_BLOB_BYTES
from tests.support.shared_store import shared_store
from tests.support.store import RunningStore
from tests.support.store_jobs import await_done, fill_bucket, map_phase, outputs_of, reduce_phase

running = shared_store("--nodes", "3", "--copies", "2")


def test_copies_of_intermediate_and_final_outputs_are_counted(running: RunningStore) -> None:
    sizes = [10, 2000, 3 * SMALL_BLOB_BYTES, 0]
    with running.new_account("copies") as store:
        fill_bucket(store, "copied", {f"{size}": os.urandom(size) for size in sizes})
        phases = [map_phase('cat; cat "$MANTA_INPUT_FILE"'), map_phase("wc -c")]
        job = await_done(store.submit(phases, inputs=["s3://copied/"]))
        counts = b"".join(outputs_of(store, job))
        assert sorted(map(int, counts.split())) == sorted(2 * size for size in sizes)
        expected = sum(2 * size for size in sizes) + len(counts)
        status = job.status()
        assert status.output_bytes_copied == expected, "each of two copies but the first, of either phase"
        assert (status.input_bytes_in_place, status.input_bytes_moved) == (sum(sizes) * 3, 0)
        assert status.shuffle_bytes_moved == 0
        assert store.api("GET", "/usage")["total"]["output_bytes_copied"] == expected
        assert store.api("GET", "/usage")["days"][0]["output_bytes_copied"] == expected


def test_small_outputs_for_a_reducer_go_with_the_reports(running: RunningStore) -> None:
    """Nothing but the reducer's own outputs is sent to a further node, and nothing of what it names by reference."""
    with running.client() as store:
        fill_bucket(store, "inline", {"a": b"one\n", "b": b"two\n"})
        phases = [
            map_phase("cat"),
            reduce_phase("wc -l; echo seven77 | mpipe; printf four | mpipe /inline/named; mcat /inline/a"),
        ]
        job = await_done(store.submit(phases, inputs=["s3://inline/"]))
        assert list(job.errors()) == []
        assert job.status().output_bytes_copied == len(b"seven77\nfour")
        shown = running.manta("job", "get", job.id)
        assert b"8 B read in place, 0 B moved, 8 B shuffled, 12 B copied;" in shown.stdout, shown
        used = running.manta("account", "usage")
        assert b"copied" in used.stdout, used
