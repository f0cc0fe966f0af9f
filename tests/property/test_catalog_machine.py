"""Random operations on an engine and on the in-memory oracle: every answer must be the same."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from manta.catalog.memory import MemoryCatalog
from manta.catalog.open import open_catalog
from manta.catalog.records import (
    AccessKey,
    Account,
    Bucket,
    CompletedPart,
    Located,
    ObjectVersion,
    Part,
    Upload,
    WriteCondition,
)
from manta.catalog.store import Catalog
from manta.core.errors import MantaError
from manta.core.limits import BLOCK_BYTES, COMPLETED_UPLOAD_KEEP_S, GARBAGE_DELAY_S, ORPHAN_GRACE_S
from tests.support.catalog import StandingClock, blob, completed, node, part, sqlite_url, upload, version
from tests.support.postgres import Server

BUCKETS = st.sampled_from(["books", "films"])
KEYS = st.sampled_from(["a", "a/", "a/1", "a/2/x", "a/2/y", "a0", "b", "b//c", "é", "\uffff", "\U0001f600"])
PREFIXES = st.sampled_from(["", "a", "a/", "a/2", "b/", "zz"])
DELIMITERS = ["", "/", "//", "2"]
STARTS = ["", "a", "a/", "a/1", "a/2/", "b/", "b//", "c"]
ETAGS = st.sampled_from(["e1", "e2"])
NODES = st.lists(st.sampled_from(["n1", "n2", "n3"]), min_size=1, max_size=3, unique=True).map(tuple)
CONDITIONS = st.sampled_from(
    [
        None,
        None,
        WriteCondition(if_none_match=("*",)),
        WriteCondition(if_match=("*",)),
        WriteCondition(if_match=("e1",)),
        WriteCondition(if_none_match=("e2",)),
    ]
)
GONE_MS = int(GARBAGE_DELAY_S * 1000)
MOSTLY = st.sampled_from([True, True, True, True, False])
Ask = Callable[[Catalog], Awaitable[Any]]


class CatalogMachine(RuleBasedStateMachine):
    """Subclasses say how the engine under test is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = StandingClock()
        self.oracle = MemoryCatalog(self.clock)
        self.engine = self.runner.run(self.open())
        self.versions: list[ObjectVersion] = []
        self.uploads: list[Upload] = []

    async def open(self) -> Catalog:
        raise NotImplementedError

    def teardown(self) -> None:
        self.runner.run(self.engine.close())
        self.runner.close()

    def both(self, ask: Ask) -> Any:
        """The same call of both; their answers, or errors, must agree."""
        answers = [self.runner.run(_answer(ask(catalog))) for catalog in (self.oracle, self.engine)]
        assert answers[1] == answers[0], answers
        return answers[0]

    @initialize()
    def start(self) -> None:
        self.create_bucket("books", "alice")

    @rule(seconds=st.sampled_from([0.001, GARBAGE_DELAY_S, ORPHAN_GRACE_S / 4, COMPLETED_UPLOAD_KEEP_S]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def garbage_and_holdings_agree(self) -> None:
        """After every step: whatever refers to a blob, and whatever no longer does, shows here."""
        blobs = [made.blob.blob_id for made in self.versions if made.blob] + [made.blob_id for made in self.uploads]
        self.both(lambda c: c.due_garbage(self.clock.now_ms() + GONE_MS, 10_000))
        for node_id in ("n1", "n2", "n3"):
            self._holdings_agree(node_id, blobs)

    def _holdings_agree(self, node_id: str, blobs: list[str]) -> None:
        self.both(lambda c: c.unknown_blobs(node_id, blobs))
        self.both(lambda c: c.blobs_of_node(node_id))

    # accounts and buckets

    @rule(account=st.sampled_from(["alice", "bob"]), name=st.sampled_from(["x", "y"]), remove=st.booleans())
    def change_account(self, account: str, name: str, remove: bool) -> None:
        made = Account(account, name, "", "", 0)
        self.both(lambda c: c.delete_account(account) if remove else c.create_account(made))
        self.both(lambda c: c.list_accounts())

    @rule(account=st.sampled_from(["alice", "bob"]), key=st.sampled_from(["k1", "k2"]), remove=st.booleans())
    def change_key(self, account: str, key: str, remove: bool) -> None:
        self.both(lambda c: c.remove_key(key) if remove else c.add_key(AccessKey(key, "s", account)))
        self.both(lambda c: c.find_key(key))
        self.both(lambda c: c.list_keys(account))

    @rule(bucket=BUCKETS, owner=st.sampled_from(["alice", "bob"]))
    def create_bucket(self, bucket: str, owner: str) -> None:
        self.both(lambda c: c.create_bucket(bucket, owner, self.clock.now_ms()))
        self.both(lambda c: c.list_buckets(owner))

    @rule(bucket=BUCKETS)
    def delete_bucket(self, bucket: str) -> None:
        self.both(lambda c: c.delete_bucket(bucket))

    # objects

    @rule(bucket=BUCKETS, key=KEYS, size=st.sampled_from([0, 3]), etag=ETAGS, nodes=NODES, condition=CONDITIONS)
    def put(
        self, bucket: str, key: str, size: int, etag: str, nodes: tuple[str, ...], condition: WriteCondition | None
    ) -> None:
        made = version(self.clock, key, size=size, etag=etag, nodes=nodes)
        self.versions.append(made)
        self.both(lambda c: c.put_object(bucket, made, condition))

    @precondition(lambda self: self.versions)
    @rule(
        data=st.data(), bucket=BUCKETS, key=KEYS, condition=CONDITIONS, new_blob=st.sampled_from([False, False, True])
    )
    def put_known_blob(
        self, data: st.DataObject, bucket: str, key: str, condition: WriteCondition | None, new_blob: bool
    ) -> None:
        source = data.draw(st.sampled_from(self.versions))
        made = replace(version(self.clock, key, size=0), size=source.size, blob=source.blob)
        self.both(lambda c: c.put_object(bucket, made, condition, new_blob=new_blob))

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), bucket=BUCKETS)
    def put_again(self, data: st.DataObject, bucket: str) -> None:
        made = data.draw(st.sampled_from(self.versions))
        self.both(lambda c: c.put_object(bucket, made))

    @rule(bucket=BUCKETS, key=KEYS, condition=CONDITIONS)
    def delete(self, bucket: str, key: str, condition: WriteCondition | None) -> None:
        self.both(lambda c: c.delete_object(bucket, key, condition))

    @rule(bucket=BUCKETS, keys=st.lists(KEYS, max_size=4))
    def delete_many(self, bucket: str, keys: list[str]) -> None:
        self.both(lambda c: c.delete_objects(bucket, keys))

    @rule(bucket=BUCKETS, key=KEYS)
    def locate(self, bucket: str, key: str) -> None:
        self.both(lambda c: c.locate(bucket, key))

    @rule(keys=st.lists(KEYS, min_size=4, unique=True))
    def put_many(self, keys: list[str]) -> None:
        for key in keys:
            self.put("books", key, 3, "e1", ("n1",), None)

    @rule(prefix=PREFIXES, limit=st.sampled_from([0, 1, 2, 3, 5, 1000]))
    def list_pages(self, prefix: str, limit: int) -> None:
        for delimiter, after in product(DELIMITERS, STARTS):
            self.list_page(prefix, delimiter, after, limit)

    def list_page(self, prefix: str, delimiter: str, after: str, limit: int) -> None:
        self.both(lambda c: c.list_objects("books", prefix=prefix, delimiter=delimiter, after=after, limit=limit))

    # uploads

    @rule(bucket=BUCKETS, key=KEYS, nodes=NODES)
    def create_upload(self, bucket: str, key: str, nodes: tuple[str, ...]) -> None:
        made = upload(self.clock, key, bucket, nodes)
        self.uploads.append(made)
        self.both(lambda c: c.create_upload(made))

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), number=st.integers(1, 3), size=st.sampled_from([0, 5, BLOCK_BYTES, 2 * BLOCK_BYTES]))
    def reserve(self, data: st.DataObject, number: int, size: int) -> None:
        made = data.draw(st.sampled_from(self.uploads[-2:]))
        self.both(lambda c: c.reserve_part(made.upload_id, number, size))
        self.both(lambda c: c.get_upload(made.bucket, made.key, made.upload_id))

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), number=st.integers(1, 3), etag=ETAGS, own=st.booleans(), nodes=NODES)
    def commit_part(self, data: st.DataObject, number: int, etag: str, own: bool, nodes: tuple[str, ...]) -> None:
        made = data.draw(st.sampled_from(self.uploads[-2:]))
        sent = part(self.clock, number, etag=etag, own=blob(self.clock, 5, nodes) if own else None)
        self.both(lambda c: c.commit_part(made.upload_id, sent))

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), condition=CONDITIONS, nodes=NODES, kind=st.sampled_from(["grown", "other", "empty"]))
    def complete(
        self, data: st.DataObject, condition: WriteCondition | None, nodes: tuple[str, ...], kind: str
    ) -> None:
        made = data.draw(st.sampled_from(self.uploads[-2:]))
        parts: list[Part] = self.both(lambda c: c.list_parts(made.upload_id))
        named = [CompletedPart(one.number, one.etag if data.draw(MOSTLY) else "other") for one in parts]
        result = completed(made, self.clock, nodes=nodes)
        if kind != "grown":
            result = version(self.clock, made.key, size=0 if kind == "empty" else 9, nodes=nodes)
        self.both(lambda c: c.complete_upload(made, named, result, condition))
        self.both(lambda c: c.completed_upload(made.bucket, made.key, made.upload_id))

    @precondition(lambda self: self.uploads)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        made = data.draw(st.sampled_from(self.uploads))
        self.both(lambda c: c.abort_upload(made.bucket, made.key, made.upload_id))

    @rule(bucket=BUCKETS, prefix=PREFIXES, limit=st.integers(0, 3), data=st.data())
    def list_uploads(self, bucket: str, prefix: str, limit: int, data: st.DataObject) -> None:
        starts = [("", ""), ("a", "~"), *((made.key, made.upload_id) for made in self.uploads)]
        after = data.draw(st.sampled_from(starts))
        self.both(lambda c: c.list_uploads(bucket, prefix=prefix, after=after, limit=limit))

    @rule(limit=st.integers(0, 3))
    def forget_old_uploads(self, limit: int) -> None:
        before_ms = self.clock.now_ms() - int(COMPLETED_UPLOAD_KEEP_S * 1000)
        self.both(lambda c: c.expired_uploads(before_ms, limit))
        self.both(lambda c: c.forget_completed_uploads(before_ms, limit))

    # nodes and garbage

    @rule(node_id=st.sampled_from(["n1", "n2", "n4"]))
    def register(self, node_id: str) -> None:
        self.both(lambda c: c.register_node(node(node_id)))
        self.both(lambda c: c.list_nodes())

    @rule(limit=st.integers(1, 5), node_id=st.sampled_from([None, "n1", "n9"]))
    def collect_garbage(self, limit: int, node_id: str | None) -> None:
        due = self.both(lambda c: c.due_garbage(self.clock.now_ms(), limit, node_id=node_id))
        if isinstance(due, list):
            self.both(lambda c: c.forget_garbage(due[:2]))

    @rule(node_id=st.sampled_from(["n1", "n9"]), limit=st.integers(1, 4))
    def page_through_holdings(self, node_id: str, limit: int) -> None:
        page = self.both(lambda c: c.blobs_of_node(node_id, limit=limit))
        if page:
            self.both(lambda c: c.blobs_of_node(node_id, after=page[-1].blob_id, limit=limit))


