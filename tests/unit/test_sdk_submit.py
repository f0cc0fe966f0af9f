"""What the SDK sends for a job: from phases, or from a whole document."""

from typing import Any

import pytest

from manta.sdk import Store

_PHASE = {"type": "map", "exec": "wc"}


class _Transport:
    def json(self, method: str, path: str, *, body: dict[str, Any], headers: object) -> dict[str, str]:
        self.body = body
        return {"id": "j"}


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
