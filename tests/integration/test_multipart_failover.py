"""Multipart uploads go on when a node is killed before, while and after their parts are sent."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from manta.core.limits import MIB
from tests.support.datapath_store import Store, threaded_store

DATA = random.Random(4).randbytes(12 * MIB + 99)
PART = 5 * MIB


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with threaded_store(tmp_path) as running:
        running.gateway.boto3().create_bucket(Bucket="bucket")
        yield running


@pytest.fixture
def s3(store: Store) -> Iterator[Any]:
    # Without retries: the client must not notice.
    client = store.gateway.boto3(config={"retries": {"max_attempts": 0}})
    yield client
    client.close()


class Uploading:
    def __init__(self, store: Store, s3: Any) -> None:
        self._s3 = s3
        self._store = store
        self.target = {"Bucket": "bucket", "Key": "key"}
        self.target["UploadId"] = s3.create_multipart_upload(**self.target)["UploadId"]
        self.parts: list[dict[str, Any]] = []
        self.nodes = store.run(lambda: store.catalog.get_upload("bucket", "key", self.target["UploadId"])).nodes

    def send(self, *numbers: int, body: Any = None) -> None:
        for number in numbers:
            data = DATA[(number - 1) * PART : number * PART] if body is None else body
            reply = self._s3.upload_part(**self.target, PartNumber=number, Body=data)
            self.parts.append({"PartNumber": number, "ETag": reply["ETag"]})

    def complete(self) -> None:
        self._s3.complete_multipart_upload(**self.target, MultipartUpload={"Parts": self.parts})

    def assert_stored(self) -> None:
        version = self._store.run(lambda: self._store.catalog.locate("bucket", "key")).object
        assert version is not None
        assert version.blob is not None
        living = {name for name, node in self._store.nodes.items() if node.process is not None}
        assert set(version.blob.nodes) <= living
        assert len(set(version.blob.nodes)) == 2
        assert self._s3.get_object(Bucket="bucket", Key="key")["Body"].read() == DATA


def test_node_killed_before_any_part(store: Store, s3: Any) -> None:
    upload = Uploading(store, s3)
    store.nodes[upload.nodes[0]].kill()
    upload.send(1, 2, 3)
    upload.complete()
    upload.assert_stored()


def test_node_killed_between_parts(store: Store, s3: Any) -> None:
    upload = Uploading(store, s3)
    upload.send(1)
    store.nodes[upload.nodes[1]].kill()
    upload.send(2, 3)
    upload.complete()
    upload.assert_stored()


def test_node_killed_before_completion(store: Store, s3: Any) -> None:
    upload = Uploading(store, s3)
    upload.send(1, 2, 3)
    store.nodes[upload.nodes[0]].kill()
    upload.complete()
    upload.assert_stored()


def test_node_killed_while_a_part_is_sent(store: Store, s3: Any) -> None:
    upload = Uploading(store, s3)
    upload.send(1)
    upload.send(2, body=KillingBody(DATA[PART : 2 * PART], store, upload.nodes[0]))
    assert store.nodes[upload.nodes[0]].process is None
    upload.send(3)
    upload.complete()
    upload.assert_stored()


class KillingBody:
    """A file that kills a node when its middle is read for sending."""

    def __init__(self, data: bytes, store: Store, node_id: str) -> None:
        self._data = data
        self._at = 0
        self._store = store
        self._node_id = node_id
        self.passes = 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._at + size
        data = self._data[self._at : end]
        self._at += len(data)
        if self.passes and self._at > len(self._data) // 2:
            self._store.nodes[self._node_id].kill()
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + {0: 0, 1: self._at, 2: len(self._data)}[whence]
        if not self._at and self.tells:
            self.passes += 1
        return self._at

    tells = 0

    def tell(self) -> int:
        self.tells += 1
        return self._at


def test_both_nodes_killed_is_an_error_that_a_retry_heals(store: Store, s3: Any) -> None:
    upload = Uploading(store, s3)
    upload.send(1, 2, 3)
    for node_id in upload.nodes:
        store.nodes[node_id].kill()
    with pytest.raises(ClientError) as caught:
        upload.complete()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    for node_id in upload.nodes:
        store.nodes[node_id].start()
    store.run(store.datapath.cluster.probe_now)
    upload.complete()
    upload.assert_stored()