async def _answer(asked: Awaitable[Any]) -> Any:
    """The answer, or what kind of error; bucket ids, which engines number each in their own way, are left out."""
    try:
        answer = await asked
    except MantaError as error:
        return type(error)
    if isinstance(answer, Bucket):
        return replace(answer, id=0)
    if isinstance(answer, Located):
        return replace(answer, bucket=replace(answer.bucket, id=0))
    if isinstance(answer, list):
        return [replace(one, id=0) if isinstance(one, Bucket) else one for one in answer]
    return answer


class SqliteMachine(CatalogMachine):
    async def open(self) -> Catalog:
        self.folder = Path(tempfile.mkdtemp())
        return await open_catalog(sqlite_url(self.folder), self.clock)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


@pytest.mark.invariant("C1")
def test_sqlite_answers_as_the_oracle_does() -> None:
    """C1, one operation at a time."""
    run_state_machine_as_test(SqliteMachine, settings=_settings(60))


@pytest.mark.invariant("C1")
def test_postgres_answers_as_the_oracle_does(postgres_server: Server) -> None:
    """C1, one operation at a time."""

    class PostgresMachine(CatalogMachine):
        async def open(self) -> Catalog:
            return await open_catalog(postgres_server.new_schema(), self.clock)

    run_state_machine_as_test(PostgresMachine, settings=_settings(12))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sqlite_answers_as_the_oracle_does_at_length() -> None:
    run_state_machine_as_test(SqliteMachine, settings=_settings(1000))


def _settings(examples: int) -> settings:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, stateful_step_count=50, suppress_health_check=checks)
