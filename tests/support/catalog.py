"""Catalog values for tests, and a clock that stands until it is moved."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from manta.catalog.open import open_catalog
from manta.catalog.records import Attributes, Blob, Checksum, Node, NodeState, ObjectVersion, Part, Upload
from manta.catalog.store import Catalog
from manta.core.checksums import Algorithm
from manta.core.clock import Clock
from manta.core.names import new_id

START_S = 1_700_000_000.0
_made = count()


def fresh_id(now_ms: int) -> str:
    """A new id without randomness; later ones are not greater, so that order by id is put to the test."""
    return new_id(now_ms, lambda _: f"{next(_made) * 0x9E3779B97F4A7C15 % 2**80:020x}")


class StandingClock:
    """Both times move only by `advance`; `step` sets the wall clock alone."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self.stepped_s = 0.0

    def wall_s(self) -> float:
        return START_S + self.elapsed_s + self.stepped_s

    def monotonic_s(self) -> float:
        return self.elapsed_s

    def now_ms(self) -> int:
        return int(self.wall_s() * 1000)

    def advance(self, seconds: float) -> None:
        self.elapsed_s += seconds

    def step(self, seconds: float) -> None:
        self.stepped_s += seconds


def blob(clock: Clock, size: int = 10, nodes: tuple[str, ...] = ("n1", "n2")) -> Blob:
    return Blob(fresh_id(int(clock.wall_s() * 1000)), size, nodes)


def version(
    clock: Clock,
    key: str,
    *,
    size: int = 10,
    etag: str = "0" * 32,
    nodes: tuple[str, ...] = ("n1", "n2"),
    headers: Mapping[str, str] | None = None,
) -> ObjectVersion:
    """A new version with a new blob; none for zero bytes."""
    now_ms = int(clock.wall_s() * 1000)
    checksums = (Checksum(Algorithm.CRC32C, b"\1\2\3\4"),)
    attributes = Attributes(headers or {"content-type": "text/plain"}, {"color": "blue"}, checksums)
    return ObjectVersion(
        key, fresh_id(now_ms), size, etag, now_ms, blob(clock, size, nodes) if size else None, attributes
    )


def upload(clock: Clock, key: str, bucket: str = "books", nodes: tuple[str, ...] = ("n1", "n2")) -> Upload:
    now_ms = int(clock.wall_s() * 1000)
    return Upload(
        bucket,
        key,
        fresh_id(now_ms),
        fresh_id(now_ms),
        nodes,
        None,
        Attributes({"content-type": "a/b"}),
        now_ms,
        "alice",
    )


def part(clock: Clock, number: int, *, etag: str = "a" * 32, size: int = 5, own: Blob | None = None) -> Part:
    """In its slot, or in a blob of its own."""
    return Part(number, size, etag, int(clock.wall_s() * 1000), own is None, own)


def completed(upload: Upload, clock: Clock, *, size: int = 10, nodes: tuple[str, ...] | None = None) -> ObjectVersion:
    """The version that the upload's growing blob becomes."""
    made = version(clock, upload.key, size=0)
    nodes = upload.nodes if nodes is None else nodes
    return replace(made, size=size, blob=Blob(upload.blob_id, size, nodes), attributes=upload.attributes)


def node(node_id: str, state: NodeState = NodeState.ACTIVE) -> Node:
    return Node(node_id, f"unix:/run/{node_id}", b"key", "machine", None, state, 1)


@asynccontextmanager
async def opened(url: str, clock: Clock) -> AsyncIterator[Catalog]:
    catalog = await open_catalog(url, clock)
    try:
        yield catalog
    finally:
        await catalog.close()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:{folder}/catalog.db"


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty catalog on each engine."""
    return "memory:" if request.param == "memory" else _url_of(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def shared_catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """On each engine that several processes may open."""
    return _url_of(request, tmp_path)


def _url_of(request: pytest.FixtureRequest, folder: Path) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else sqlite_url(folder)
