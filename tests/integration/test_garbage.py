"""What is not referred to any more goes away, from living nodes at once and from others when they are back (D9, O2)."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manta.catalog.records import Gap, Garbage, NodeState
from manta.core.limits import GARBAGE_DELAY_S, MIB, ORPHAN_GRACE_S, UPLOAD_EXPIRY_S
from manta.core.names import new_id
from tests.support.datapath_store import Store, s3, threaded_store

__all__ = ["s3"]

DATA = random.Random(5).randbytes(2 * MIB)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with threaded_store(tmp_path, nodes=2) as running:
        running.gateway.boto3().create_bucket(Bucket="bucket")
        yield running


def run_worker(store: Store, name: str, later_s: float) -> int:
    """One round of that worker at a later time; how much it handled."""
    clock, worker = store.datapath.cluster.clock, store.datapath.workers[name]
    store.datapath.cluster.clock = Later(later_s)
    before = worker.progress.handled
    store.run(worker.round)
    store.datapath.cluster.clock = clock
    return worker.progress.handled - before


class Later:
    def __init__(self, by_s: float) -> None:
        self._by_s = by_s

    def wall_s(self) -> float:
        return time.time() + self._by_s

    def monotonic_s(self) -> float:
        return time.monotonic()


def count(store: Store) -> int:
    return sum(len(files) for files in store.files().values())


def test_replaced_and_deleted_objects_lose_their_files(store: Store, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a", Body=DATA)
    s3.put_object(Bucket="bucket", Key="a", Body=DATA[::-1])
    s3.put_object(Bucket="bucket", Key="b", Body=DATA)
    s3.delete_object(Bucket="bucket", Key="b")
    assert count(store) == 6
    assert run_worker(store, "garbage", 0) == 0
    assert run_worker(store, "garbage", GARBAGE_DELAY_S + 1) == 4
    assert count(store) == 2
    assert run_worker(store, "garbage", GARBAGE_DELAY_S + 1) == 0
    assert s3.get_object(Bucket="bucket", Key="a")["Body"].read() == DATA[::-1]


def test_copied_bytes_stay_until_the_last_name_goes(store: Store, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a", Body=DATA)
    s3.copy_object(Bucket="bucket", Key="b", CopySource={"Bucket": "bucket", "Key": "a"})
    assert count(store) == 2
    s3.delete_object(Bucket="bucket", Key="a")
    assert run_worker(store, "garbage", GARBAGE_DELAY_S + 1) == 0
    assert s3.get_object(Bucket="bucket", Key="b")["Body"].read() == DATA
    s3.delete_object(Bucket="bucket", Key="b")
    assert run_worker(store, "garbage", GARBAGE_DELAY_S + 1) == 2
    assert count(store) == 0


def test_garbage_of_a_dead_node_waits_and_blocks_nobody(store: Store, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a", Body=DATA)
    s3.delete_object(Bucket="bucket", Key="a")
    store.nodes["n1"].kill()
    store.run(store.datapath.cluster.probe_now)
    assert run_worker(store, "garbage", GARBAGE_DELAY_S + 1) == 1
    store.nodes["n1"].start()
    store.run(store.datapath.cluster.probe_now)
    assert run_worker(store, "garbage", GARBAGE_DELAY_S + 1) == 1
    assert count(store) == 0


def test_garbage_of_a_node_that_is_gone_for_good_is_forgotten(store: Store, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a", Body=DATA)
    s3.delete_object(Bucket="bucket", Key="a")
    gone = replace(store.nodes["n1"].record(), state=NodeState.GONE)
    store.run(lambda: store.catalog.register_node(gone))
    assert run_worker(store, "garbage", GARBAGE_DELAY_S + 1) == 2


@pytest.mark.invariant("D9")
def test_orphans_are_swept_after_the_grace_and_nothing_else(store: Store, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="kept", Body=DATA)
    upload_id = s3.create_multipart_upload(Bucket="bucket", Key="open")["UploadId"]
    s3.upload_part(Bucket="bucket", Key="open", UploadId=upload_id, PartNumber=1, Body=DATA)
    s3.put_object(Bucket="bucket", Key="deleted", Body=DATA)
    s3.delete_object(Bucket="bucket", Key="deleted")

    async def orphans() -> None:
        await store.datapath.blobs.put_small(b"small orphan")
        writer = await store.datapath.blobs.open_put(None)
        await writer.write(DATA)
        await writer.commit()

    store.run(orphans)
    assert run_worker(store, "sweeper", 0) == 0
    assert run_worker(store, "sweeper", ORPHAN_GRACE_S + 5) == 4
    assert run_worker(store, "sweeper", ORPHAN_GRACE_S + 5) == 0
    assert s3.get_object(Bucket="bucket", Key="kept")["Body"].read() == DATA
    parts = s3.list_parts(Bucket="bucket", Key="open", UploadId=upload_id)["Parts"]
    named = {"Parts": [{"PartNumber": 1, "ETag": parts[0]["ETag"]}]}
    s3.complete_multipart_upload(Bucket="bucket", Key="open", UploadId=upload_id, MultipartUpload=named)
    assert s3.get_object(Bucket="bucket", Key="open")["Body"].read() == DATA


@pytest.mark.invariant("D9")
def test_d9_files_older_than_the_catalog_are_not_taken_for_orphans(store: Store, s3: Any) -> None:
    """A new catalog over old volumes knows none of their objects: a lost one must not cost the bytes too."""
    older = new_id(int((time.time() - 2 * ORPHAN_GRACE_S) * 1000))
    node = store.datapath.cluster.node("n1")
    store.run(lambda: node.put(older, DATA[:1000]))
    assert run_worker(store, "sweeper", ORPHAN_GRACE_S + 5) == 0
    assert store.run(lambda: node.stat(older)).size == 1000


@pytest.mark.invariant("D1", "D9")
def test_d1_files_that_a_restored_catalog_has_lost_the_rows_of_are_kept_until_the_operator_decides(
    store: Store, s3: Any
) -> None:
    s3.create_multipart_upload(Bucket="bucket", Key="open")
    now_ms = int(time.time() * 1000)
    lost = store.run(lambda: store.datapath.blobs.put_small(b"put after the backup"))
    store.run(lambda: store.catalog.add_gap(Gap(now_ms, now_ms + 3_600_000)))
    assert run_worker(store, "sweeper", ORPHAN_GRACE_S + 5) == 0
    assert run_worker(store, "expiry", UPLOAD_EXPIRY_S + 60) == 0
    assert store.run(lambda: store.datapath.cluster.node("n1").stat(lost.blob_id)).size == 20
    store.run(store.catalog.close_gaps)
    assert run_worker(store, "sweeper", ORPHAN_GRACE_S + 5) == 2
    assert run_worker(store, "expiry", UPLOAD_EXPIRY_S + 60) == 1


@pytest.mark.invariant("O2")
def test_uploads_left_open_expire(store: Store, s3: Any) -> None:
    upload_id = s3.create_multipart_upload(Bucket="bucket", Key="open")["UploadId"]
    s3.upload_part(Bucket="bucket", Key="open", UploadId=upload_id, PartNumber=1, Body=DATA)
    assert run_worker(store, "expiry", UPLOAD_EXPIRY_S - 60) == 0
    assert run_worker(store, "expiry", UPLOAD_EXPIRY_S + 60) == 1
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="bucket")
    assert run_worker(store, "garbage", GARBAGE_DELAY_S + 1) == 2
    assert not any(list((node.volume / "growing").iterdir()) for node in store.nodes.values())


def test_two_collectors_at_once_are_harmless(store: Store, s3: Any) -> None:
    for number in range(20):
        s3.put_object(Bucket="bucket", Key=f"k{number}", Body=b"x" * 1000)
        s3.delete_object(Bucket="bucket", Key=f"k{number}")
    rows = [Garbage(new_id(1), "n1", 0)]
    store.run(lambda: store.catalog.forget_garbage(rows))

    async def both() -> None:
        worker = store.datapath.workers["garbage"]
        await asyncio.gather(worker.round(), worker.round())

    store.datapath.cluster.clock = Later(GARBAGE_DELAY_S + 1)
    store.run(both)
    assert store.datapath.workers["garbage"].progress.failures == 0
    assert count(store) == 0
