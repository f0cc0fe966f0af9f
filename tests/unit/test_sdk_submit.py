"""What the SDK sends for a job: its document, from phases or whole, and how long it waits."""

from typing import Any

import pytest

from jobs.model.units import parse_duration
from manta.sdk import Job, Store

_PHASE = {"type": "map", "exec": "wc"}


class _Transport:
    def json(self, method: str, path: str, *, body: dict[str, Any], headers: object) -> dict[str, str]:
        self.body = body
        return {"id": "j"}

    def call(self, method: str, path: str, *, query: dict[str, str], patience_s: float) -> bytes:
        self.query = query
        return b'{"id": "j", "owner": "alice", "name": "", "state": "done", "created": ""}'


@pytest.mark.parametrize(
    ("phases", "options", "body"),
    [
        ([_PHASE], {}, {"phases": [_PHASE], "inputs": [], "end": True}),
        (
            [_PHASE],
            {"inputs": ["s3://b/k"], "end": False, "properties": {"name": "n", "output": None}},
            {"phases": [_PHASE], "inputs": ["s3://b/k"], "end": False, "name": "n"},
        ),
        ({"phases": [_PHASE], "name": "n"}, {}, {"phases": [_PHASE], "name": "n"}),
        (
            {"phases": [_PHASE], "inputs": ["s3://b/k"]},
            {"inputs": ["s3://b/l"], "end": True},
            {"phases": [_PHASE], "inputs": ["s3://b/k", "s3://b/l"], "end": True},
        ),
    ],
)
def test_a_document_is_sent_as_it_is_meant(phases: Any, options: dict[str, Any], body: dict[str, Any]) -> None:
    store = object.__new__(Store)
    transport = _Transport()
    store._transport = transport  # type: ignore[assignment]
    assert store.submit(phases, **options).id == "j"
    assert transport.body == body


@pytest.mark.parametrize("wait_s", [0.0, 0.00001, 0.25, 20, 1234567.8])
def test_a_wait_is_told_in_a_form_that_the_store_reads(wait_s: float) -> None:
    transport = _Transport()
    Job(transport, "j").status(wait_s=wait_s)  # type: ignore[arg-type]
    assert parse_duration(transport.query["wait"], "wait") == pytest.approx(wait_s, abs=0.001)
